//! Limits of a mail service for one mailbox: messages in flight, messages per minute, and backoff.
//!
//! All sessions share them, whatever their listener, login or configuration.
//!
//! A message is in flight from MAIL to its final reply, RSET, EHLO or the end of its session; idle
//! sessions do not count. Permits are granted in the order of requests. A client that disconnects
//! leaves the queue at once.

mod limits;
mod sharing;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::cluster::member::Member;
use crate::wire::Protocol;
pub use limits::{Denied, Limits};
use sharing::{Place, SharedLimits};

const MINUTE: Duration = Duration::from_secs(60);

/// Number of throttles above which unused ones are dropped.
const MAX_REMEMBERED: usize = 1_000;

/// Throttles of all mailboxes, and of accounts with a rate of their own.
#[derive(Debug, Default)]
pub struct Throttles {
    known: Mutex<HashMap<String, Arc<MailboxThrottle>>>,
    /// This relay's membership, if several relays share the limits.
    member: Option<Arc<Member>>,
}

impl Throttles {
    /// Creates throttles whose limits several relays share.
    pub fn shared(member: Arc<Member>) -> Self {
        Self {
            member: Some(member),
            ..Self::default()
        }
    }

    /// Returns the throttle of a provider's mailbox, ignoring case.
    pub fn of_mailbox(&self, provider: &str, mailbox: &str) -> Arc<MailboxThrottle> {
        self.named(format!("{provider} {}", mailbox.to_lowercase()))
    }

    /// Returns the throttle of an account's login, for the account's own rate.
    pub fn of_login(&self, login: &str) -> Arc<MailboxThrottle> {
        self.named(format!("\0{}", login.to_lowercase()))
    }

    fn named(&self, name: String) -> Arc<MailboxThrottle> {
        let mut known = self.known.lock();
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

/// Permit to send one message, released on drop.
#[derive(Debug)]
pub struct MessagePermit {
    permit: Option<OwnedSemaphorePermit>,
    /// Slot of the message in the limits shared by all relays.
    place: Option<Place>,
    throttle: Arc<MailboxThrottle>,
    /// Whether the message had to wait.
    pub waited: bool,
}

/// Reserved time at which a message may begin; returned on drop unless used.
#[derive(Debug)]
pub struct Reservation {
    throttle: Arc<MailboxThrottle>,
    time: Instant,
    used: bool,
}

/// State of one mailbox.
#[derive(Debug)]
pub struct MailboxThrottle {
    permits: Arc<Semaphore>,
    size: Mutex<Size>,
    /// Start times of the last messages, future ones included, in order.
    begun: Mutex<VecDeque<Instant>>,
    backoffs: Mutex<HashMap<Protocol, Instant>>,
    /// Limits shared by all relays.
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

/// Number of message permits, which another configuration may change.
#[derive(Debug, Default)]
struct Size {
    permits: usize,
    /// Permits in use that are removed when returned.
    surplus: usize,
}

impl Drop for MessagePermit {
    fn drop(&mut self) {
        let mut size = self.throttle.size.lock();
        if size.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            size.surplus -= 1;
            permit.forget();
        }
    }
}

impl Reservation {
    /// Time at which the message may begin.
    pub fn time(&self) -> Instant {
        self.time
    }

    /// Records that the message begins now.
    pub fn begin(mut self) {
        self.used = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        let mut begun = self.throttle.begun.lock();
        if let Some(at) = begun.iter().rposition(|time| *time == self.time) {
            begun.remove(at);
        }
    }
}

impl MailboxThrottle {
    /// Waits for a permit to send one message, at most [`Limits::wait`]. Denied at once if waiting
    /// cannot help.
    ///
    /// # Errors
    ///
    /// [`Denied`] names the limit.
    pub async fn permit(self: &Arc<Self>, limits: Limits) -> Result<MessagePermit, Denied> {
        let deadline = Instant::now() + limits.wait;
        self.resize(limits.in_flight);
        if self.next_time(&mut self.begun.lock(), limits.per_minute) > deadline {
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

    /// Number of messages that began within the last minute, or will begin.
    fn begun(&self) -> usize {
        self.begun.lock().len()
    }

    fn resize(&self, permits: usize) {
        let mut size = self.size.lock();
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

    /// Reserves the time at which one more message may begin, so that `per_minute` begin in any 60
    /// s. Times are given in the order of calls; `None` if it would be more than `wait` away.
    pub fn reserve(self: &Arc<Self>, per_minute: usize, wait: Duration) -> Option<Reservation> {
        let mut begun = self.begun.lock();
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

    /// Starts no session and no message of the mailbox for this time.
    pub fn back_off(&self, protocol: Protocol, time: Duration) {
        let until = Instant::now() + time;
        let mut backoffs = self.backoffs.lock();
        let backoff = backoffs.entry(protocol).or_insert(until);
        *backoff = until.max(*backoff);
        drop(backoffs);
        if let Some(shared) = &self.shared {
            shared.back_off(protocol, time);
        }
    }

    /// Counts one more message of an account's own rate on all relays, in addition to its
    /// reservation here.
    ///
    /// # Errors
    ///
    /// The rate is exhausted.
    pub async fn pace(&self, per_minute: usize) -> Result<(), Denied> {
        match &self.shared {
            Some(shared) => shared.pace(|| self.begun(), per_minute).await,
            None => Ok(()),
        }
    }

    /// End of the mailbox's current backoff, if any.
    pub fn backoff_until(&self, protocol: Protocol) -> Option<Instant> {
        let shared = self.shared.as_ref();
        let all = shared.and_then(|shared| shared.backoff_until(protocol));
        let backoffs = self.backoffs.lock();
        backoffs
            .get(&protocol)
            .copied()
            .max(all)
            .filter(|until| *until > Instant::now())
    }

    /// Whether the throttle must be kept.
    fn is_in_use(&self) -> bool {
        let now = Instant::now();
        let last = self.begun.lock().back().copied();
        last.is_some_and(|last| last + MINUTE > now)
            || Protocol::ALL
                .iter()
                .any(|protocol| self.backoff_until(*protocol).is_some())
    }
}
