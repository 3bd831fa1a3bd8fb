//! What is remembered of logins for people who ask: the last success, the last fault. In memory
//! alone; the audit is elsewhere.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::fault::Fault;

/// Logins remembered; beyond it the longest silent are forgotten.
const CAP: usize = 20_000;

/// The last of everything, by login.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<HashMap<String, Entry>>);

/// What is known of a login.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// When it last succeeded.
    pub last_login: Option<SystemTime>,
    /// What last went wrong, unless a success came after it.
    pub last_fault: Option<(SystemTime, Fault)>,
}

impl Ledger {
    /// A login succeeded: what was wrong before is healed.
    pub fn succeeded(&self, login: &str) {
        self.change(login, |entry| {
            entry.last_login = Some(SystemTime::now());
            entry.last_fault = None;
        });
    }

    /// A login or its session failed.
    pub fn failed(&self, login: &str, fault: &Fault) {
        self.change(login, |entry| {
            entry.last_fault = Some((SystemTime::now(), fault.clone()));
        });
    }

    /// What is known of a login, in lower case.
    pub fn entry(&self, login: &str) -> Entry {
        self.lock().get(login).cloned().unwrap_or_default()
    }

    /// Every login that something is known of, in order.
    pub fn logins(&self) -> Vec<String> {
        let mut logins: Vec<_> = self.lock().keys().cloned().collect();
        logins.sort();
        logins
    }

    fn change(&self, login: &str, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.lock();
        if entries.len() >= CAP && !entries.contains_key(login) {
            let age = |entry: &Entry| {
                let fault = entry.last_fault.as_ref().map(|(time, _)| *time);
                entry.last_login.max(fault)
            };
            let mut ages: Vec<_> = entries.values().map(age).collect();
            let (_, middle, _) = ages.select_nth_unstable(CAP / 2);
            let middle = *middle;
            entries.retain(|_, entry| age(entry) > middle);
        }
        change(entries.entry(login.to_owned()).or_default());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Kind;

    #[test]
    fn a_success_heals_and_memory_is_bounded() {
        let ledger = Ledger::default();
        ledger.failed("a", &Fault::new(Kind::Busy, "later"));
        assert!(ledger.entry("a").last_fault.is_some());
        ledger.succeeded("a");
        let entry = ledger.entry("a");
        assert!(entry.last_fault.is_none() && entry.last_login.is_some());
        for number in 0..CAP + 10 {
            ledger.succeeded(&number.to_string());
        }
        assert!(ledger.logins().len() <= CAP);
        assert!(ledger.entry(&(CAP + 9).to_string()).last_login.is_some());
    }
}
