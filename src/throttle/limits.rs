//! The limits of a mailbox, and why a message may not be sent.

use std::time::Duration;

/// What one mailbox may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages in flight.
    pub in_flight: usize,
    /// Messages that may begin in any 60 s.
    pub per_minute: usize,
    /// Time for which a message waits, from MAIL on.
    pub wait: Duration,
}

/// Why a message may not be sent for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// As many as may be were in flight, for all of [`Limits::wait`].
    Full,
    /// It could not begin within [`Limits::wait`].
    TooMany,
}
