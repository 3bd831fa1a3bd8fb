//! What may be sent: an account's policy, a mail service's limits, and who sends without a login.

use std::sync::Arc;
use std::time::Duration;

use super::Account;
use crate::wire::address::Pattern;

/// `accounts[].smtp`.
#[derive(Debug, Clone)]
pub struct SmtpPolicy {
    /// Who may be named in MAIL; `None`: everybody.
    pub senders: Option<Vec<Pattern>>,
    /// Who may be named in RCPT; `None`: everybody.
    pub recipients: Option<Vec<Pattern>>,
    /// Octets of a message at most.
    pub max_size: Option<u64>,
    /// Messages of all the account's sessions together.
    pub messages_per_minute: Option<usize>,
    /// What becomes of the sender's address.
    pub from: SmtpFrom,
    /// What becomes of line ends in message bodies.
    pub line_ends: LineEnds,
}

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

/// `accounts[].smtp.line_ends`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEnds {
    /// They stay as they are.
    Keep,
    /// Bare LF becomes CRLF, and `LF.LF` ends the message.
    Crlf,
}

/// `accounts[].smtp.from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpFrom {
    /// It stays.
    Keep,
    /// MAIL and the From header name the mailbox, Reply-To who it was.
    Mailbox,
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
