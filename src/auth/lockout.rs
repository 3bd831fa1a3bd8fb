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

use parking_lot::{Mutex, MutexGuard};
use subtle::ConstantTimeEq as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::auth::password::Fingerprint;
use crate::cluster::member::Member;
use crate::config::{Lockout, client_network};

/// Period in which the same wrong password of a login and address counts only once.
const REPEATED: Duration = Duration::from_secs(60);

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

#[derive(Debug, Clone, Copy)]
struct FailureCount {
    failures: u32,
    last: Instant,
    locked_until: Option<Instant>,
    /// Wrong password counted last, its address, and the time. Applications try the same password
    /// with every mechanism.
    counted: Option<(Fingerprint, IpAddr, Instant)>,
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
        self.state().policy = policy;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Whether an attempt is refused without a check; `known` is whether the login has an account.
    pub(super) fn is_locked(&self, address: IpAddr, login: &str, known: bool) -> bool {
        let now = Instant::now();
        let mut state = self.state();
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
        let mut state = self.state();
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
            let window = state.window(&subject);
            let key = key(address, subject);
            if let Some(member) = self.member.get() {
                worst = worst.max(self.of_all(&key, window).0.saturating_add(1));
                let most = if locks { policy.failures } else { u32::MAX };
                let counted = (window, most, policy.duration);
                member.on_failure(shared_name(member, &key), counted);
            }
            let record = state.records.entry(key).or_insert(FailureCount {
                failures: 0,
                last: now,
                locked_until: None,
                counted: None,
            });
            if now.duration_since(record.last) > window {
                record.failures = 0;
            }
            record.failures = record.failures.saturating_add(1);
            record.last = now;
            record.counted = Some((fingerprint, address, now));
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
        self.state().records.remove(&key);
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
        let mut state = self.state();
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
    /// Whether this wrong password was counted within the last minute.
    fn counts_already(&self, fingerprint: Fingerprint, address: IpAddr, now: Instant) -> bool {
        self.counted.is_some_and(|(counted, from, at)| {
            from == address
                && now.duration_since(at) < REPEATED
                && bool::from(counted.ct_eq(&fingerprint))
        })
    }

    fn is_locked(&self, now: Instant) -> bool {
        self.locked_until.is_some_and(|until| until > now)
    }
}

impl Drop for CheckPermit {
    fn drop(&mut self) {
        let mut state = self.lockouts.state();
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
mod tests {
    use super::*;

    fn lockouts(failures: u32) -> Arc<Lockouts> {
        Arc::new(Lockouts::new(Lockout {
            failures,
            window: Duration::from_secs(600),
            duration: Duration::from_secs(300),
        }))
    }

    /// One of several wrong passwords.
    fn fingerprint(number: u8) -> Fingerprint {
        [number; 32]
    }

    /// An application that tries the same wrong password with every mechanism fails once a minute.
    /// An attempt during a lock does not prolong it.
    #[tokio::test(start_paused = true)]
    async fn the_same_password_within_a_minute_counts_once() {
        let lockouts = lockouts(3);
        for minute in 0..3 {
            assert!(!lockouts.is_locked(CLIENT, "login", true), "{minute}");
            for _ in 0..5 {
                lockouts.failed(CLIENT, "login", true, fingerprint(7));
            }
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert!(lockouts.is_locked(CLIENT, "login", true));
        for _ in 0..4 {
            tokio::time::advance(Duration::from_secs(59)).await;
            lockouts.is_locked(CLIENT, "login", true);
        }
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(!lockouts.is_locked(CLIENT, "login", true));
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// Made-up logins fill no memory, and the latest failures count.
    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let lockouts = lockouts(10);
        for number in 0..3 * CAP {
            let v6 = std::net::Ipv6Addr::from((number as u128) << 64);
            lockouts.failed(v6.into(), &format!("login-{number}"), false, fingerprint(0));
            if number % 1000 == 0 {
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        }
        assert!(lockouts.state().records.len() <= CAP + 3);
        let last = std::net::Ipv6Addr::from((3 * CAP as u128 - 1) << 64);
        let key = (last.into(), LockoutScope::Unknown);
        assert!(lockouts.state().records.contains_key(&key));
        // Expired failures are dropped first.
        tokio::time::advance(Duration::from_secs(601)).await;
        let mut state = lockouts.state();
        state.forget(Instant::now());
        assert_eq!(state.records.len(), 0);
    }

    /// Off loopback, failures of a known login are delayed like those of an unknown one, whatever
    /// failed before from the same address and whatever is locked.
    #[tokio::test(start_paused = true)]
    async fn time_does_not_tell_known_logins() {
        for failures in [3, 10] {
            let delays = |known: bool| {
                let lockouts = lockouts(failures);
                let mut delays = Vec::new();
                for number in 0..14 {
                    // Every third attempt is the one under test, with its own login.
                    let known = known && number % 3 == 2;
                    let login = format!("login-{number}");
                    let delay = match lockouts.is_locked(CLIENT, &login, known) {
                        true => SLOWEST,
                        false => lockouts.failed(CLIENT, &login, known, fingerprint(0)),
                    };
                    delays.push(delay);
                }
                delays
            };
            assert_eq!(delays(true), delays(false));
        }
        // A neighbour with the right password is not delayed.
        let lockouts = lockouts(3);
        for number in 0..14 {
            lockouts.failed(CLIENT, &format!("login-{number}"), false, fingerprint(0));
        }
        assert!(!lockouts.is_locked(CLIENT, "known", true));
    }

    /// At most as many checks are pending as may fail; others wait for one to end.
    #[tokio::test(start_paused = true)]
    async fn checks_in_progress_are_counted() {
        let lockouts = lockouts(3);
        lockouts.failed(CLIENT, "login", true, fingerprint(1));
        let first = lockouts.permit_check(CLIENT, "login").await.unwrap();
        let second = lockouts.permit_check(CLIENT, "login").await.unwrap();
        let moment = Duration::from_millis(1);
        let third = tokio::time::timeout(moment, lockouts.permit_check(CLIENT, "login")).await;
        assert!(third.is_err());
        assert!(lockouts.permit_check(CLIENT, "other").await.is_some());
        let waiting = tokio::spawn({
            let lockouts = lockouts.clone();
            async move { lockouts.permit_check(CLIENT, "login").await.is_some() }
        });
        tokio::task::yield_now().await;
        // A success frees a check, two failures lock.
        drop(first);
        assert!(waiting.await.unwrap());
        lockouts.failed(CLIENT, "login", true, fingerprint(2));
        lockouts.failed(CLIENT, "login", true, fingerprint(3));
        drop(second);
        assert!(lockouts.permit_check(CLIENT, "login").await.is_none());
        assert!(lockouts.state().checks.is_empty());
    }
}
