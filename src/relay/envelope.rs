//! Who a message was from, whom it was for, and what became of it.

use crate::fault::sanitize;
use crate::wire::address::Path;

/// Recipients of a message that are remembered; Exchange takes 1,000.
const RECIPIENTS: usize = 2_000;

/// Outcome of a message that a session sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageOutcome {
    /// The mail service took it.
    Accepted,
    /// The upstream refused it, or the policy did in the middle of the message.
    Rejected,
    /// The session ended before its final reply.
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

/// A message that came to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageReport {
    /// The sender as the mail service knows it, without angle brackets; empty: the null sender.
    pub from: String,
    /// The recipients that the mail service accepted, likewise.
    pub to: Vec<String>,
    /// Octets, without the dots of transparency.
    pub size: u64,
    /// The final reply with its code; Exchange puts its queue id there. None came: `None`.
    pub reply: Option<String>,
    /// Outcome of the message at the upstream.
    pub outcome: MessageOutcome,
}

/// A transaction that the mail service has agreed to.
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

/// Address that MAIL or RCPT names, made harmless: for records, not for decisions.
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
