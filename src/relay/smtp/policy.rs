//! Rules of an SMTP session, and decisions of its account's policy about commands.

use bytes::Bytes;

use super::transaction::{Mail, Sender};
use crate::fault::sanitize;
use crate::wire::address::{Path, Pattern};

/// Rules that make the relay inspect the commands of a session. Without any it only tracks them.
#[derive(Debug, Clone, Default)]
pub struct SmtpRules {
    /// Policy on what the account may send.
    pub policy: Option<Policy>,
    /// Whether each MAIL needs a permit.
    pub rate_limited: bool,
    /// Whether line ends in messages are repaired (`smtp.line_ends: crlf`).
    pub repair_line_ends: bool,
    /// Whether the upstream accepts BDAT (RFC 3030).
    pub chunking: bool,
    /// The local reply to EHLO with `mailbox: {smtp: sender}`, where MAIL decides as which mailbox
    /// the upstream is logged in.
    pub by_sender: Option<Bytes>,
}

/// The account's policy from `accounts[].smtp`.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Addresses allowed in MAIL; `None` allows all.
    pub senders: Option<Vec<Pattern>>,
    /// Addresses allowed in RCPT; `None` allows all.
    pub recipients: Option<Vec<Pattern>>,
    /// Largest size of a message, in octets.
    pub max_size: Option<u64>,
    /// Address to put into MAIL and From; `None` keeps the client's.
    pub from: Option<String>,
}

pub(super) const SENDER: &str = "550 5.7.1 This relay's policy does not allow the sender.\r\n";
pub(super) const RECIPIENT: &str =
    "550 5.7.1 This relay's policy does not allow the recipient.\r\n";
pub(super) const SIZE: &str =
    "552 5.3.4 The message is larger than this relay's policy allows.\r\n";
pub(super) const HEADER: &str = "552 5.3.4 The message's header is too large for this relay.\r\n";
pub(super) const SYNTAX: &str = "501 5.5.4 Arguments not understood.\r\n";
pub(super) const DONE: &str = "250 2.0.0 Done.\r\n";
pub(super) const HELLO: &str = "250 authrelay\r\n";
pub(super) const GOODBYE: &str = "221 2.0.0 Goodbye.\r\n";
pub(super) const UNKNOWN: &str = "500 5.5.1 Command not known or not allowed here.\r\n";
pub(super) const SEQUENCE: &str = "503 5.5.1 Bad sequence of commands.\r\n";
/// Reply when the rate of a mailbox or account allows no message at the moment.
pub(super) const RATE: &str = "451 4.7.1 Too many messages for now, try again later.\r\n";
pub(super) const TOO_LONG: &str = "500 5.5.2 Line too long.\r\n";

/// Local reply to a refused command, and what the policy refuses, for the fault if there is one.
pub(super) type Refusal = (&'static str, Option<String>);

impl Policy {
    /// Checks MAIL; `line` has no line end.
    pub(super) fn mail(&self, line: &[u8]) -> Result<Mail, Refusal> {
        let path = match Path::parse(argument(line), "FROM:") {
            Some(path) if path.has_valid_parameters() => path,
            _ => return Err((SYNTAX, None)),
        };
        if !admits(self.senders.as_deref(), path.address) {
            return Err((SENDER, Some(format!("sender {}", path.address))));
        }
        if let Some(size) = path.parameter("SIZE") {
            if size.is_empty() || !size.bytes().all(|octet| octet.is_ascii_digit()) {
                return Err((SYNTAX, None));
            }
            // RFC 1870 §3 allows 20 digits, more than fit.
            let size = size.parse().unwrap_or(u64::MAX);
            if self.max_size.is_some_and(|most| size > most) {
                let why = format!("size {size}, announced by {}", path.address);
                return Err((SIZE, Some(why)));
            }
        }
        // A bounce keeps its null sender: otherwise it could cause another bounce (RFC 5321
        // §4.5.5).
        let address = match &self.from {
            Some(mailbox) if !path.address.is_empty() => mailbox,
            _ => path.address,
        };
        Ok(Mail {
            line: command_line("MAIL FROM:", address, path.parameters),
            sender: Sender {
                sent: sanitize(address),
                named: path.address.to_owned(),
            },
        })
    }

    /// Checks RCPT within a transaction; `line` has no line end. Returns the command to send and the
    /// recipient, for records.
    pub(super) fn recipient(&self, line: &[u8]) -> Result<(Vec<u8>, String), Refusal> {
        let path = match Path::parse(argument(line), "TO:") {
            Some(path) if !path.address.is_empty() && path.has_valid_parameters() => path,
            _ => return Err((SYNTAX, None)),
        };
        if !admits(self.recipients.as_deref(), path.address) {
            return Err((RECIPIENT, Some(format!("recipient {}", path.address))));
        }
        let line = command_line("RCPT TO:", path.address, path.parameters);
        Ok((line, sanitize(path.address)))
    }
}

/// The argument after a verb of four octets.
fn argument(line: &[u8]) -> &[u8] {
    line.get(4..).unwrap_or_default().trim_ascii()
}

fn admits(patterns: Option<&[Pattern]>, address: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(address)))
}

/// Builds the command for the upstream from its checked parts, so that no other parser can read it
/// differently.
fn command_line(head: &str, address: &str, parameters: &str) -> Vec<u8> {
    let space = if parameters.is_empty() { "" } else { " " };
    format!("{head}<{address}>{space}{parameters}").into_bytes()
}
