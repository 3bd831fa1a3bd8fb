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
pub mod sasl;
pub mod smtp;

use std::fmt;

/// The mail protocol of a listener and its upstreams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// IMAP (RFC 3501, RFC 9051).
    Imap,
    /// POP3 (RFC 1939, RFC 2449, RFC 5034).
    Pop3,
    /// SMTP submission (RFC 5321, RFC 6409, RFC 4954).
    Smtp,
}

impl Protocol {
    /// All protocols, in the order of their names.
    pub const ALL: [Self; 3] = [Self::Imap, Self::Pop3, Self::Smtp];

    /// `imap`, `pop3` or `smtp`, as in `proxy.yaml`, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
