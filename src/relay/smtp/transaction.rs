//! A mail transaction: its commands and chunks, and the pending replies that move it.

use bytes::Bytes;

use super::header::HeaderRewriter;
use crate::fault::sanitize;
use crate::wire::address::Path;

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
}

/// One pending reply, and its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pending {
    /// MAIL: a transaction begins.
    Mail(Sender),
    /// RCPT: this recipient is accepted.
    Rcpt(String),
    /// DATA: 354 begins the text.
    Data,
    /// Final reply to a text of this many octets.
    Text(u64),
    /// BDAT and its chunk.
    Chunk {
        /// Size of the chunk as the client sent it, in octets.
        octets: u64,
        /// Whether the reply is the final one of the message.
        last: bool,
    },
    /// A BDAT that cannot be parsed here; the upstream may accept it.
    UnclearChunk,
    /// RSET, EHLO or HELO: the transaction ends.
    Reset,
    /// A command without effect on the transaction.
    Other,
    /// A local reply, sent in order.
    Local(Bytes),
    /// A local rejection that ends a message of this size.
    LocalRejection(&'static str, u64),
    /// The reply to a RSET of our own, hidden from the client.
    Discarded,
}

impl Pending {
    /// Whether the reply is local.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Local(_) | Self::LocalRejection(..))
    }

    /// Whether the reply may begin or end a transaction or its message.
    pub(super) fn moves_transaction(&self) -> bool {
        match self {
            Self::Mail(_)
            | Self::Data
            | Self::Text(_)
            | Self::Chunk { .. }
            | Self::UnclearChunk
            | Self::Reset
            | Self::LocalRejection(..)
            | Self::Discarded => true,
            Self::Rcpt(_) | Self::Other | Self::Local(_) => false,
        }
    }

    /// Whether the reply decides in which state of the transaction a following chunk arrives.
    pub(super) fn precedes_chunk(&self) -> bool {
        match self {
            Self::Chunk { last, .. } => *last,
            other => other.moves_transaction(),
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
