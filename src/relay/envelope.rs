//! Envelope and outcome of a message.

use crate::fault::sanitize;
use crate::wire::address::Path;

/// Maximum number of recipients recorded per message; Exchange allows 1,000.
const RECIPIENTS: usize = 2_000;

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

/// Envelope of a transaction that the mail service has accepted.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    pub(super) from: String,
    pub(super) to: Vec<String>,
}

impl Envelope {
    pub(super) fn of(from: String) -> Self {
        Self {
            from,
            to: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, to: String) {
        if self.to.len() < RECIPIENTS {
            self.to.push(to);
        }
    }

    pub(super) fn ended(
        self,
        size: u64,
        outcome: MessageOutcome,
        reply: Option<&str>,
    ) -> MessageReport {
        MessageReport {
            from: self.from,
            to: self.to,
            size,
            reply: reply.map(sanitize),
            outcome,
        }
    }
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
