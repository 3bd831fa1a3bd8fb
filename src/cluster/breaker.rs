//! Circuit breaker of the store: after three errors in a row it opens for 5 s, then admits one probe.

use std::time::Duration;

/// Number of errors in a row that open the breaker.
const ERRORS: u32 = 3;

/// Duration of the open state.
const OPEN: Duration = Duration::from_secs(5);

/// Circuit breaker without IO; times are of one monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    errors: u32,
    /// Time before which no operation is tried; then one probe is.
    open_until: Option<Duration>,
    probing: bool,
}

/// Change caused by a result, reported once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The store became unavailable.
    Unavailable,
    /// The store is available again.
    Back,
}

impl Breaker {
    /// Whether an operation may be tried.
    pub fn admits(&mut self, now: Duration) -> bool {
        match self.open_until {
            None => true,
            Some(until) if now < until || self.probing => false,
            Some(_) => {
                self.probing = true;
                true
            }
        }
    }

    /// Whether the store counts as available.
    pub fn is_closed(&self) -> bool {
        self.open_until.is_none()
    }

    /// Records the result of an admitted operation.
    pub fn on_result(&mut self, good: bool, now: Duration) -> Option<Change> {
        self.probing = false;
        if good {
            let was_open = self.open_until.take().is_some();
            self.errors = 0;
            return was_open.then_some(Change::Back);
        }
        self.errors = self.errors.saturating_add(1);
        if self.errors < ERRORS && self.open_until.is_none() {
            return None;
        }
        let was_closed = self.open_until.is_none();
        self.open_until = Some(now + OPEN);
        was_closed.then_some(Change::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_errors_open_it_for_five_seconds_and_one_probe_decides() {
        let at = Duration::from_secs;
        let mut breaker = Breaker::default();
        assert_eq!(breaker.on_result(false, at(0)), None);
        assert_eq!(breaker.on_result(true, at(0)), None);
        for _ in 0..2 {
            assert!(breaker.admits(at(1)));
            assert_eq!(breaker.on_result(false, at(1)), None);
        }
        assert_eq!(breaker.on_result(false, at(1)), Some(Change::Unavailable));
        assert!(!breaker.is_closed() && !breaker.admits(at(5)));
        assert!(breaker.admits(at(6)));
        assert!(!breaker.admits(at(6)), "one probe");
        assert_eq!(breaker.on_result(false, at(6)), None, "said once");
        assert!(!breaker.admits(at(10)));
        assert!(breaker.admits(at(11)));
        assert_eq!(breaker.on_result(true, at(11)), Some(Change::Back));
        assert!(breaker.is_closed() && breaker.admits(at(11)));
    }
}
