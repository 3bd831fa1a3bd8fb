//! What is known about one token: whether it may be given out, when to ask for the next, and how
//! long to leave the endpoint alone after a failure. No IO: time is tokio's clock alone.

use std::time::Duration;

use tokio::time::Instant;

use super::{Failure, Grant, Standing};
use crate::fault::{Fault, Kind};
use crate::secret::Secret;

/// Exchange ends sessions around the expiry of their token: a new session wants more than this.
const LEAST: Duration = Duration::from_secs(5 * 60);

/// From so long before expiry on, a login that is served starts a request beside it.
const AHEAD: Duration = Duration::from_secs(8 * 60);

/// Spread over the relays that may have started together.
const JITTER: Duration = Duration::from_secs(4 * 60);

/// What no endpoint may stretch a lifetime beyond.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The longest pause after failures.
const PAUSE_CAP: Duration = Duration::from_secs(300);

/// The longest pause an endpoint may ask for.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(3600);

/// A refused token is replaced no more often than this, and an acceptance protects it so long.
const PROTECTED: Duration = Duration::from_secs(60);

/// What a login gets.
#[derive(Debug)]
pub(super) enum Next {
    Use(Secret, u64),
    /// The same, and a request is due.
    UseAndRefresh(Secret, u64),
    /// Wait for a request.
    Fetch,
    /// The endpoint is left alone for now.
    Refuse(Fault),
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    held: Option<Held>,
    /// The token of the last request, also when it was refused since.
    last: Option<Secret>,
    generation: u64,
    pause: Option<Pause>,
    replaced: Option<Instant>,
    /// The last two mailboxes for which the token was accepted.
    accepted: Vec<(String, Instant)>,
}

#[derive(Debug)]
struct Held {
    token: Secret,
    expires: Instant,
    /// Until here it is given to new sessions.
    usable: Instant,
    refresh: Instant,
}

#[derive(Debug)]
struct Pause {
    fault: Fault,
    until: Instant,
    failures: u32,
}

impl Slot {
    pub(super) fn next(&self) -> Next {
        let now = Instant::now();
        let paused = self.pause.as_ref().filter(|pause| pause.until > now);
        match (&self.held, paused) {
            (Some(held), paused) if held.usable > now => {
                if held.refresh <= now && paused.is_none() {
                    Next::UseAndRefresh(held.token.clone(), self.generation)
                } else {
                    Next::Use(held.token.clone(), self.generation)
                }
            }
            (_, Some(pause)) => Next::Refuse(pause.fault.clone()),
            (_, None) => Next::Fetch,
        }
    }

    /// A request ended.
    pub(super) fn arrived(
        &mut self,
        result: Result<Grant, Failure>,
    ) -> Result<(Secret, u64), Fault> {
        let now = Instant::now();
        match result {
            Ok(Grant {
                token, lifetime, ..
            }) => {
                let lifetime = lifetime.min(LONGEST);
                let ahead = AHEAD + JITTER.mul_f64(fraction());
                self.generation += 1;
                self.last = Some(token.clone());
                self.held = Some(Held {
                    token: token.clone(),
                    expires: now + lifetime,
                    // Where tokens are short, not each login may ask for another.
                    usable: now + lifetime - LEAST.min(lifetime / 4),
                    refresh: now + lifetime.saturating_sub(ahead).max(lifetime / 2),
                });
                self.pause = None;
                self.accepted.clear();
                Ok((token, self.generation))
            }
            Err(failure) => {
                let failures = self.pause.as_ref().map_or(0, |pause| pause.failures);
                let first = match failure.fault.kind() {
                    Kind::Unavailable => Duration::from_secs(1),
                    _ => Duration::from_secs(10),
                };
                let pause = (first * (1 << failures.min(10))).min(PAUSE_CAP);
                let pause = pause.mul_f64(1.0 + fraction() / 5.0);
                let asked = failure.retry_after.unwrap_or_default().min(RETRY_AFTER_CAP);
                self.pause = Some(Pause {
                    fault: failure.fault.clone(),
                    until: now + pause.max(asked),
                    failures: failures + 1,
                });
                Err(failure.fault)
            }
        }
    }

    pub(super) fn accepted(&mut self, generation: u64, mailbox: &str) {
        if generation != self.generation {
            return;
        }
        self.accepted.retain(|(other, _)| other != mailbox);
        self.accepted.push((mailbox.to_owned(), Instant::now()));
        if self.accepted.len() > 2 {
            self.accepted.remove(0);
        }
    }

    /// Whether asking again makes sense.
    pub(super) fn refused(&mut self, generation: u64, fresh: bool, mailbox: &str) -> bool {
        if generation != self.generation {
            return true;
        }
        let now = Instant::now();
        let lately = |then: Instant| now.duration_since(then) < PROTECTED;
        let others = self
            .accepted
            .iter()
            .any(|(other, then)| other != mailbox && lately(*then));
        if fresh || others || self.replaced.is_some_and(lately) {
            return false;
        }
        self.held = None;
        self.replaced = Some(now);
        true
    }
}

impl Slot {
    /// The token of the last request.
    pub(super) fn last(&self) -> Option<Secret> {
        self.last.clone()
    }

    /// Whether there is a token, good or not.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Everything known is old; generations go on, so that nobody mistakes a new token for an
    /// old one.
    pub(super) fn renew(&mut self) {
        *self = Self {
            generation: self.generation + 1,
            ..Self::default()
        };
    }

    pub(super) fn standing(&self) -> Standing {
        let now = Instant::now();
        match (&self.held, &self.pause) {
            (Some(held), _) if held.expires > now => Standing::Valid(held.expires - now),
            (_, Some(pause)) if pause.fault.kind() != Kind::Unavailable => Standing::Refused,
            (Some(_), _) => Standing::Expired,
            (None, _) => Standing::None,
        }
    }
}

/// A number from 0 to 1 that differs from process to process.
fn fraction() -> f64 {
    let mut byte = [0; 1];
    match aws_lc_rs::rand::fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 255.0,
        Err(_) => 0.5,
    }
}
