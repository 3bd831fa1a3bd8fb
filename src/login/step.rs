//! Steps of a login dialogue, and the reply that ends a successful one.

use bytes::Bytes;

use crate::fault::Fault;

/// Next step of a dialogue. The driver must carry it out before it calls `next` again.
#[derive(Debug)]
pub enum Step<T> {
    /// Read more bytes from the peer.
    Read,
    /// Send these bytes to the peer.
    Write(Bytes),
    /// Start TLS, then begin a new dialogue on the encrypted stream. Nothing from the cleartext
    /// dialogue is kept.
    StartTls,
    /// The dialogue has ended with this result.
    Done(T),
    /// Close the connection because of this fault.
    Failed(Fault),
}

/// The upstream's success reply, which is relayed to the client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SuccessReply {
    /// IMAP: untagged lines before the tagged response, each with its CRLF.
    pub untagged: Bytes,
    /// IMAP: the tagged response without its tag. POP3, SMTP: the whole reply without the final
    /// CRLF.
    pub text: Bytes,
}
