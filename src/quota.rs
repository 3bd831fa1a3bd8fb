//! What a mail service grants one mailbox: so many SMTP sessions at once, so many messages a
//! minute, and no attempt while it wants to be left alone. Shared by all sessions, whatever
//! listener, login or configuration they came by.
//!
//! Places are given in the order in which they were asked for; so are turns of messages.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::wire::Protocol;

const MINUTE: Duration = Duration::from_secs(60);

/// Mailboxes that are remembered before those are forgotten of which nothing is to be.
const REMEMBERED: usize = 1_000;

/// All mailboxes of all providers, and the accounts that have a rate of their own.
#[derive(Debug, Default)]
pub struct Quotas {
    known: Mutex<HashMap<String, Arc<Quota>>>,
}

impl Quotas {
    /// That of a provider's mailbox, in any case.
    pub fn mailbox(&self, provider: &str, mailbox: &str) -> Arc<Quota> {
        self.named(format!("{provider} {}", mailbox.to_lowercase()))
    }

    /// That of an account's login, for its own rate.
    pub fn login(&self, login: &str) -> Arc<Quota> {
        self.named(format!("\0{}", login.to_lowercase()))
    }

    fn named(&self, name: String) -> Arc<Quota> {
        let mut known = lock(&self.known);
        if known.len() >= REMEMBERED && !known.contains_key(&name) {
            known.retain(|_, quota| Arc::strong_count(quota) > 1 || quota.is_spent());
        }
        known.entry(name).or_default().clone()
    }
}

/// When a message may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At once.
    Now,
    /// Then; its turn is kept.
    At(Instant),
    /// Later than anybody waits.
    Never,
}

/// How a place was had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// There was one.
    Immediate,
    /// After others had left.
    Waited,
}

/// What is left of one mailbox's share.
#[derive(Debug)]
pub struct Quota {
    places: Arc<Semaphore>,
    size: Mutex<Size>,
    /// When the last messages went, or will.
    sent: Mutex<VecDeque<Instant>>,
    /// Until when it is left alone, by protocol.
    pauses: Mutex<HashMap<Protocol, Instant>>,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(0)),
            size: Mutex::default(),
            sent: Mutex::default(),
            pauses: Mutex::default(),
        }
    }
}

/// How many places there are, which another configuration may change.
#[derive(Debug, Default)]
struct Size {
    places: usize,
    /// So many that are taken go when they are given back.
    surplus: usize,
}

/// A session's place; given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    permit: Option<OwnedSemaphorePermit>,
    quota: Arc<Quota>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut size = lock(&self.quota.size);
        if size.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            size.surplus -= 1;
            permit.forget();
        }
    }
}

impl Quota {
    /// One of `places`, within `wait`, and by `deadline` at the latest. `None`: none became free.
    pub async fn place(
        self: &Arc<Self>,
        places: usize,
        wait: Duration,
        deadline: Instant,
    ) -> Option<(Place, Wait)> {
        self.resize(places);
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Some((self.taken(permit), Wait::Immediate));
        }
        let deadline = deadline.min(Instant::now() + wait);
        match timeout_at(deadline, self.places.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Some((self.taken(permit), Wait::Waited)),
            Ok(Err(_)) | Err(_) => None,
        }
    }

    fn taken(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        Place {
            permit: Some(permit),
            quota: self.clone(),
        }
    }

    fn resize(&self, places: usize) {
        let mut size = lock(&self.size);
        if places > size.places {
            let more = places - size.places;
            let kept = size.surplus.min(more);
            size.surplus -= kept;
            self.places.add_permits(more - kept);
        } else {
            let fewer = size.places - places;
            size.surplus += fewer - self.places.forget_permits(fewer);
        }
        size.places = places;
    }

    /// The next message's turn where `per_minute` may go in any minute; nobody waits longer than
    /// `wait`. A turn that was given is spent, whatever becomes of the message.
    pub fn message(&self, per_minute: usize, wait: Duration) -> Turn {
        let now = Instant::now();
        let mut sent = lock(&self.sent);
        while sent.front().is_some_and(|first| *first + MINUTE <= now) {
            sent.pop_front();
        }
        let before = sent.len().checked_sub(per_minute.max(1));
        let turn = before
            .and_then(|at| sent.get(at))
            .map_or(now, |first| *first + MINUTE)
            .max(self.pause(Protocol::Smtp).unwrap_or(now))
            .max(sent.back().copied().unwrap_or(now))
            .max(now);
        if turn > now + wait {
            return Turn::Never;
        }
        sent.push_back(turn);
        match turn == now {
            true => Turn::Now,
            false => Turn::At(turn),
        }
    }

    /// The mail service wants to be left alone for so long.
    pub fn back_off(&self, protocol: Protocol, time: Duration) {
        let until = Instant::now() + time;
        let mut pauses = lock(&self.pauses);
        let pause = pauses.entry(protocol).or_insert(until);
        *pause = until.max(*pause);
    }

    /// Until when it is to be left alone, if it is now.
    pub fn pause(&self, protocol: Protocol) -> Option<Instant> {
        let pauses = lock(&self.pauses);
        pauses
            .get(&protocol)
            .copied()
            .filter(|until| *until > Instant::now())
    }

    /// Whether something of it has to be remembered.
    fn is_spent(&self) -> bool {
        let now = Instant::now();
        let sent = lock(&self.sent)
            .back()
            .is_some_and(|last| *last + MINUTE > now);
        sent || Protocol::ALL
            .iter()
            .any(|protocol| self.pause(*protocol).is_some())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
