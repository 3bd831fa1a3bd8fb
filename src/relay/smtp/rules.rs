//! What an SMTP session is subject to.

use bytes::Bytes;

use super::policy::Policy;

/// Why authrelay looks at the commands of a session, and not only at what becomes of them.
#[derive(Debug, Clone, Default)]
pub struct SmtpRules {
    /// Policy on what the account may send.
    pub policy: Option<Policy>,
    /// Whether each MAIL needs a permit.
    pub rate_limited: bool,
    /// Whether line ends of messages are repaired (`smtp.line_ends: crlf`).
    pub repair_line_ends: bool,
    /// Whether the upstream takes BDAT (RFC 3030).
    pub chunking: bool,
    /// With `mailbox: {smtp: sender}`: MAIL says which mailbox the upstream is logged in to as.
    /// The reply to EHLO, which no upstream gives.
    pub by_sender: Option<Bytes>,
}

impl SmtpRules {
    /// Whether a command that is not understood must not reach the upstream.
    pub(super) fn apply(&self) -> bool {
        self.policy.is_some() || self.rate_limited || self.by_sender.is_some()
    }
}
