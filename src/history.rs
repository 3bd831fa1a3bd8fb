//! Login history for administrators: last success, last fault and recent faults of each login.
//!
//! Kept in memory only, independent of the audit.

use std::collections::{HashMap, VecDeque};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::fault::{Fault, Side};

/// Maximum number of remembered logins that were once verified; beyond it the older half is
/// dropped.
const CAP: usize = 20_000;

/// Maximum number of remembered logins that were never verified. Separate, so that made-up logins
/// push out only each other.
const MAX_UNKNOWN: usize = 1_000;

/// Period in which faults are counted together.
const QUARTER: Duration = Duration::from_secs(15 * 60);

/// Number of remembered periods: one day.
const QUARTERS: usize = 96;

/// Faults of one period, in the order of [`Side::ALL`].
pub type FaultCounts = [u32; Side::ALL.len()];

/// Last success and fault of each login, and the faults of the last day.
#[derive(Debug, Default)]
pub struct LoginHistory {
    logins: Mutex<HashMap<String, LoginEntry>>,
    /// Logins that were never verified.
    unknown_logins: Mutex<HashMap<String, LoginEntry>>,
    faults: Mutex<Faults>,
    /// Receiver of login events, if set.
    observer: OnceLock<mpsc::Sender<LoginEvent>>,
}

/// A login that succeeded, or the fault of one or of its session.
#[derive(Debug, Clone)]
pub struct LoginEvent {
    /// Login, lower case.
    pub login: String,
    /// Fault of the login; `None` if it succeeded.
    pub fault: Option<Fault>,
}

#[derive(Debug)]
struct Faults {
    /// Periods, oldest first; the last is the current one.
    quarters: VecDeque<FaultCounts>,
    /// Beginning of the current period.
    since: Instant,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            quarters: VecDeque::from([FaultCounts::default(); QUARTERS]),
            since: Instant::now(),
        }
    }
}

/// Last success and last fault of one login.
#[derive(Debug, Clone, Default)]
pub struct LoginEntry {
    /// Time of the last success.
    pub last_login: Option<SystemTime>,
    /// Last fault with its time, unless a login succeeded since.
    pub last_fault: Option<(SystemTime, Fault)>,
}

impl LoginHistory {
    /// Sends all login events to `observer` from now on; events that do not fit into the channel
    /// are left out. Only the first observer is used.
    pub fn observed_by(&self, observer: mpsc::Sender<LoginEvent>) {
        let _ = self.observer.set(observer);
    }

    fn on_event(&self, login: &str, fault: Option<&Fault>) {
        if let Some(observer) = self.observer.get() {
            let _ = observer.try_send(LoginEvent {
                login: login.to_owned(),
                fault: fault.cloned(),
            });
        }
    }

    /// Records that a login succeeded, which clears its fault.
    pub fn succeeded(&self, login: &str) {
        self.on_event(login, None);
        self.unknown_logins.lock().remove(login);
        change(&mut self.logins.lock(), CAP, login, |entry| {
            entry.last_login = Some(SystemTime::now());
            entry.last_fault = None;
        });
    }

    /// Records that a login or its session failed. A client's own fault does not verify the login.
    pub fn failed(&self, login: &str, fault: &Fault) {
        self.on_event(login, Some(fault));
        let mut logins = self.logins.lock();
        let is_proven = fault.kind().side() != Side::Client || logins.contains_key(login);
        let set = |entry: &mut LoginEntry| {
            entry.last_fault = Some((SystemTime::now(), fault.clone()));
        };
        match is_proven {
            true => change(&mut logins, CAP, login, set),
            false => change(&mut self.unknown_logins.lock(), MAX_UNKNOWN, login, set),
        }
    }

    /// Counts a fault of a side.
    pub fn count_fault(&self, side: Side) {
        let mut faults = self.faults();
        let index = Side::ALL.iter().position(|other| *other == side);
        let quarter = faults.quarters.back_mut();
        if let Some(count) = index.and_then(|index| quarter?.get_mut(index)) {
            *count = count.saturating_add(1);
        }
    }

    /// Faults of the last day by period, oldest first, each in the order of [`Side::ALL`].
    pub fn recent(&self) -> Vec<FaultCounts> {
        self.faults().quarters.iter().copied().collect()
    }

    /// Returns the fault counts, advanced to the current period.
    fn faults(&self) -> MutexGuard<'_, Faults> {
        let mut faults = self.faults.lock();
        let passed = faults.since.elapsed().as_secs() / QUARTER.as_secs();
        // After more than a day all periods are replaced.
        for _ in 0..passed.min(QUARTERS as u64) {
            faults.quarters.pop_front();
            faults.quarters.push_back(FaultCounts::default());
        }
        faults.since += QUARTER * u32::try_from(passed).unwrap_or(u32::MAX);
        faults
    }

    /// Returns the history of a lower-case login.
    pub fn entry(&self, login: &str) -> LoginEntry {
        let proven = self.logins.lock().get(login).cloned();
        let unproven = || self.unknown_logins.lock().get(login).cloned();
        proven.or_else(unproven).unwrap_or_default()
    }

    /// Lists all verified logins with a history, sorted.
    pub fn logins(&self) -> Vec<String> {
        let mut logins: Vec<_> = self.logins.lock().keys().cloned().collect();
        logins.sort();
        logins
    }
}

/// Changes an entry. If there is no room for another one, the older half is dropped.
fn change(
    entries: &mut HashMap<String, LoginEntry>,
    cap: usize,
    login: &str,
    change: impl FnOnce(&mut LoginEntry),
) {
    if entries.len() >= cap && !entries.contains_key(login) {
        let age = |entry: &LoginEntry| {
            let fault = entry.last_fault.as_ref().map(|(time, _)| *time);
            entry.last_login.max(fault)
        };
        let mut ages: Vec<_> = entries.values().map(age).collect();
        let (_, middle, _) = ages.select_nth_unstable(cap / 2);
        let middle = *middle;
        entries.retain(|_, entry| age(entry) > middle);
    }
    change(entries.entry(login.to_owned()).or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;

    #[tokio::test(start_paused = true)]
    async fn faults_are_counted_by_quarters_of_an_hour_for_a_day() {
        let history = LoginHistory::default();
        history.count_fault(Side::Upstream);
        tokio::time::advance(QUARTER + QUARTER / 2).await;
        history.count_fault(Side::Client);
        history.count_fault(Side::Client);
        let recent = history.recent();
        assert_eq!(recent.len(), QUARTERS);
        assert_eq!(recent[QUARTERS - 2..], [[0, 0, 0, 1, 0], [2, 0, 0, 0, 0]]);
        tokio::time::advance(QUARTER * 94).await;
        assert_eq!(history.recent()[0], [0, 0, 0, 1, 0]);
        tokio::time::advance(QUARTER * 1000).await;
        assert_eq!(history.recent(), [FaultCounts::default(); QUARTERS]);
    }

    #[test]
    fn a_success_heals_and_memory_is_bounded() {
        let history = LoginHistory::default();
        history.failed("a", &Fault::new(Kind::Busy, "later"));
        assert!(history.entry("a").last_fault.is_some());
        history.succeeded("a");
        let entry = history.entry("a");
        assert!(entry.last_fault.is_none() && entry.last_login.is_some());
        for number in 0..CAP + 10 {
            history.succeeded(&number.to_string());
        }
        assert!(history.logins().len() <= CAP);
        assert!(history.entry(&(CAP + 9).to_string()).last_login.is_some());
    }

    #[test]
    fn d36_made_up_logins_push_nobody_out() {
        let history = LoginHistory::default();
        history.succeeded("real@contoso.test");
        history.failed(
            "refused@contoso.test",
            &Fault::new(Kind::GrantRefused, "no consent"),
        );
        let wrong = Fault::new(Kind::Credentials, "wrong");
        history.failed("real@contoso.test", &wrong);
        history.failed("exact@contoso.test", &wrong);
        assert!(history.entry("exact@contoso.test").last_fault.is_some());
        for number in 0..CAP * 2 {
            history.failed(&format!("{number}@contoso.test"), &wrong);
        }
        assert_eq!(
            history.logins(),
            ["real@contoso.test", "refused@contoso.test"]
        );
        assert!(history.entry("real@contoso.test").last_login.is_some());
        assert!(history.entry("real@contoso.test").last_fault.is_some());
        assert!(history.unknown_logins.lock().len() <= MAX_UNKNOWN);
    }
}
