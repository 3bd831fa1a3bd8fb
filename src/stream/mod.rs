//! One connection, in clear or encrypted, that holds no buffer while it is idle.
//!
//! Bytes are read into a scratch buffer of the thread and handed to a sink as slices; what is
//! written is encrypted into another one and offered to the socket at once. Kept are only a TLS
//! record that is not complete yet and what the socket would not take, and both are freed as soon
//! as they are empty. TLS is rustls by its unbuffered interface (`tls`): the buffered one keeps
//! 8 KiB a connection and reads 4 KiB at a time.
//!
//! Backpressure is the caller's: receive only while the other side [`Stream::poll_flush`]es.

mod connection;
mod records;
mod socket;
pub mod tls;

pub use connection::{HandshakeError, Sink, Stream};
