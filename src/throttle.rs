//! What a mail service allows one mailbox: messages in flight, messages a minute, and no attempt
//! while the mail service refuses the mailbox. Shared by all sessions, whatever listener, login or
//! configuration they came by.
//!
//! A message is in flight from MAIL to its final reply, RSET, EHLO or the end of its session;
//! sessions that are logged in and send nothing hold nothing. Permits are given in the order in
//! which they were asked for; a client that goes leaves the queue at once.

mod limits;
mod sharing;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cluster::member::Member;
use crate::wire::Protocol;
pub use limits::{Denied, Limits};
use sharing::{Place, SharedLimits};

const MINUTE: Duration = Duration::from_secs(60);

/// Mailboxes that are remembered before those are forgotten of which nothing is in use.
const MAX_REMEMBERED: usize = 1_000;

/// The throttles of all mailboxes of all providers, and of the accounts that have a rate of their
/// own.
#[derive(Debug, Default)]
pub struct Throttles {
    known: Mutex<HashMap<String, Arc<MailboxThrottle>>>,
    /// This relay among several that keep to the limits together.
    member: Option<Arc<Member>>,
}

impl Throttles {
    /// Creates throttles that several relays keep to together.
    pub fn shared(member: Arc<Member>) -> Self {
        Self {
            member: Some(member),
            ..Self::default()
        }
    }

    /// The throttle of a provider's mailbox, in any case.
    pub fn of_mailbox(&self, provider: &str, mailbox: &str) -> Arc<MailboxThrottle> {
        self.named(format!("{provider} {}", mailbox.to_lowercase()))
    }

    /// The throttle of an account's login, for its own rate.
    pub fn of_login(&self, login: &str) -> Arc<MailboxThrottle> {
        self.named(format!("\0{}", login.to_lowercase()))
    }

    fn named(&self, name: String) -> Arc<MailboxThrottle> {
        let mut known = lock(&self.known);
        if known.len() >= MAX_REMEMBERED && !known.contains_key(&name) {
            known.retain(|_, throttle| Arc::strong_count(throttle) > 1 || throttle.is_in_use());
        }
        let shared = |name: &String| {
            let member = self.member.clone()?;
            Some(SharedLimits::new(member, name))
        };
        let made = |name: &String| {
            Arc::new(MailboxThrottle {
                shared: shared(name),
                ..MailboxThrottle::default()
            })
        };
        known.entry(name).or_insert_with_key(made).clone()
    }
}

/// The right to send one message; given back when it is dropped.
#[derive(Debug)]
pub struct MessagePermit {
    permit: Option<OwnedSemaphorePermit>,
    /// Place of the message among those of all relays.
    place: Option<Place>,
    throttle: Arc<MailboxThrottle>,
    /// Whether it was waited for.
    pub waited: bool,
}

/// A time at which a message may begin; given back unless it is used.
#[derive(Debug)]
pub struct Reservation {
    throttle: Arc<MailboxThrottle>,
    time: Instant,
    used: bool,
}

/// The state of one mailbox.
#[derive(Debug)]
pub struct MailboxThrottle {
    permits: Arc<Semaphore>,
    size: Mutex<Size>,
    /// When the last messages began, or will begin, in order.
    begun: Mutex<VecDeque<Instant>>,
    /// End of the backoff, by protocol.
    backoffs: Mutex<HashMap<Protocol, Instant>>,
    /// Limits that all relays keep to together.
    shared: Option<SharedLimits>,
}

impl Default for MailboxThrottle {
    fn default() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(0)),
            size: Mutex::default(),
            begun: Mutex::default(),
            backoffs: Mutex::default(),
            shared: None,
        }
    }
}

/// Number of messages may be in flight, which another configuration may change.
#[derive(Debug, Default)]
struct Size {
    permits: usize,
    /// Slots in use that go when they are given back.
    surplus: usize,
}

impl Drop for MessagePermit {
    fn drop(&mut self) {
        let mut size = lock(&self.throttle.size);
        if size.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            size.surplus -= 1;
            permit.forget();
        }
    }
}

impl Reservation {
    /// When the message may begin.
    pub fn time(&self) -> Instant {
        self.time
    }

    /// Records that the message starts now.
    pub fn begin(mut self) {
        self.used = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        let mut begun = lock(&self.throttle.begun);
        if let Some(at) = begun.iter().rposition(|time| *time == self.time) {
            begun.remove(at);
        }
    }
}

impl MailboxThrottle {
    /// Waits for the permit to send one message, [`Limits::wait`] at most; where waiting cannot
    /// help the denial comes at once.
    ///
    /// # Errors
    ///
    /// [`Denied`] says which limit stands in the way.
    pub async fn permit(self: &Arc<Self>, limits: Limits) -> Result<MessagePermit, Denied> {
        let deadline = Instant::now() + limits.wait;
        self.resize(limits.in_flight);
        if self.next_time(&mut lock(&self.begun), limits.per_minute) > deadline {
            return Err(Denied::TooMany);
        }
        let free = self.permits.clone().try_acquire_owned();
        let mut waited = free.is_err();
        let permit = match free {
            Ok(permit) => permit,
            Err(_) => match timeout_at(deadline, self.permits.clone().acquire_owned()).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(_)) | Err(_) => return Err(Denied::Full),
            },
        };
        let mut permit = MessagePermit {
            permit: Some(permit),
            place: None,
            throttle: self.clone(),
            waited,
        };
        let patience = deadline.saturating_duration_since(Instant::now());
        let reservation = self
            .reserve(limits.per_minute, patience)
            .ok_or(Denied::TooMany)?;
        waited |= reservation.time() > Instant::now();
        sleep_until(reservation.time()).await;
        if let Some(shared) = &self.shared {
            let (place, was_waited_for) = shared.place(|| self.begun(), limits, deadline).await?;
            permit.place = Some(place);
            waited |= was_waited_for;
        }
        reservation.begin();
        permit.waited = waited;
        Ok(permit)
    }

    /// Messages that began within the minute, or will.
    fn begun(&self) -> usize {
        lock(&self.begun).len()
    }

    fn resize(&self, permits: usize) {
        let mut size = lock(&self.size);
        if permits > size.permits {
            let more = permits - size.permits;
            let kept = size.surplus.min(more);
            size.surplus -= kept;
            self.permits.add_permits(more - kept);
        } else {
            let fewer = size.permits - permits;
            size.surplus += fewer - self.permits.forget_permits(fewer);
        }
        size.permits = permits;
    }

    /// Reserves the time at which one more message may begin, where `per_minute` may in any 60 s:
    /// in order of calls, and `wait` from now at the latest.
    pub fn reserve(self: &Arc<Self>, per_minute: usize, wait: Duration) -> Option<Reservation> {
        let mut begun = lock(&self.begun);
        let time = self.next_time(&mut begun, per_minute);
        if time > Instant::now() + wait {
            return None;
        }
        begun.push_back(time);
        drop(begun);
        Some(Reservation {
            throttle: self.clone(),
            time,
            used: false,
        })
    }

    fn next_time(&self, begun: &mut VecDeque<Instant>, per_minute: usize) -> Instant {
        let now = Instant::now();
        while begun.front().is_some_and(|first| *first + MINUTE <= now) {
            begun.pop_front();
        }
        let before = begun.len().checked_sub(per_minute.max(1));
        before
            .and_then(|at| begun.get(at))
            .map_or(now, |first| *first + MINUTE)
            .max(self.backoff_until(Protocol::Smtp).unwrap_or(now))
            .max(begun.back().copied().unwrap_or(now))
            .max(now)
    }

    /// Starts no session or message of the mailbox for this time.
    pub fn back_off(&self, protocol: Protocol, time: Duration) {
        let until = Instant::now() + time;
        let mut backoffs = lock(&self.backoffs);
        let backoff = backoffs.entry(protocol).or_insert(until);
        *backoff = until.max(*backoff);
        drop(backoffs);
        if let Some(shared) = &self.shared {
            shared.back_off(protocol, time);
        }
    }

    /// Counts one more message of an account's own rate on all relays, whose reservation stands.
    ///
    /// # Errors
    ///
    /// As many have begun as may.
    pub async fn pace(&self, per_minute: usize) -> Result<(), Denied> {
        match &self.shared {
            Some(shared) => shared.pace(|| self.begun(), per_minute).await,
            None => Ok(()),
        }
    }

    /// End of the mailbox's backoff, if there is one now.
    pub fn backoff_until(&self, protocol: Protocol) -> Option<Instant> {
        let shared = self.shared.as_ref();
        let all = shared.and_then(|shared| shared.backoff_until(protocol));
        let backoffs = lock(&self.backoffs);
        backoffs
            .get(&protocol)
            .copied()
            .max(all)
            .filter(|until| *until > Instant::now())
    }

    /// Whether something of it has to be remembered.
    fn is_in_use(&self) -> bool {
        let now = Instant::now();
        let last = lock(&self.begun).back().copied();
        last.is_some_and(|last| last + MINUTE > now)
            || Protocol::ALL
                .iter()
                .any(|protocol| self.backoff_until(*protocol).is_some())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
