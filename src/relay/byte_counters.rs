//! Octets relayed by a session: [`ByteCounters`].

use std::sync::atomic::{AtomicU64, Ordering};

/// Octets relayed so far. Kept outside the session, so that they survive its cancellation and can
/// be read by others.
#[derive(Debug, Default)]
pub struct ByteCounters {
    up: AtomicU64,
    down: AtomicU64,
}

impl ByteCounters {
    /// Octets sent from the client to the upstream.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Octets sent from the upstream to the client.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// Counts octets in both directions.
    pub fn add(&self, up: usize, down: usize) {
        self.up.fetch_add(up as u64, Ordering::Relaxed);
        self.down.fetch_add(down as u64, Ordering::Relaxed);
    }
}
