//! Lockout: delays replies from the third failure on, then locks for a while.
//!
//! A lock applies to a pair of client address and login, so that a job with an old password locks
//! out neither its neighbours nor the login's owner. A whole address is locked only for unknown
//! logins, and never on loopback, which all local clients share. Elsewhere all failures of an
//! address are delayed, since timing would otherwise reveal which logins exist. Successful logins
//! are never delayed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::auth::password::Fingerprint;
use crate::cluster::member::Member;
use crate::config::{Lockout, client_network};

/// Period in which the same wrong password of a login and address counts only once.
const REPEATED: Duration = Duration::from_secs(60);

/// Maximum number of wrong passwords of a login that are remembered for [`REPEATED`]: of several
/// applications with old passwords behind one address.
const REMEMBERED: usize = 4;

/// Maximum number of entries; beyond it the older half is dropped.
const CAP: usize = 50_000;

/// Longest delay of a reply.
pub(super) const SLOWEST: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum LockoutScope {
    /// One login, existing or not.
    Login(String),
    /// All logins without an account.
    Unknown,
    /// All failures of an address: delays replies, never locks.
    Anything,
}

/// Client network (see [`client_network`]) and scope of a count.
type Key = (IpAddr, LockoutScope);

#[derive(Debug, Clone)]
struct FailureCount {
    failures: u32,
    last: Instant,
    locked_until: Option<Instant>,
    /// Wrong passwords of a login that were counted last, at most [`REMEMBERED`], their addresses, and
    /// the times. Applications try the same password with every mechanism.
    counted: Vec<(Fingerprint, IpAddr, Instant)>,
}

#[derive(Debug)]
pub(super) struct Lockouts {
    state: Mutex<State>,
    /// This relay, if several share their counts.
    member: OnceLock<Arc<Member>>,
    /// Wakes tasks that wait for a check to end.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    policy: Lockout,
    records: HashMap<Key, FailureCount>,
    /// Pending checks by the identity provider.
    checks: HashMap<Key, u32>,
}

/// A check by the identity provider in progress; until dropped it counts as a possible failure.
#[derive(Debug)]
pub(super) struct CheckPermit {
    lockouts: Arc<Lockouts>,
    key: Key,
}

/// Whether a check may begin.
enum CheckStart {
    Yes,
    /// Not yet: as many checks are pending as may still fail. Wait for one to end.
    Later,
    Locked,
}

impl State {
    /// Period for which a failure counts. Delays last at least as long as a lock: their end must
    /// not distinguish a locked login from another.
    fn window(&self, subject: &LockoutScope) -> Duration {
        match subject {
            LockoutScope::Login(_) | LockoutScope::Unknown => self.policy.window,
            LockoutScope::Anything => self.policy.window.max(self.policy.duration),
        }
    }

    fn forget(&mut self, now: Instant) {
        let mut records = std::mem::take(&mut self.records);
        records.retain(|(_, subject), record| {
            now.duration_since(record.last) <= self.window(subject) || record.is_locked(now)
        });
        if records.len() >= CAP {
            let mut times: Vec<_> = records.values().map(|record| record.last).collect();
            let (_, middle, _) = times.select_nth_unstable(CAP / 2);
            let middle = *middle;
            records.retain(|_, record| record.last > middle);
        }
        self.records = records;
    }
}

impl Lockouts {
    pub(super) fn new(policy: Lockout) -> Self {
        Self {
            state: Mutex::new(State {
                policy,
                records: HashMap::new(),
                checks: HashMap::new(),
            }),
            member: OnceLock::new(),
            ended: Notify::new(),
        }
    }

    /// Shares counts with the other relays from now on.
    pub(super) fn share(&self, member: Arc<Member>) {
        let _ = self.member.set(member);
    }

    /// Reads the counts of all relays if a failure is known here.
    pub(super) async fn look(&self, address: IpAddr, login: &str, known: bool) {
        let Some(member) = self.member.get() else {
            return;
        };
        for subject in subjects(address, login, known) {
            let name = shared_name(member, &key(address, subject));
            member.look_at_failures(&name).await;
        }
    }

    /// Failures counted by all relays, and whether they lock.
    fn of_all(&self, key: &Key, window: Duration) -> (u32, bool) {
        let Some(member) = self.member.get() else {
            return (0, false);
        };
        let (failures, locked) = member.failures(&shared_name(member, key), window);
        (failures, locked.is_some())
    }

    /// Applies another policy from now on; the counts stay.
    pub(super) fn follow(&self, policy: Lockout) {
        self.state.lock().policy = policy;
    }

    /// Whether an attempt is refused without a check; `known` is whether the login has an account.
    pub(super) fn is_locked(&self, address: IpAddr, login: &str, known: bool) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        let locked = subjects(address, login, known)
            .filter(|subject| *subject != LockoutScope::Anything)
            .map(|subject| key(address, subject))
            .any(|key| {
                let record = state.records.get(&key);
                record.is_some_and(|record| record.is_locked(now))
                    || self.of_all(&key, state.policy.window).1
            });
        if locked && let Some(record) = state.records.get_mut(&key(address, LockoutScope::Anything))
        {
            // A known login that is not locked would fail and count here.
            record.last = now;
        }
        locked
    }

    /// Counts a failure and returns the delay of the reply. `fingerprint` is the keyed hash of the wrong
    /// password, which counts once a minute.
    pub(super) fn failed(
        &self,
        address: IpAddr,
        login: &str,
        known: bool,
        fingerprint: Fingerprint,
    ) -> Duration {
        let now = Instant::now();
        let mut state = self.state.lock();
        let own = key(address, LockoutScope::Login(login.to_owned()));
        if let Some(record) = state.records.get(&own)
            && record.counts_already(fingerprint, address, now)
        {
            let failures = subjects(address, login, known)
                .filter_map(|subject| state.records.get(&key(address, subject)))
                .map(|record| record.failures);
            let worst = failures.max().unwrap_or_default();
            return match worst >= state.policy.failures {
                true => SLOWEST,
                false => slowed(worst),
            };
        }
        let policy = state.policy.clone();
        if state.records.len() >= CAP {
            state.forget(now);
        }
        let mut worst = 0;
        for subject in subjects(address, login, known) {
            let locks = subject != LockoutScope::Anything;
            let is_login = matches!(subject, LockoutScope::Login(_));
            let window = state.window(&subject);
            let key = key(address, subject);
            if let Some(member) = self.member.get() {
                worst = worst.max(self.of_all(&key, window).0.saturating_add(1));
                let most = if locks { policy.failures } else { u32::MAX };
                let counted = (window, most, policy.duration);
                member.on_failure(shared_name(member, &key), counted);
            }
            let record = state.records.entry(key).or_insert(FailureCount::new(now));
            if now.duration_since(record.last) > window {
                record.failures = 0;
            }
            record.failures = record.failures.saturating_add(1);
            record.last = now;
            if is_login {
                record.remember(fingerprint, address, now);
            }
            worst = worst.max(record.failures);
            if record.failures >= policy.failures {
                worst = u32::MAX;
                if locks {
                    record.locked_until = Some(now + policy.duration);
                    record.failures = 0;
                }
            }
        }
        slowed(worst)
    }

    pub(super) fn succeeded(&self, address: IpAddr, login: &str) {
        let key = key(address, LockoutScope::Login(login.to_owned()));
        self.state.lock().records.remove(&key);
        if let Some(member) = self.member.get() {
            member.on_success(shared_name(member, &key));
        }
    }

    /// Begins a check as soon as its failure could not exceed the limit. `None`: the login is
    /// locked.
    pub(super) async fn permit_check(
        self: &Arc<Self>,
        address: IpAddr,
        login: &str,
    ) -> Option<CheckPermit> {
        let key = key(address, LockoutScope::Login(login.to_owned()));
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Registered before the check below, so that no notification is missed.
            ended.as_mut().enable();
            match self.begin(&key) {
                CheckStart::Yes => {
                    return Some(CheckPermit {
                        lockouts: self.clone(),
                        key,
                    });
                }
                CheckStart::Locked => return None,
                CheckStart::Later => ended.await,
            }
        }
    }

    fn begin(&self, key: &Key) -> CheckStart {
        let now = Instant::now();
        let mut state = self.state.lock();
        let record = state.records.get(key);
        let (of_all, locked) = self.of_all(key, state.policy.window);
        if locked || record.is_some_and(|record| record.is_locked(now)) {
            return CheckStart::Locked;
        }
        let policy = state.policy.clone();
        let counts = |record: &&FailureCount| now.duration_since(record.last) <= policy.window;
        let failures = record.filter(counts).map_or(0, |record| record.failures);
        let failures = failures.max(of_all);
        let in_progress = state.checks.entry(key.clone()).or_default();
        if failures.saturating_add(*in_progress) >= policy.failures && *in_progress > 0 {
            return CheckStart::Later;
        }
        *in_progress += 1;
        CheckStart::Yes
    }
}

impl FailureCount {
    fn new(now: Instant) -> Self {
        Self {
            failures: 0,
            last: now,
            locked_until: None,
            counted: Vec::new(),
        }
    }

    /// Whether this wrong password was counted within the last minute.
    fn counts_already(&self, fingerprint: Fingerprint, address: IpAddr, now: Instant) -> bool {
        self.counted.iter().any(|(counted, from, at)| {
            *from == address
                && now.duration_since(*at) < REPEATED
                && bool::from(counted.ct_eq(&fingerprint))
        })
    }

    fn remember(&mut self, fingerprint: Fingerprint, address: IpAddr, now: Instant) {
        self.counted
            .retain(|(_, _, at)| now.duration_since(*at) < REPEATED);
        if self.counted.len() >= REMEMBERED {
            self.counted.remove(0);
        }
        self.counted.push((fingerprint, address, now));
    }

    fn is_locked(&self, now: Instant) -> bool {
        self.locked_until.is_some_and(|until| until > now)
    }
}

impl Drop for CheckPermit {
    fn drop(&mut self) {
        let mut state = self.lockouts.state.lock();
        if let Some(in_progress) = state.checks.get_mut(&self.key) {
            *in_progress -= 1;
            if *in_progress == 0 {
                state.checks.remove(&self.key);
            }
        }
        drop(state);
        self.lockouts.ended.notify_waiters();
    }
}

/// Builds the key in the shared store; address and login appear only as a keyed hash.
fn shared_name(member: &Member, (network, scope): &Key) -> Arc<str> {
    let (kind, login) = match scope {
        LockoutScope::Login(login) => ("login", login.as_str()),
        LockoutScope::Unknown => ("unknown", ""),
        LockoutScope::Anything => ("anything", ""),
    };
    let parts = [kind, &network.to_string(), login];
    member.keys().name("lockout", &parts).into()
}

fn key(address: IpAddr, subject: LockoutScope) -> Key {
    (client_network(address), subject)
}

/// Scopes in which a failure counts.
fn subjects(address: IpAddr, login: &str, known: bool) -> impl Iterator<Item = LockoutScope> {
    let elsewhere = !address.to_canonical().is_loopback();
    let unknown = (elsewhere && !known).then_some(LockoutScope::Unknown);
    let anything = elsewhere.then_some(LockoutScope::Anything);
    std::iter::once(LockoutScope::Login(login.to_owned()))
        .chain(unknown)
        .chain(anything)
}

/// Delay from the third failure on: 1, 2, 4, then 5 seconds.
fn slowed(failures: u32) -> Duration {
    match failures.checked_sub(3) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << beyond.min(8)).min(SLOWEST),
    }
}

#[cfg(test)]
mod tests;
