//! What a dialogue asks its driver for: [`Step`], and what it ends with.

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
