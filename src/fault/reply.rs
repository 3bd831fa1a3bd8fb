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

/// The connection is closed after the reply.
const CLOSE: bool = true;
/// The client may go on.
const STAY: bool = false;

/// Creates [`Kind::row`] from rows `kind => IMAP, POP3, SMTP, text, CLOSE or STAY;`.
macro_rules! replies {
    ($($($kind:ident)|+ => $imap:literal, $pop3:literal, $smtp:literal, $text:literal, $close:ident;)+) => {
        impl Kind {
            fn row(self) -> ReplySet {
                match self {
                    $($(Self::$kind)|+ => ReplySet {
                        imap: $imap,
                        pop3: $pop3,
                        smtp: $smtp,
                        text: $text,
                        close: $close,
                    },)+
                }
            }
        }
    };
}

replies! {
    Credentials => "NO [AUTHENTICATIONFAILED]", "-ERR [AUTH]", "535 5.7.8",
        "Wrong login or password for this relay.", STAY;
    Sasl => "BAD", "-ERR", "501 5.5.2", "Authentication cancelled, or not valid base64.", STAY;
    Syntax => "BAD", "-ERR", "501 5.5.4",
        "Login not understood; quote user name and password.", STAY;
    StartTls => "BAD", "-ERR", "502 5.5.1", "TLS is not available here.", STAY;
    // A load balancer expects no reply.
    ProxyHeader => "", "", "", "", CLOSE;
    TooLong => "BAD", "-ERR", "500 5.5.6", "Line too long.", CLOSE;
    Mechanism => "NO", "-ERR", "504 5.5.4",
        "Unknown authentication mechanism; use PLAIN or LOGIN.", STAY;
    TlsRequired => "NO [PRIVACYREQUIRED]", "-ERR", "538 5.7.11",
        "Start TLS before you log in.", STAY;
    Order => "BAD", "-ERR", "530 5.7.0", "Log in first.", STAY;
    // Without TLS nothing can be sent.
    Tls => "", "", "", "", CLOSE;
    LoginTimeout => "BYE", "-ERR", "421 4.4.2", "No login in time, closing.", CLOSE;
    Idle => "BYE", "", "421 4.4.2", "Idle for too long, closing.", CLOSE;
    LineEnds => "", "", "421 4.4.2", "The message has not ended: lines must end with CRLF.", CLOSE;
    Sessions => "NO [LIMIT]", "-ERR [IN-USE]", "421 4.7.0",
        "Too many sessions, try again later.", CLOSE;
    // SMTP only. The relay words the other refusals, since it knows their reasons.
    Message => "NO [LIMIT]", "-ERR", "550 5.7.1",
        "This relay's policy does not allow the message.", STAY;
    // A 421 closes the connection, whatever the last column says.
    Audit => "NO [UNAVAILABLE]", "-ERR [SYS/TEMP]", "421 4.3.0",
        "This relay cannot keep its records at the moment, try again later.", STAY;
    Unavailable => "NO [UNAVAILABLE]", "-ERR [SYS/TEMP]", "454 4.7.0",
        "The sign-in service cannot be used at the moment, try again later.", STAY;
    GrantRefused => "NO [CONTACTADMIN]", "-ERR [SYS/PERM]", "454 4.7.0",
        "The sign-in service refuses this relay; its administrator finds the reason in the relay's log.", STAY;
    Unreachable => "NO [UNAVAILABLE]", "-ERR [SYS/TEMP]", "454 4.7.0",
        "The mail service cannot be reached at the moment, try again later.", STAY;
    Busy => "NO [UNAVAILABLE]", "-ERR [SYS/TEMP]", "454 4.7.0",
        "The mail service is busy, try again later.", STAY;
    Full => "NO [UNAVAILABLE]", "-ERR [SYS/TEMP]", "451 4.3.2",
        "Too many messages of the mailbox are being sent at the moment, try again later.", STAY;
    // For the log only: the mail service's own reply is relayed.
    Mailbox | MessageRefused => "", "", "", "", STAY;
    Refused => "NO [AUTHORIZATIONFAILED]", "-ERR [SYS/PERM]", "535 5.7.3",
        "The mail service refuses this relay for the mailbox; its administrator finds the reason in the relay's log.", STAY;
    Lost => "BYE", "", "421 4.4.2", "The mail service closed the connection.", CLOSE;
    Draining => "BYE", "", "421 4.3.2", "Shutting down, try again later.", CLOSE;
    Internal => "", "", "", "", CLOSE;
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
        let text = match (protocol, &self.smtp) {
            _ if head.is_empty() => Vec::new(),
            (Protocol::Smtp, Some(reply)) => reply.clone().into_bytes(),
            (Protocol::Imap, _) => {
                // Unsolicited, only BYE (RFC 9051 §7.1.5) or an untagged BAD may be sent.
                let head = match tag {
                    None if head.starts_with("NO") => "BYE",
                    _ => head,
                };
                let tag = tag.filter(|_| head != "BYE").unwrap_or(b"*");
                [tag, format!(" {head} {}\r\n", row.text).as_bytes()].concat()
            }
            (Protocol::Pop3 | Protocol::Smtp, _) => format!("{head} {}\r\n", row.text).into_bytes(),
        };
        // 421 announces that the channel closes (RFC 5321 §4.2.2), even in an upstream's reply.
        let close = row.close || (protocol == Protocol::Smtp && text.starts_with(b"421"));
        ClientReply {
            text: text.into(),
            close,
        }
    }
}
