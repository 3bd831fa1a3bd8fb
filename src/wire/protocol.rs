//! The three mail protocols: [`Protocol`].

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

    /// Finds the protocol with this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let is_named = |protocol: &Self| protocol.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_named)
    }

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
