//! A connection, in clear or encrypted, that holds no buffer while idle.
//!
//! Received bytes are read into a scratch buffer of the thread and passed to a sink as slices.
//! Bytes to send are encrypted into another scratch buffer and offered to the socket at once. Only
//! an incomplete TLS record and bytes that the socket did not accept are kept; both are freed as
//! soon as possible. TLS is rustls' unbuffered interface (`tls`): the buffered one keeps 8 KiB per
//! connection and reads 4 KiB at a time.
//!
//! The caller provides backpressure: receive only while the other side's [`Stream::poll_flush`] is
//! ready.

mod connection;
mod records;
mod socket;
pub mod tls;

pub use connection::{HandshakeError, Sink, Stream};
