//! Keeps the log readable while no client can be accepted: [`Shortage`].

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Shortest time between two warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Time without a failure after which the shortage is over. Each session that ends lets the next
/// client in.
const RECOVERY: Duration = Duration::from_secs(1);

/// Shortage of descriptors or memory, which every listener and thread of the process meets alike.
#[derive(Debug, Clone, Default)]
pub struct Shortage(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failed: Option<Instant>,
    warned: Option<Instant>,
    /// Whether a warning was logged, but not yet the recovery.
    lasts: bool,
}

impl Shortage {
    /// Records that a client cannot be accepted. Returns whether to log a warning.
    pub(super) fn on_failure(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        state.failed = Some(now);
        let warns = state
            .warned
            .is_none_or(|before| now.duration_since(before) >= WARNING_INTERVAL);
        if warns {
            state.warned = Some(now);
            state.lasts = true;
        }
        warns
    }

    /// Records an accepted client. Returns whether to log the recovery.
    pub(super) fn on_accepted(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        let over = state
            .failed
            .is_some_and(|failed| now.duration_since(failed) >= RECOVERY);
        over && std::mem::take(&mut state.lasts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_a_warning_every_ten_seconds_and_a_recovery() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let shortage = Shortage::default();
        assert!(!shortage.on_accepted(at(0)));
        let other = shortage.clone();
        let warned: Vec<_> = (0..250)
            .map(|n| n * 100)
            .filter(|now| other.on_failure(at(*now)) | shortage.on_failure(at(*now)))
            .collect();
        assert_eq!(warned, [0, 10_000, 20_000]);
        // A session ends, and the next client is accepted; others still wait.
        assert!(!shortage.on_accepted(at(25_000)));
        assert!(other.on_accepted(at(26_000)));
        assert!(!shortage.on_accepted(at(27_000)));
        // Another shortage soon after gets its warning when that is due.
        assert!(!shortage.on_failure(at(28_000)));
        assert!(!shortage.on_accepted(at(29_500)));
        assert!(shortage.on_failure(at(30_000)));
    }
}
