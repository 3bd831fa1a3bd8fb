//! Creates the tracker of a session's protocol.

use std::ops::{Deref, DerefMut};

use super::imap::Imap;
use super::interface::TrackedProtocol;
use super::pop3::Pop3;
use super::smtp::{Smtp, SmtpRules};
use crate::wire::Protocol;

/// Protocol state of a relayed session. Keeps at most 120 octets of the current line. Over SMTP it
/// keeps up to 4 KiB of a command, 1 KiB of a reply, and 64 KiB plus one read of input that waits
/// for replies.
#[derive(Debug)]
pub struct Tracker(Box<dyn TrackedProtocol>);

impl Tracker {
    /// Tracks a session of `protocol` after its login, without rules.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Imap => Self(Box::new(Imap::new())),
            Protocol::Pop3 => Self(Box::<Pop3>::default()),
            Protocol::Smtp => Self::with_rules(SmtpRules::default()),
        }
    }

    /// Tracks an SMTP session under `rules`.
    pub fn with_rules(rules: SmtpRules) -> Self {
        Self(Box::new(Smtp::new(rules)))
    }
}

impl Deref for Tracker {
    type Target = dyn TrackedProtocol;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl DerefMut for Tracker {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.0
    }
}
