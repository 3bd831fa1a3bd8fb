//! Pending replies and their effects.

use bytes::Bytes;

use super::transaction::Sender;

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
