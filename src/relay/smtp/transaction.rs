//! One mail transaction, and what is known of the message that is on its way.

use super::super::envelope::Envelope;
use super::header::HeaderRewriter;

/// A MAIL command that waits.
#[derive(Debug)]
pub(super) struct Mail {
    /// Command as it will be sent, with its line end.
    pub(super) line: Vec<u8>,
    /// The sender as the mail service will know it.
    pub(super) from: String,
    /// The sender as the client named it.
    pub(super) sender: String,
}

#[derive(Debug)]
pub(super) struct ChunkHeader {
    pub(super) octets: u64,
    pub(super) left: u64,
    pub(super) last: bool,
    /// Header that is sent instead of the received one.
    pub(super) rewritten: Vec<u8>,
}

/// A mail transaction (RFC 5321 §3.3) that the upstream has agreed to.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub(super) envelope: Envelope,
    /// The sender as the client named it.
    pub(super) sender: String,
    /// Octets of the chunks that the upstream took.
    pub(super) size: u64,
    /// The rewriting of a header whose message comes by BDAT; it goes on in the next chunk.
    pub(super) header: Option<HeaderRewriter>,
    pub(super) chunks: bool,
}

impl Transaction {
    pub(super) fn new(from: String, sender: String) -> Self {
        Self {
            envelope: Envelope::of(from),
            sender,
            ..Self::default()
        }
    }
}
