//! What may be sent: an account's policy, a mail service's limits, and who sends without a login.

use std::sync::Arc;
use std::time::Duration;

use super::keys::words;
use super::{Account, SmtpPolicy};

impl SmtpPolicy {
    /// Whether the commands of a session have to be looked at: for its own rate too, since what
    /// is not understood could carry a message past it.
    pub fn looks_at_commands(&self) -> bool {
        self.senders.is_some()
            || self.recipients.is_some()
            || self.max_size.is_some()
            || self.messages_per_minute.is_some()
            || self.from == SmtpFrom::Mailbox
    }
}

words! {
    /// `accounts[].smtp.line_ends`.
    pub enum LineEnds {
        /// They stay as they are.
        Keep = "keep",
        /// Bare LF becomes CRLF, and `LF.LF` ends the message.
        Crlf = "crlf",
    }
}

words! {
    /// `accounts[].smtp.from`.
    pub enum SmtpFrom {
        /// It stays.
        Keep = "keep",
        /// MAIL and the From header name the mailbox, Reply-To who it was.
        Mailbox = "mailbox",
    }
}

/// `providers.*.smtp_limits`, for each mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmtpLimits {
    /// Sessions at once.
    pub connections: usize,
    /// Messages in any minute.
    pub messages_per_minute: usize,
    /// How long a client waits for its turn.
    pub wait: Duration,
}

impl SmtpLimits {
    /// Exchange Online's, published for every mailbox.
    pub const EXCHANGE: Self = Self {
        connections: 3,
        messages_per_minute: 30,
        wait: Duration::from_secs(25),
    };
}

/// `listeners[].unauthenticated`: the account that devices use which cannot log in.
#[derive(Debug, Clone)]
pub struct Unauthenticated {
    /// Whose mailbox.
    pub account: Arc<Account>,
    /// As it is written there, in lower case.
    pub login: String,
}
