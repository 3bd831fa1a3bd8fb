//! What the replies that are still to come will answer.

use std::borrow::Cow;

/// One reply to come, and what it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pending {
    /// Reply to MAIL: a transaction begins.
    Mail {
        /// The sender as the mail service knows it.
        from: String,
        /// The sender as the client named it.
        sender: String,
    },
    /// RCPT: this recipient is accepted.
    Rcpt(String),
    /// DATA: 354 begins the text.
    Data,
    /// The final reply to a text of this many octets.
    Text(u64),
    /// Reply to BDAT with its chunk.
    Chunk {
        /// Octets of the chunk, as the client sent it.
        octets: u64,
        /// The reply is the message's final one.
        last: bool,
    },
    /// A BDAT that only the upstream may understand.
    UnclearChunk,
    /// RSET, EHLO or HELO: the transaction ends.
    Reset,
    /// A command that changes nothing.
    Other,
    /// No reply of the upstream's: said by us in its turn.
    Local(Cow<'static, str>),
    /// Local rejection that ends a message of this size.
    LocalRejection(&'static str, u64),
    /// The reply to a RSET of ours, which the client does not see.
    Discarded,
}

impl Pending {
    /// Whether we say it ourselves.
    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Local(_) | Self::LocalRejection(..))
    }

    /// Whether the reply may begin or end a transaction, or its message.
    pub(super) fn moves_transaction(&self) -> bool {
        match self {
            Self::Mail { .. }
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

    /// Whether a chunk's place in the transaction depends on the reply.
    pub(super) fn precedes_chunk(&self) -> bool {
        match self {
            Self::Chunk { last, .. } => *last,
            other => other.moves_transaction(),
        }
    }
}
