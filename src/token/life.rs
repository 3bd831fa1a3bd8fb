//! The life of one token, decided without IO: the time is a parameter.
//!
//! What a login gets, by the state that it meets:
//!
//! | state | a login |
//! | --- | --- |
//! | none | waits for a request |
//! | valid | gets the token |
//! | due | gets the token, and a request starts beside it |
//! | paused | gets the last failure; no request is sent |
//! | attention | the same; asked seldom, and it heals by itself |
//! | ended | the same; the next request asks no one until there is a new consent |
//! | unstored | gets the token; the record of the redemption is still being written |
//!
//! Where an event leads:
//!
//! | event | none, paused, attention, ended | valid, due, unstored |
//! | --- | --- | --- |
//! | obtained | valid | valid |
//! | obtained, not stored | unstored | unstored |
//! | stored | as before | valid (of unstored) |
//! | later, ours, the client's | paused | as before; a pause begins |
//! | attention | attention | as before; a pause begins |
//! | consent ended | ended | as before until the token is spent |
//! | refused upstream | as before | none, at most once a minute |
//! | another record | none | none |
//!
//! A pause ends with its time, by a token, or by another record.

use std::time::Duration;

use tokio::time::Instant;

use super::failure::{Class, TokenError};
use super::issued::{IssuedToken, TokenState};
use crate::fault::Fault;
use crate::secret::Secret;

/// From this time before a token may not be used any more, a login that is served starts a request
/// beside it.
const AHEAD: Duration = Duration::from_secs(3 * 60);

/// Spread over the relays that may have started together.
const JITTER: Duration = Duration::from_secs(4 * 60);

/// The longest pause an endpoint may ask for.
const RETRY_AFTER_CAP: Duration = Duration::from_secs(3600);

/// A refused token is replaced no more often than this, and an acceptance protects it for this
/// time.
const PROTECTED: Duration = Duration::from_secs(60);

/// Part of its life that a token must have left for a new session: Exchange ends sessions around
/// the expiry of their token. `margin` is the provider's `token_margin`; of tokens that live less
/// than twice as long a quarter counts, so that not every login asks for another.
pub(super) fn margin(lifetime: Duration, margin: Duration) -> Duration {
    if lifetime < margin * 2 {
        lifetime / 4
    } else {
        margin
    }
}

/// State of a token at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum State {
    None,
    Valid,
    Due,
    Paused,
    Attention,
    Ended,
    Unstored,
}

/// Decision about what a login gets.
#[derive(Debug)]
pub(super) enum Decision {
    Use(Secret, u64),
    /// Use this token of that number, and start a request.
    UseAndRefresh(Secret, u64),
    /// Wait for a token request.
    Fetch,
    /// No request is sent for now.
    Refuse(Fault),
}

/// One token, the pause after the last failure, and what upstreams said of it.
#[derive(Debug, Default)]
pub(super) struct CachedToken {
    /// A number from 0 to 1, chosen for this token.
    jitter: f64,
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
    /// The record of its redemption is not on disk.
    unstored: bool,
}

#[derive(Debug)]
struct Pause {
    failure: TokenError,
    until: Instant,
    /// In a row, of this class.
    failures: u32,
}

impl CachedToken {
    /// With a number from 0 to 1 that differs from process to process.
    pub(super) fn new(jitter: f64) -> Self {
        Self {
            jitter,
            ..Self::default()
        }
    }

    pub(super) fn state(&self, now: Instant) -> State {
        let paused = self.pause.as_ref().filter(|pause| pause.until > now);
        match (&self.held, paused) {
            (Some(held), _) if held.usable > now && held.unstored => State::Unstored,
            (Some(held), None) if held.usable > now && held.refresh <= now => State::Due,
            (Some(held), _) if held.usable > now => State::Valid,
            (_, None) => State::None,
            (_, Some(pause)) => match pause.failure.class {
                Class::Later { .. } | Class::Client | Class::Ours => State::Paused,
                Class::Attention => State::Attention,
                Class::Ended => State::Ended,
            },
        }
    }

    /// Answers a login that needs a token.
    pub(super) fn next(&self, now: Instant) -> Decision {
        match (self.state(now), &self.held, &self.pause) {
            (State::Valid | State::Unstored, Some(held), _) => {
                Decision::Use(held.token.clone(), self.generation)
            }
            (State::Due, Some(held), _) => {
                Decision::UseAndRefresh(held.token.clone(), self.generation)
            }
            (State::Paused | State::Attention | State::Ended, _, Some(pause)) => {
                Decision::Refuse(pause.failure.fault.clone())
            }
            _ => Decision::Fetch,
        }
    }

    /// A request brought a token. `least` is what a new session requires of it.
    pub(super) fn obtained(
        &mut self,
        grant: &IssuedToken,
        least: Duration,
        now: Instant,
    ) -> (Secret, u64) {
        let (token, left) = (&grant.token, grant.left());
        let least = margin(grant.lifetime, least);
        let ahead = least + AHEAD + JITTER.mul_f64(self.jitter);
        let refresh = grant.lifetime.saturating_sub(ahead).max(grant.lifetime / 2);
        self.generation += 1;
        self.last = Some(token.clone());
        self.held = Some(Held {
            token: token.clone(),
            expires: now + left,
            usable: now + left.saturating_sub(least),
            refresh: now + refresh.saturating_sub(grant.age),
            unstored: grant.unstored,
        });
        self.pause = None;
        self.accepted.clear();
        (token.clone(), self.generation)
    }

    /// The record of the last redemption is on disk.
    pub(super) fn stored(&mut self) {
        if let Some(held) = &mut self.held {
            held.unstored = false;
        }
    }

    /// A request failed; whether that is new: a consent that is missing is said once.
    pub(super) fn failed(&mut self, failure: TokenError, consent: bool, now: Instant) -> bool {
        let before = self.pause.take().filter(|pause| {
            // Whether it is throttling or an outage makes no difference.
            std::mem::discriminant(&pause.failure.class) == std::mem::discriminant(&failure.class)
        });
        let failures = before.as_ref().map_or(0, |pause| pause.failures);
        let pauses = failure.class.pauses(consent);
        let pause = match failure.is_brief {
            true => pauses.first,
            false => (pauses.first * (1 << failures.min(12))).min(pauses.longest),
        };
        let pause = pause.mul_f64(1.0 + self.jitter / 5.0);
        let asked = failure.retry_after.unwrap_or_default().min(RETRY_AFTER_CAP);
        let is_asked_often = failure.class == Class::Ended || failure.is_brief;
        let known = before.is_some_and(|pause| {
            is_asked_often
                && pause.failure.class == failure.class
                && pause.failure.fault.detail() == failure.fault.detail()
        });
        let failures = failures + u32::from(!failure.is_brief);
        self.pause = Some(Pause {
            failure,
            until: now + pause.max(asked),
            failures,
        });
        !known
    }

    /// An upstream accepted the token for this mailbox.
    pub(super) fn accepted(&mut self, generation: u64, mailbox: &str, now: Instant) {
        if generation != self.generation {
            return;
        }
        self.accepted.retain(|(other, _)| other != mailbox);
        self.accepted.push((mailbox.to_owned(), now));
        if self.accepted.len() > 2 {
            self.accepted.remove(0);
        }
    }

    /// An upstream refused the token; whether asking again makes sense.
    pub(super) fn on_refused(
        &mut self,
        generation: u64,
        fresh: bool,
        mailbox: &str,
        now: Instant,
    ) -> bool {
        if generation != self.generation {
            return true;
        }
        let lately = |then: Instant| now.duration_since(then) < PROTECTED;
        let others = self
            .accepted
            .iter()
            .any(|(other, then)| other != mailbox && lately(*then));
        if fresh {
            return false;
        }
        // Another login gave it up meanwhile: whoever still had it gets the next one.
        if self.held.is_none() {
            return true;
        }
        if others || self.replaced.is_some_and(lately) {
            return false;
        }
        self.held = None;
        self.replaced = Some(now);
        true
    }

    /// Somebody who waits for the answer asks now: a refusal that may have been cured is no reason
    /// to wait.
    pub(super) fn ask_again(&mut self) {
        let seldom = |pause: &mut Pause| pause.failure.class == Class::Attention;
        self.pause.take_if(seldom);
    }

    /// The token of the last request.
    pub(super) fn last(&self) -> Option<Secret> {
        self.last.clone()
    }

    /// Whether there is a token, good or not.
    pub(super) fn has_token(&self) -> bool {
        self.held.is_some()
    }

    /// Everything known is old; generations go on, so that no one mistakes a new token for an
    /// old one.
    pub(super) fn renew(&mut self) {
        *self = Self {
            generation: self.generation + 1,
            jitter: self.jitter,
            ..Self::default()
        };
    }

    pub(super) fn token_state(&self, now: Instant) -> TokenState {
        match (&self.held, &self.pause) {
            (Some(held), _) if held.expires > now => TokenState::Valid(held.expires - now),
            (_, Some(pause))
                if !matches!(pause.failure.class, Class::Later { .. } | Class::Ours) =>
            {
                TokenState::Refused
            }
            (Some(_), _) => TokenState::Expired,
            (None, _) => TokenState::None,
        }
    }
}

#[cfg(test)]
mod tests;
