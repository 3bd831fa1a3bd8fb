//! Limits of a mailbox, and reasons for denial.

use std::time::Duration;

/// Limits of what one mailbox may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum number of messages in flight.
    pub in_flight: usize,
    /// Maximum number of messages that begin in any 60 s.
    pub per_minute: usize,
    /// Longest wait of a message, from MAIL on.
    pub wait: Duration,
}

/// Reason why a message may not be sent at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The mailbox had its maximum of messages in flight for all of [`Limits::wait`].
    Full,
    /// The message could not start within [`Limits::wait`].
    TooMany,
}
