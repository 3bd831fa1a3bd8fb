//! Guessing: failures are slowed from the third on, then locked out for a while.
//!
//! What is locked is a pair of client address and login, so that one stale job locks out neither
//! its neighbours nor the owner of the login. An address alone is counted for unknown logins only
//! and never on loopback, where everybody shares it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Lockout;

/// Pairs remembered at once; beyond it the oldest are forgotten.
const CAP: usize = 50_000;

/// The longest an answer is held back.
const SLOWEST: Duration = Duration::from_secs(5);

/// How a client stands before its attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Free,
    Locked { delay: Duration },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pair {
    address: IpAddr,
    /// `None`: any login that nobody has.
    login: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    failures: u32,
    last: Instant,
    locked_until: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Lockouts {
    policy: Mutex<Lockout>,
    records: Mutex<HashMap<Pair, Record>>,
}

impl Lockouts {
    pub(super) fn new(policy: Lockout) -> Self {
        Self {
            policy: Mutex::new(policy),
            records: Mutex::default(),
        }
    }

    /// From now on by another policy; what was counted stays.
    pub(super) fn follow(&self, policy: Lockout) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = policy;
    }

    fn policy(&self) -> Lockout {
        self.policy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Before an attempt; `known` is whether the login has an account.
    pub(super) fn standing(&self, address: IpAddr, login: &str, known: bool) -> Standing {
        let now = Instant::now();
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let locked = pairs(address, login, known)
            .filter_map(|pair| records.get(&pair))
            .any(|record| record.locked_until.is_some_and(|until| until > now));
        if locked {
            Standing::Locked { delay: SLOWEST }
        } else {
            Standing::Free
        }
    }

    /// After a failure: how long to hold the answer back.
    pub(super) fn failed(&self, address: IpAddr, login: &str, known: bool) -> Duration {
        let (now, policy) = (Instant::now(), self.policy());
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() >= CAP {
            forget(&mut records, now, &policy);
        }
        let mut worst = 0;
        for pair in pairs(address, login, known) {
            let record = records.entry(pair).or_insert(Record {
                failures: 0,
                last: now,
                locked_until: None,
            });
            if now.duration_since(record.last) > policy.window {
                record.failures = 0;
            }
            record.failures = record.failures.saturating_add(1);
            record.last = now;
            if record.failures >= policy.failures {
                record.locked_until = Some(now + policy.duration);
                record.failures = 0;
                worst = u32::MAX;
            }
            worst = worst.max(record.failures);
        }
        slowed(worst)
    }

    pub(super) fn succeeded(&self, address: IpAddr, login: &str) {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.remove(&Pair {
            address,
            login: Some(login.to_owned()),
        });
    }
}

fn forget(records: &mut HashMap<Pair, Record>, now: Instant, policy: &Lockout) {
    let counts = |record: &Record| {
        now.duration_since(record.last) <= policy.window
            || record.locked_until.is_some_and(|until| until > now)
    };
    records.retain(|_, record| counts(record));
    if records.len() >= CAP {
        let mut times: Vec<_> = records.values().map(|record| record.last).collect();
        let (_, middle, _) = times.select_nth_unstable(CAP / 2);
        let middle = *middle;
        records.retain(|_, record| record.last > middle);
    }
}

/// The pair that is counted, and the address alone where that is.
fn pairs(address: IpAddr, login: &str, known: bool) -> impl Iterator<Item = Pair> {
    let named = Pair {
        address,
        login: Some(login.to_owned()),
    };
    let unknown = (!known && !address.is_loopback()).then_some(Pair {
        address,
        login: None,
    });
    std::iter::once(named).chain(unknown)
}

/// From the third failure on: 1, 2, 4, 5 seconds.
fn slowed(failures: u32) -> Duration {
    match failures.checked_sub(3) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << beyond.min(8)).min(SLOWEST),
    }
}
