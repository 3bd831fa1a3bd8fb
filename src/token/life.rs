//! Life of one token, decided without IO; the time is a parameter.
//!
//! Effect on a login, by state:
//!
//! | state | a login |
//! | --- | --- |
//! | none | waits for a request |
//! | valid | gets the token |
//! | due | gets the token, and a request starts in the background |
//! | paused | gets the last failure; no request is sent |
//! | attention | gets the last failure; retried seldom, since it may be resolved |
//! | ended | gets the last failure; nothing is requested until there is a new consent |
//! | unstored | gets the token; the record of the redemption is still being written |
//!
//! Effect of events:
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
//! A pause ends with its time, with a token, or with another record.

use std::time::Duration;

use tokio::time::Instant;

use super::failure::{Class, TokenError};
use super::issued::{IssuedToken, Token, TokenState};
use crate::fault::Fault;
use crate::secret::Secret;

/// Time before a token becomes unusable from which a login starts a request in the background.
const AHEAD: Duration = Duration::from_secs(3 * 60);

/// Range over which relays that started together spread their requests.
const JITTER: Duration = Duration::from_secs(4 * 60);

/// Shortest time between replacements of refused tokens; an acceptance also protects a token for
/// this time.
const PROTECTED: Duration = Duration::from_secs(60);

/// Remaining lifetime that a token needs for a new session, since Exchange ends sessions when their
/// token expires. `margin` is the provider's `token_margin`. For tokens that live less than twice
/// that, it is a quarter of the lifetime, so that not every login requests another.
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

/// Decision about a login that needs a token.
#[derive(Debug)]
pub(super) enum Decision {
    Use(Token),
    /// Use this token, and start a request.
    UseAndRefresh(Token),
    /// Wait for a token request.
    Fetch,
    /// Refuse; no request is sent for now.
    Refuse(Fault),
}

/// A token, the pause after the last failure, and the replies of upstreams to it.
#[derive(Debug, Default)]
pub(super) struct CachedToken {
    /// Random number from 0 to 1.
    jitter: f64,
    held: Option<Held>,
    /// Token of the last request, even if it was refused since.
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
    /// Time until which new sessions get it.
    usable: Instant,
    refresh: Instant,
    /// Whether the record of its redemption is not on disk.
    unstored: bool,
}

#[derive(Debug)]
struct Pause {
    failure: TokenError,
    until: Instant,
    /// Consecutive failures of this class.
    failures: u32,
}

impl CachedToken {
    /// Creates an empty entry; `jitter` is a random number from 0 to 1.
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

    /// Decides what a login that needs a token gets.
    pub(super) fn next(&self, now: Instant) -> Decision {
        let token = |held: &Held| self.token(&held.token, false);
        match (self.state(now), &self.held, &self.pause) {
            (State::Valid | State::Unstored, Some(held), _) => Decision::Use(token(held)),
            (State::Due, Some(held), _) => Decision::UseAndRefresh(token(held)),
            (State::Paused | State::Attention | State::Ended, _, Some(pause)) => {
                Decision::Refuse(pause.failure.fault.clone())
            }
            _ => Decision::Fetch,
        }
    }

    /// Records an obtained token. `least` is the provider's `token_margin`.
    pub(super) fn on_obtained(
        &mut self,
        grant: &IssuedToken,
        least: Duration,
        now: Instant,
    ) -> Token {
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
        // A stored token may have been in use already.
        self.token(token, !grant.stored)
    }

    fn token(&self, secret: &Secret, fresh: bool) -> Token {
        Token {
            secret: secret.clone(),
            generation: self.generation,
            fresh,
        }
    }

    /// Records that the last redemption's record is on disk.
    pub(super) fn on_stored(&mut self) {
        if let Some(held) = &mut self.held {
            held.unstored = false;
        }
    }

    /// Records a failed request. Returns whether it is new: a missing consent is logged once.
    pub(super) fn on_failed(&mut self, failure: TokenError, consent: bool, now: Instant) -> bool {
        let before = self.pause.take().filter(|pause| {
            // Throttling and outages are the same class here.
            std::mem::discriminant(&pause.failure.class) == std::mem::discriminant(&failure.class)
        });
        let failures = before.as_ref().map_or(0, |pause| pause.failures);
        let pauses = failure.class.pauses(consent);
        let pause = match failure.is_brief {
            true => pauses.first,
            false => (pauses.first * (1 << failures.min(12))).min(pauses.longest),
        };
        let pause = pause.mul_f64(1.0 + self.jitter / 5.0);
        let asked = failure.retry_after.unwrap_or_default();
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

    /// Records that an upstream accepted the token for this mailbox.
    pub(super) fn on_accepted(&mut self, generation: u64, mailbox: &str, now: Instant) {
        if generation != self.generation {
            return;
        }
        self.accepted.retain(|(other, _)| other != mailbox);
        self.accepted.push((mailbox.to_owned(), now));
        if self.accepted.len() > 2 {
            self.accepted.remove(0);
        }
    }

    /// Records that an upstream refused the token. Returns whether another attempt makes sense.
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
        // Another login discarded it meanwhile, so this one gets its successor.
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

    /// Ends the pause after a refusal that may have been resolved, since a user waits for the
    /// result.
    pub(super) fn ask_again(&mut self) {
        let seldom = |pause: &mut Pause| pause.failure.class == Class::Attention;
        self.pause.take_if(seldom);
    }

    /// Token of the last request.
    pub(super) fn last(&self) -> Option<Secret> {
        self.last.clone()
    }

    /// Whether there is a token, valid or not.
    pub(super) fn has_token(&self) -> bool {
        self.held.is_some()
    }

    /// Forgets the token and failures. The generation increases, so that a new token is not
    /// mistaken for an old one.
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
