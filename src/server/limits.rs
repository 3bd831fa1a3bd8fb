//! Times of a shutdown.

use std::time::Duration;

/// Longest wait for the last audit records.
pub(super) const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time for stopped sessions to send their final reply.
pub(super) const FINAL_REPLY_TIMEOUT: Duration = Duration::from_millis(400);

/// Time after `limits.drain_timeout` by which everything has ended; the process has one second.
pub(super) const LAST: Duration = Duration::from_millis(700);

/// Longest time for the administrators' connections to end.
pub(super) const LAST_ANSWERS: Duration = Duration::from_millis(100);
