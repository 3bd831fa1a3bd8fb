//! A mail transaction, and the commands and chunks that are part of it.

use super::super::envelope::{MessageOutcome, MessageReport};
use super::header::HeaderRewriter;
use crate::fault::sanitize;

/// Maximum number of recipients recorded per message; Exchange allows 1,000.
const RECIPIENTS: usize = 2_000;

/// Sender of a message: the reverse-path of MAIL (RFC 5321 §3.3).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Sender {
    /// Address that the mail service knows.
    pub(super) sent: String,
    /// Address that the client named.
    pub(super) named: String,
}

/// A MAIL command that waits to be sent.
#[derive(Debug)]
pub(super) struct Mail {
    /// Command as it will be sent, without its line end.
    pub(super) line: Vec<u8>,
    pub(super) sender: Sender,
}

#[derive(Debug)]
pub(super) struct ChunkHeader {
    pub(super) octets: u64,
    pub(super) left: u64,
    pub(super) last: bool,
    /// Header to send instead of the received one.
    pub(super) rewritten: Vec<u8>,
}

/// A mail transaction (RFC 5321 §3.3) that the upstream has accepted.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) sender: Sender,
    /// Recipients that the mail service accepted.
    pub(super) to: Vec<String>,
    /// Octets of the chunks that the upstream accepted.
    pub(super) size: u64,
    /// Rewriting of a header sent by BDAT, which may continue in the next chunk.
    pub(super) header: Option<HeaderRewriter>,
    /// Whether BDAT was sent under rules; RCPT and DATA are out of sequence from then on.
    pub(super) bdat: bool,
    /// Whether the upstream accepted a chunk, so that a message is in progress.
    pub(super) chunks: bool,
}

impl Transaction {
    pub(super) fn new(sender: Sender) -> Self {
        Self {
            sender,
            ..Self::default()
        }
    }

    pub(super) fn add_recipient(&mut self, to: String) {
        if self.to.len() < RECIPIENTS {
            self.to.push(to);
        }
    }

    /// Ends the transaction with a message of `size` octets.
    pub(super) fn ended(
        self,
        size: u64,
        outcome: MessageOutcome,
        reply: Option<&str>,
    ) -> MessageReport {
        MessageReport {
            from: self.sender.sent,
            to: self.to,
            size,
            reply: reply.map(|reply| sanitize(reply.trim_end())),
            outcome,
        }
    }
}
