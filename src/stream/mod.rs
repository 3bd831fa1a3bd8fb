//! A connection, in clear or encrypted, that holds no buffer while idle.
//!
//! Scratch buffers belong to the thread. Only an incomplete TLS record and bytes that the socket did
//! not accept are kept; both are freed as soon as possible. TLS is rustls' unbuffered interface
//! (`tls`): the buffered one keeps 8 KiB per connection and reads 4 KiB at a time.
//!
//! The caller provides backpressure: receive only while the other side's [`Stream::poll_flush`] is
//! ready.

mod connection;
mod records;
mod socket;
pub mod tls;

pub use connection::{HandshakeError, Sink, Stream};
