//! Keeps the log readable while a client repeats the same fault.
//!
//! Of equal faults (login, client address, kind) the first few a minute are logged, then the number
//! left out. Audit records contain all. Connections rejected before a session are limited likewise.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::client_network;
use crate::fault::Kind;

/// Period in which equal faults are counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// Equal faults logged per minute: enough for fail2ban to detect an attack within its first minute.
const LOGGED_PER_MINUTE: u64 = 5;

/// Maximum number of remembered faults; further ones are logged.
const CAP: usize = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    login: Option<String>,
    /// Client network of the faults (see [`client_network`]).
    client: IpAddr,
    what: What,
}

/// Repeated event, apart from its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    Fault(Kind),
    /// A connection was rejected for this reason.
    TurnedAway(&'static str),
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    count: u64,
}

/// Limits how often equal faults of one client are logged.
#[derive(Debug)]
pub struct FaultLogLimiter(Mutex<State>);

#[derive(Debug)]
struct State {
    seen: HashMap<Key, Seen>,
    swept: Instant,
}

impl Default for FaultLogLimiter {
    fn default() -> Self {
        Self(Mutex::new(State {
            seen: HashMap::new(),
            swept: Instant::now(),
        }))
    }
}

impl FaultLogLimiter {
    /// Counts a fault, and returns whether to log it.
    pub fn allows(&self, login: Option<&str>, client: IpAddr, kind: Kind) -> bool {
        let login = login.map(str::to_lowercase);
        self.counts(login, client, What::Fault(kind))
    }

    /// Counts a rejected connection, and returns whether to log it.
    pub fn allows_rejection(&self, client: IpAddr, why: &'static str) -> bool {
        self.counts(None, client, What::TurnedAway(why))
    }

    fn counts(&self, login: Option<String>, client: IpAddr, what: What) -> bool {
        let now = Instant::now();
        let mut state = self.0.lock();
        if now.duration_since(state.swept) >= WINDOW || state.seen.len() >= CAP {
            state.swept = now;
            state
                .seen
                .retain(|key, seen| now.duration_since(seen.since) < WINDOW || key.end(seen));
        }
        let key = Key {
            login,
            client: client_network(client),
            what,
        };
        let room = state.seen.len() < CAP;
        let Some(seen) = state.seen.get_mut(&key) else {
            if room {
                let first = Seen {
                    since: now,
                    count: 1,
                };
                state.seen.insert(key, first);
            }
            // Faults without room are logged; rejected connections are not, since they cost their
            // peer nothing.
            return room || matches!(what, What::Fault(_));
        };
        if now.duration_since(seen.since) >= WINDOW {
            key.end(seen);
            *seen = Seen {
                since: now,
                count: 0,
            };
        }
        seen.count += 1;
        seen.count <= LOGGED_PER_MINUTE
    }
}

impl Drop for FaultLogLimiter {
    fn drop(&mut self) {
        let state = self.0.get_mut();
        for (key, seen) in &state.seen {
            key.end(seen);
        }
    }
}

impl Key {
    /// Logs how many faults were left out. Returns false, so that `retain` drops the entry.
    fn end(&self, seen: &Seen) -> bool {
        let left_out = seen.count.saturating_sub(LOGGED_PER_MINUTE);
        if left_out > 0 {
            match self.what {
                What::Fault(kind) => tracing::warn!(
                    client = %self.client,
                    login = self.login,
                    fault = %kind,
                    left_out,
                    "the same fault again"
                ),
                What::TurnedAway(why) => tracing::warn!(
                    client = %self.client,
                    why,
                    left_out,
                    "the same connections again"
                ),
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn equal_faults_are_logged_a_few_times_a_minute() {
        let limiter = FaultLogLimiter::default();
        let client = IpAddr::from([192, 0, 2, 1]);
        let logged = |login, kind| {
            (0..100)
                .filter(|_| limiter.allows(Some(login), client, kind))
                .count()
        };
        assert_eq!(logged("a", Kind::Credentials), 5);
        assert_eq!(logged("A", Kind::Credentials), 0);
        assert_eq!(logged("b", Kind::Credentials), 5);
        assert_eq!(logged("a", Kind::Unreachable), 5);
        tokio::time::advance(WINDOW).await;
        assert_eq!(logged("a", Kind::Credentials), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attack_by_many_names_takes_no_more_room() {
        let limiter = FaultLogLimiter::default();
        let client = IpAddr::from([192, 0, 2, 1]);
        for n in 0..CAP + 1_000 {
            assert!(limiter.allows(Some(&n.to_string()), client, Kind::Credentials));
        }
        assert_eq!(limiter.0.lock().seen.len(), CAP);
        tokio::time::advance(WINDOW).await;
        assert!(limiter.allows(None, client, Kind::Credentials));
        assert_eq!(limiter.0.lock().seen.len(), 1);
    }
}
