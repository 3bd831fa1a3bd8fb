//! Creates the tracker of a session's protocol.

use std::ops::{Deref, DerefMut};

use super::imap::Imap;
use super::interface::TrackedProtocol;
use super::pop3::Pop3;
use super::smtp::{Smtp, SmtpRules};
use crate::wire::Protocol;

/// Protocol state of a relayed session. Keeps at most 120 octets of the current line, with a
/// longer tag at most 1 KiB. Over SMTP it keeps up to 4 KiB of a command, 1 KiB of a reply, and
/// 64 KiB plus one read of input that waits for replies.
#[derive(Debug)]
pub enum Tracker {
    /// IMAP or POP3, whose octets pass as they come.
    Plain(Box<dyn TrackedProtocol>),
    /// SMTP, where rules may apply.
    Smtp(Box<Smtp>),
}

impl Tracker {
    /// Tracks a session of `protocol` after its login, without rules.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Imap => Self::Plain(Box::new(Imap::new())),
            Protocol::Pop3 => Self::Plain(Box::<Pop3>::default()),
            Protocol::Smtp => Self::with_rules(SmtpRules::default()),
        }
    }

    /// Tracks an SMTP session under `rules`.
    pub fn with_rules(rules: SmtpRules) -> Self {
        Self::Smtp(Box::new(Smtp::new(rules)))
    }
}

impl Deref for Tracker {
    type Target = dyn TrackedProtocol;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Plain(tracked) => &**tracked,
            Self::Smtp(smtp) => &**smtp,
        }
    }
}

impl DerefMut for Tracker {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Self::Plain(tracked) => &mut **tracked,
            Self::Smtp(smtp) => &mut **smtp,
        }
    }
}
