//! Wire formats: framing, SASL, and the grammars of the three protocols.
//!
//! Pure functions and small buffers over bytes. Framing comes first: [`mod@line`] returns whole
//! lines (and IMAP commands with their literals) of limited size. nom's complete parsers then run
//! on them. This module has no access to sockets, clocks or logs.

pub mod address;
pub mod imap;
pub mod line;
pub mod literal;
pub mod pop3;
mod protocol;
pub mod sasl;
pub mod smtp;

pub use protocol::Protocol;
