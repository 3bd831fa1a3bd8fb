//! How many octets a session has relayed: [`ByteCounters`].

use std::sync::atomic::{AtomicU64, Ordering};

/// Octets relayed so far; kept outside of the session, so that one that is cancelled has them too,
/// and that others may look.
#[derive(Debug, Default)]
pub struct ByteCounters {
    up: AtomicU64,
    down: AtomicU64,
}

impl ByteCounters {
    /// Octets from the client to the upstream.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// Octets from the upstream to the client.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// Counts octets that went up and down.
    pub fn add(&self, up: usize, down: usize) {
        self.up.fetch_add(up as u64, Ordering::Relaxed);
        self.down.fetch_add(down as u64, Ordering::Relaxed);
    }
}
