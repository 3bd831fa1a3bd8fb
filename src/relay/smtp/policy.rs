//! What an account's policy says of commands.

use super::{Command, Due};
use crate::wire::address::{Path, Pattern};

/// `accounts[].smtp`, as the relay needs it.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Who may be named in MAIL; `None`: everybody.
    pub senders: Option<Vec<Pattern>>,
    /// Who may be named in RCPT; `None`: everybody.
    pub recipients: Option<Vec<Pattern>>,
    /// Octets of a message at most.
    pub max_size: Option<u64>,
    /// The address to put into MAIL and From, if one is.
    pub from: Option<String>,
}

pub(super) const SENDER: &str = "550 5.7.1 This relay's policy does not allow the sender.\r\n";
pub(super) const RECIPIENT: &str =
    "550 5.7.1 This relay's policy does not allow the recipient.\r\n";
pub(super) const SIZE: &str =
    "552 5.3.4 The message is larger than this relay's policy allows.\r\n";
pub(super) const HEADER: &str = "552 5.3.4 The message's header is too large for this relay.\r\n";
pub(super) const SYNTAX: &str = "501 5.5.4 Arguments not understood.\r\n";
pub(super) const UNKNOWN: &str = "500 5.5.1 Command not known or not allowed here.\r\n";
pub(super) const SEQUENCE: &str = "503 5.5.1 Bad sequence of commands.\r\n";
pub(super) const TOO_LONG: &str = "500 5.5.2 Line too long.\r\n";

/// What becomes of a command.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes up as this line.
    Pass(Vec<u8>, Due),
    /// A MAIL that goes up as this line once its turn has come.
    Mail(Vec<u8>, Due, String),
    /// It is answered here.
    Answer(&'static str),
    /// The same, and the policy refused it.
    Refuse(&'static str, String),
}

impl Policy {
    /// MAIL, RCPT and what carries no message. `open` is whether a transaction is: RCPT without
    /// one never goes up, whatever the upstream may think.
    pub(super) fn judge(&self, command: Command, line: &[u8], open: bool) -> Verdict {
        if line
            .iter()
            .any(|octet| octet.is_ascii_control() && *octet != b'\t')
        {
            return Verdict::Answer(SYNTAX);
        }
        let argument = line.get(4..).unwrap_or_default().trim_ascii();
        match command {
            Command::Mail => match Path::parse(argument, "FROM:") {
                Some(path) => self.mail(path),
                None => Verdict::Answer(SYNTAX),
            },
            Command::Rcpt if !open => Verdict::Answer(SEQUENCE),
            Command::Rcpt => match Path::parse(argument, "TO:") {
                Some(path) if !path.address.is_empty() => self.recipient(path),
                _ => Verdict::Answer(SYNTAX),
            },
            Command::Reset => Verdict::Pass(line.to_vec(), Due::Reset),
            Command::Harmless => Verdict::Pass(line.to_vec(), Due::Other),
            Command::Data | Command::Bdat | Command::Auth => Verdict::Answer(SEQUENCE),
            Command::Other => Verdict::Answer(UNKNOWN),
        }
    }

    fn mail(&self, path: Path<'_>) -> Verdict {
        if !admits(self.senders.as_deref(), path.address) {
            return Verdict::Refuse(SENDER, format!("sender {}", path.address));
        }
        if let Some(size) = path.parameter("SIZE") {
            let Ok(size) = size.parse::<u64>() else {
                return Verdict::Answer(SYNTAX);
            };
            if self.max_size.is_some_and(|most| size > most) {
                let why = format!("size {size}, announced by {}", path.address);
                return Verdict::Refuse(SIZE, why);
            }
        }
        // A bounce stays one: with a sender it could be answered by another (RFC 5321 §4.5.5).
        let address = match &self.from {
            Some(mailbox) if !path.address.is_empty() => mailbox,
            _ => path.address,
        };
        let due = Due::Mail(crate::fault::harmless(address));
        let line = command_line("MAIL FROM:", address, path.parameters);
        Verdict::Mail(line, due, path.address.to_owned())
    }

    fn recipient(&self, path: Path<'_>) -> Verdict {
        if !admits(self.recipients.as_deref(), path.address) {
            return Verdict::Refuse(RECIPIENT, format!("recipient {}", path.address));
        }
        let due = Due::Rcpt(crate::fault::harmless(path.address));
        Verdict::Pass(command_line("RCPT TO:", path.address, path.parameters), due)
    }
}

fn admits(patterns: Option<&[Pattern]>, address: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(address)))
}

/// What was checked is what goes up: no spelling of it that another parser reads differently.
fn command_line(head: &str, address: &str, parameters: &str) -> Vec<u8> {
    let space = if parameters.is_empty() { "" } else { " " };
    format!("{head}<{address}>{space}{parameters}").into_bytes()
}
