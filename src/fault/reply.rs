//! The only table from a fault to the reply of each protocol.

use bytes::Bytes;

use super::model::{Fault, Kind};
use crate::wire::Protocol;

/// A fault's reply to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientReply {
    /// Complete lines; empty if the connection is only closed.
    pub text: Bytes,
    /// Whether the connection is closed after the reply.
    pub close: bool,
}

/// Reply lines of one kind by protocol, without IMAP's tag. POP3's response code (RFC 2449 §8, RFC
/// 3206) is part of the line.
struct ReplySet {
    imap: &'static str,
    pop3: &'static str,
    smtp: &'static str,
    text: &'static str,
    close: bool,
}

impl Kind {
    fn row(self) -> ReplySet {
        let row = |imap, pop3, smtp, text, close| ReplySet {
            imap,
            pop3,
            smtp,
            text,
            close,
        };
        match self {
            Self::Credentials => row(
                "NO [AUTHENTICATIONFAILED]",
                "-ERR [AUTH]",
                "535 5.7.8",
                "Wrong login or password for this relay.",
                false,
            ),
            Self::Sasl => row(
                "BAD",
                "-ERR",
                "501 5.5.2",
                "Authentication cancelled, or not valid base64.",
                false,
            ),
            Self::Syntax => row(
                "BAD",
                "-ERR",
                "501 5.5.4",
                "Login not understood; quote user name and password.",
                false,
            ),
            Self::StartTls => row(
                "BAD",
                "-ERR",
                "502 5.5.1",
                "TLS is not available here.",
                false,
            ),
            // A load balancer expects no reply.
            Self::ProxyHeader => row("", "", "", "", true),
            Self::TooLong => row("BAD", "-ERR", "500 5.5.6", "Line too long.", true),
            Self::Mechanism => row(
                "NO",
                "-ERR",
                "504 5.5.4",
                "Unknown authentication mechanism; use PLAIN or LOGIN.",
                false,
            ),
            Self::TlsRequired => row(
                "NO [PRIVACYREQUIRED]",
                "-ERR",
                "538 5.7.11",
                "Start TLS before you log in.",
                false,
            ),
            Self::Order => row("BAD", "-ERR", "530 5.7.0", "Log in first.", false),
            // Without TLS nothing can be sent.
            Self::Tls => row("", "", "", "", true),
            Self::LoginTimeout => row(
                "BYE",
                "-ERR",
                "421 4.4.2",
                "No login in time, closing.",
                true,
            ),
            Self::Idle => row("BYE", "", "421 4.4.2", "Idle for too long, closing.", true),
            Self::LineEnds => row(
                "",
                "",
                "421 4.4.2",
                "The message has not ended: lines must end with CRLF.",
                true,
            ),
            Self::Sessions => row(
                "NO [LIMIT]",
                "-ERR [IN-USE]",
                "421 4.7.0",
                "Too many sessions, try again later.",
                true,
            ),
            // SMTP only. The relay words the other refusals, since it knows their reasons.
            Self::Message => row(
                "NO [LIMIT]",
                "-ERR",
                "550 5.7.1",
                "This relay's policy does not allow the message.",
                false,
            ),
            // A 421 closes the connection, whatever the last column says.
            Self::Audit => row(
                "NO [UNAVAILABLE]",
                "-ERR [SYS/TEMP]",
                "421 4.3.0",
                "This relay cannot keep its records at the moment, try again later.",
                false,
            ),
            Self::Unavailable => row(
                "NO [UNAVAILABLE]",
                "-ERR [SYS/TEMP]",
                "454 4.7.0",
                "The sign-in service cannot be used at the moment, try again later.",
                false,
            ),
            Self::GrantRefused => row(
                "NO [CONTACTADMIN]",
                "-ERR [SYS/PERM]",
                "454 4.7.0",
                "The sign-in service refuses this relay; its administrator finds the reason in the relay's log.",
                false,
            ),
            Self::Unreachable => row(
                "NO [UNAVAILABLE]",
                "-ERR [SYS/TEMP]",
                "454 4.7.0",
                "The mail service cannot be reached at the moment, try again later.",
                false,
            ),
            Self::Busy => row(
                "NO [UNAVAILABLE]",
                "-ERR [SYS/TEMP]",
                "454 4.7.0",
                "The mail service is busy, try again later.",
                false,
            ),
            Self::Full => row(
                "NO [UNAVAILABLE]",
                "-ERR [SYS/TEMP]",
                "451 4.3.2",
                "Too many messages of the mailbox are being sent at the moment, try again later.",
                false,
            ),
            // For the log only: the mail service's own reply is relayed.
            Self::Mailbox | Self::MessageRefused => row("", "", "", "", false),
            Self::Refused => row(
                "NO [AUTHORIZATIONFAILED]",
                "-ERR [SYS/PERM]",
                "535 5.7.3",
                "The mail service refuses this relay for the mailbox; its administrator finds the reason in the relay's log.",
                false,
            ),
            Self::Lost => row(
                "BYE",
                "",
                "421 4.4.2",
                "The mail service closed the connection.",
                true,
            ),
            Self::Draining => row(
                "BYE",
                "",
                "421 4.3.2",
                "Shutting down, try again later.",
                true,
            ),
            Self::Internal => row("", "", "", "", true),
        }
    }
}

impl Fault {
    /// Builds the reply for a client of `protocol`.
    ///
    /// `tag` is the tag of the IMAP command being answered. Without a tag (a deadline, a drain, a
    /// line too long to have one) the reply is untagged.
    pub fn reply(&self, protocol: Protocol, tag: Option<&[u8]>) -> ClientReply {
        let row = self.kind.row();
        let head = match protocol {
            Protocol::Imap => row.imap,
            Protocol::Pop3 => row.pop3,
            Protocol::Smtp => row.smtp,
        };
        let mut text = Vec::new();
        match (protocol, &self.smtp) {
            _ if head.is_empty() => {}
            (Protocol::Smtp, Some(reply)) => text.extend_from_slice(reply.as_bytes()),
            (Protocol::Imap, _) => {
                // Unsolicited, only BYE (RFC 9051 §7.1.5) or an untagged BAD may be sent.
                let head = match tag {
                    None if head.starts_with("NO") => "BYE",
                    _ => head,
                };
                let tag = tag.filter(|_| head != "BYE");
                text.extend_from_slice(tag.unwrap_or(b"*"));
                text.push(b' ');
                text.extend_from_slice(head.as_bytes());
                text.push(b' ');
                text.extend_from_slice(row.text.as_bytes());
                text.extend_from_slice(b"\r\n");
            }
            (Protocol::Pop3 | Protocol::Smtp, _) => {
                text.extend_from_slice(head.as_bytes());
                text.push(b' ');
                text.extend_from_slice(row.text.as_bytes());
                text.extend_from_slice(b"\r\n");
            }
        }
        // 421 announces that the channel closes (RFC 5321 §4.2.2), even in an upstream's reply.
        let close = row.close || (protocol == Protocol::Smtp && text.starts_with(b"421"));
        ClientReply {
            text: text.into(),
            close,
        }
    }
}
