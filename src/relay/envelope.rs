//! Report about a message: its envelope and its outcome.

use crate::fault::sanitize;
use crate::wire::address::Path;

/// Outcome of a message that a session sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOutcome {
    /// The mail service accepted the message.
    Accepted,
    /// The upstream rejected the message, or the policy did while it was being sent.
    Rejected,
    /// The session ended before the final reply.
    Lost,
}

impl MessageOutcome {
    /// Name of the outcome in metrics and audit records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Lost => "lost",
        }
    }
}

/// Report about a message that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageReport {
    /// Sender as the mail service knows it, without angle brackets; empty for the null sender.
    pub from: String,
    /// Recipients that the mail service accepted, without angle brackets.
    pub to: Vec<String>,
    /// Size in octets, without the dots added for transparency.
    pub size: u64,
    /// Final reply with its code, which contains Exchange's queue id. `None` if there was none.
    pub reply: Option<String>,
    /// Outcome of the message at the upstream.
    pub outcome: MessageOutcome,
}

/// Reads the address of MAIL or RCPT and sanitizes it. For records, not for decisions.
pub(super) fn address(line: &[u8], keyword: &str) -> String {
    let argument = line.get(5..).unwrap_or_default();
    match Path::parse(argument, keyword) {
        Some(path) => sanitize(path.address),
        None => {
            let text = String::from_utf8_lossy(argument);
            sanitize(text.split_once(':').map_or("", |(_, rest)| rest))
        }
    }
}
