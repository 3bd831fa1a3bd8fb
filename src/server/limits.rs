//! The times of a shutdown, and what cannot be bound.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest time that the last audit records may take.
pub(super) const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time that sessions that were ended the hard way may take for their last words.
pub(super) const FINAL_REPLY_TIMEOUT: Duration = Duration::from_millis(400);

/// When everything is over after `limits.drain_timeout`; the process has a second.
pub(super) const LAST: Duration = Duration::from_millis(700);

/// Longest time that the administrators' connections may take for their end.
pub(super) const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// A listener (or the administrators' one) that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listener {name}: cannot listen on {address}: {error}")]
pub struct CannotBind {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) error: io::Error,
}
