//! Rules of an SMTP session.

use bytes::Bytes;

use super::policy::Policy;

/// Rules that make the relay inspect the commands of a session. Without any it only tracks them.
#[derive(Debug, Clone, Default)]
pub struct SmtpRules {
    /// Policy on what the account may send.
    pub policy: Option<Policy>,
    /// Whether each MAIL needs a permit.
    pub rate_limited: bool,
    /// Whether line ends in messages are repaired (`smtp.line_ends: crlf`).
    pub repair_line_ends: bool,
    /// Whether the upstream accepts BDAT (RFC 3030).
    pub chunking: bool,
    /// The local reply to EHLO with `mailbox: {smtp: sender}`, where MAIL decides as which mailbox
    /// the upstream is logged in.
    pub by_sender: Option<Bytes>,
}

impl SmtpRules {
    /// Whether unknown commands must not reach the upstream.
    pub(super) fn apply(&self) -> bool {
        self.policy.is_some() || self.rate_limited || self.by_sender.is_some()
    }
}
