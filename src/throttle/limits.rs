//! The limits of a mailbox, and why a message may not be sent.

use std::time::Duration;

/// Limits of what one mailbox may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest number of messages in flight.
    pub in_flight: usize,
    /// Messages that may begin in any 60 s.
    pub per_minute: usize,
    /// Time for which a message waits, from MAIL on.
    pub wait: Duration,
}

/// Why a message may not be sent for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// The mailbox had as many messages in flight as allowed, for all of [`Limits::wait`].
    Full,
    /// The message could not start within [`Limits::wait`].
    TooMany,
}
