//! Limits of a mailbox shared by several relays. Each message takes a slot in the shared store;
//! while the store is unreachable, each relay keeps to its share.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::limits::{Denied, Limits};
use crate::cluster::command::{Answer, Command};
use crate::cluster::member::{Member, nonce};
use crate::cluster::redemption;
use crate::wire::Protocol;

/// Limits of one mailbox or account in the shared store.
#[derive(Debug)]
pub(super) struct SharedLimits {
    member: Arc<Member>,
    name: Arc<str>,
    /// Held by the first waiting message; only that one polls.
    first: tokio::sync::Mutex<()>,
}

/// Slot of a message in the shared store, released on drop.
#[derive(Debug)]
pub(super) struct Place {
    member: Arc<Member>,
    mailbox: Arc<str>,
    message: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.member.on_over(&self.mailbox, self.message);
    }
}

impl SharedLimits {
    /// Creates the limits with this name on all relays.
    pub(super) fn new(member: Arc<Member>, name: &str) -> Self {
        Self {
            name: member.keys().name("mailbox", &[name]).into(),
            member,
            first: tokio::sync::Mutex::default(),
        }
    }

    /// Makes all relays back off from the mailbox.
    pub(super) fn back_off(&self, protocol: Protocol, time: Duration) {
        self.member.keep(self.backoff(protocol), "1".into(), time);
    }

    /// End of a backoff set by any relay.
    pub(super) fn backoff_until(&self, protocol: Protocol) -> Option<Instant> {
        self.member
            .kept(&self.backoff(protocol))
            .map(|(_, until)| until)
    }

    fn backoff(&self, protocol: Protocol) -> Arc<str> {
        format!("{}-{}", self.name, protocol.name()).into()
    }

    /// Waits for a slot. Returns it, and whether it had to wait.
    pub(super) async fn place(
        &self,
        begun: impl Fn() -> usize,
        limits: Limits,
        deadline: Instant,
    ) -> Result<(Place, bool), Denied> {
        // Created first, so that a slot in the store is released in every case.
        let place = Place {
            member: self.member.clone(),
            mailbox: self.name.clone(),
            message: nonce(),
        };
        let Ok(_first) = timeout_at(deadline, self.first.lock()).await else {
            return Err(Denied::Full);
        };
        let mut polls = 0;
        loop {
            let (pause, denied) = match self.ask(place.message, limits).await {
                Some(Answer::Done) => break,
                Some(Answer::Wait(time)) => (time, Denied::TooMany),
                Some(_) => (poll(polls), Denied::Full),
                None => match self.denied_alone(begun(), limits) {
                    None => break,
                    Some(denied) => (poll(polls), denied),
                },
            };
            if Instant::now() + pause > deadline {
                return Err(denied);
            }
            polls += 1;
            sleep(pause).await;
        }
        self.member.on_begun(&self.name, place.message);
        Ok((place, polls > 0))
    }

    /// Requests a slot. `None`: the store is unreachable.
    async fn ask(&self, message: u64, limits: Limits) -> Option<Answer> {
        let acquire = Command::Acquire {
            mailbox: self.name.clone(),
            message,
            own: self.member.in_flight(&self.name),
            limit: limits.in_flight,
            share: self.member.share(limits.in_flight),
            per_minute: limits.per_minute,
        };
        self.member.ask_or_rejoin(&acquire).await.ok()
    }

    /// Reason why this relay may not begin a message without the store: its share is in flight, or
    /// its share per minute is used.
    fn denied_alone(&self, begun: usize, limits: Limits) -> Option<Denied> {
        if self.member.in_flight(&self.name).len() >= self.member.share(limits.in_flight) {
            return Some(Denied::Full);
        }
        // Includes the message's own reservation.
        (begun > self.member.share(limits.per_minute)).then_some(Denied::TooMany)
    }

    /// Counts one more message of an account's own rate, in addition to its reservation.
    pub(super) async fn pace(
        &self,
        begun: impl Fn() -> usize,
        per_minute: usize,
    ) -> Result<(), Denied> {
        let pace = Command::Pace {
            mailbox: self.name.clone(),
            message: nonce(),
            per_minute,
        };
        match self.member.ask_or_rejoin(&pace).await {
            Ok(Answer::Done) => Ok(()),
            Ok(_) => Err(Denied::TooMany),
            Err(_) => match begun() > self.member.share(per_minute) {
                true => Err(Denied::TooMany),
                false => Ok(()),
            },
        }
    }
}

/// Interval before the first waiting message polls again.
fn poll(polls: u32) -> Duration {
    let jitter = f64::from(u32::try_from(nonce() & 0xff).unwrap_or(0)) / 256.0;
    redemption::poll(polls, jitter)
}
