//! What stands on the wire: framing, SASL, and the grammars of the three protocols.
//!
//! Pure functions and small buffers over bytes. Frame first, parse second: [`mod@line`] yields
//! whole lines (and IMAP commands with their literals) under a cap; nom's complete parsers then run
//! on them. Nothing here knows a socket, a clock or a log.

pub mod address;
pub mod imap;
pub mod line;
pub mod literal;
pub mod pop3;
mod protocol;
pub mod sasl;
pub mod smtp;

pub use protocol::Protocol;
