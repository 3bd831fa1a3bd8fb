//! The login dialogues, both roles, as pure state machines: bytes in, steps out.
//!
//! [`front`] is the server role towards the client, [`back`] the client role towards the
//! upstream. Neither reads a clock, opens a socket or writes a log, so that every dialogue can be
//! replayed from a transcript, byte by byte. Whoever drives them does what the steps say:
//!
//! ```text
//!     bytes ──▶ receive ──▶ next ──▶ Read       ask for more
//!                                    Write      send these
//!                                    StartTls   encrypt, then begin again on the encrypted stream
//!                                    Done       the dialogue's result
//!                                    Failed     close
//! ```

pub mod back;
pub mod front;

use bytes::Bytes;

use crate::fault::Fault;

/// Next step of a dialogue, which the driver must take before it calls `next` again.
#[derive(Debug)]
pub enum Step<T> {
    /// More bytes from the peer.
    Read,
    /// These bytes sent to the peer.
    Write(Bytes),
    /// The connection encrypted. What was agreed in clear is forgotten: a new dialogue begins on
    /// the encrypted stream.
    StartTls,
    /// Nothing more: here is the result.
    Done(T),
    /// The connection closed, for this reason.
    Failed(Fault),
}

/// The upstream's own words of success, for the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SuccessReply {
    /// IMAP: untagged lines that came with it, each with its CRLF.
    pub untagged: Bytes,
    /// IMAP: the tagged response without its tag. POP3, SMTP: the whole reply, without the last
    /// CRLF.
    pub text: Bytes,
}
