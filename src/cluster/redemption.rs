//! One relay's way to a new token, where several relays share a store: decided without IO.
//!
//! | state | what it waits for |
//! | --- | --- |
//! | reading | the stored record |
//! | putting | the store to take this relay's own record, which is greater |
//! | adopting | the stored record to be on this relay's own disk |
//! | beginning | to be entered |
//! | redeeming | the identity provider |
//! | judging | the stored record, after `invalid_grant` |
//! | ending | the mark |
//! | waiting | a publication, or its time |
//!
//! A store that does not answer is not a holder: with reusable refresh tokens this relay goes on by
//! itself, with those that are good once it redeems nothing.

use std::time::Duration;

use super::command::{Answer, Nonce, Sealed};
pub use super::mark::{Mark, Reconciled, reconcile};

/// Intervals at which a relay polls while it waits for another: the first, and the longest.
const POLL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Interval before the next poll after `polls` others; `jitter` from 0 to 1.
pub fn poll(polls: u32, jitter: f64) -> Duration {
    let (first, longest) = POLL;
    let poll = (first * (1 << polls.min(4))).min(longest);
    poll.mul_f64(0.5 + jitter / 2.0).max(first)
}

/// Number of reads after losses before the store counts as unavailable.
const TRIES: u32 = 8;

/// Use of a relay's own record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usability {
    /// The access token may be given to a login.
    Usable,
    /// The refresh token can be redeemed.
    Redeemable,
    /// No record, or one that has ended.
    Useless,
}

/// Next step of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read the record.
    Get,
    /// Put this relay's own record.
    Put,
    /// Write the record that was found to this relay's own disk.
    Adopt,
    /// Ask to be entered.
    Begin(Nonce),
    /// Ask the identity provider, with an entry or by this relay alone. What comes is written to this
    /// relay's own disk, and put until that is answered.
    Redeem(Option<Nonce>),
    /// Mark the record as ended.
    End(Nonce),
    /// Come back after a loss of the store; then go on.
    Rejoin,
    /// Wait for a publication, this long at most.
    Wait(Duration),
    /// The redemption has ended. If an entry is left, it is removed by its nonce.
    Give(Outcome, Option<Nonce>),
}

/// Outcome of a redemption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// This relay's own record has a good token.
    Usable,
    /// This relay has no record, or it has ended.
    Useless,
    /// The identity provider has refused it; `true`: that is marked, and for good.
    Refused(bool),
    /// The identity provider issued no token, for now.
    Failed,
    /// Another relay redeems, and it takes too long.
    Held,
    /// The store is away or settles, and this relay must not redeem without it.
    Unavailable,
}

/// Result of a request to the identity provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A token, which was written to disk.
    Token,
    /// `invalid_grant`: refused for good, as far as the identity provider knows.
    Invalid,
    /// Any other answer.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Putting,
    Adopting,
    Beginning(Nonce),
    Redeeming(Option<Nonce>),
    Judging(Nonce),
    Ending(Nonce),
    Waiting,
    Over,
}

/// State machine of one redemption, without IO.
#[derive(Debug, Clone)]
pub struct Redemption {
    state: State,
    one_use: bool,
    /// This relay's own record.
    own: Option<Mark>,
    usability: Usability,
    /// Longest time that the logins wait for another relay, from the beginning.
    patience: Duration,
    began: Duration,
    polls: u32,
    tries: u32,
    /// Whether a greater number was tried after `invalid_grant`.
    tried: bool,
    was_refused: bool,
    settling: bool,
}

impl Redemption {
    /// Begins a redemption at `now` with this relay's own record, and returns the first step.
    pub fn new(
        one_use: bool,
        own: Option<Mark>,
        usability: Usability,
        patience: Duration,
        now: Duration,
    ) -> (Self, Step) {
        let redemption = Self {
            state: State::Reading,
            one_use,
            own,
            usability,
            patience,
            began: now,
            polls: 0,
            tries: 0,
            tried: false,
            was_refused: false,
            settling: false,
        };
        (redemption, Step::Get)
    }

    /// Returns this relay's own record, which is or would be redeemed.
    pub fn own(&self) -> Option<Mark> {
        self.own
    }

    /// Returns the nonce of this relay's entry, if the entry is known to exist.
    pub fn entered(&self) -> Option<Nonce> {
        match self.state {
            State::Redeeming(nonce) => nonce,
            State::Judging(nonce) | State::Ending(nonce) => Some(nonce),
            _ => None,
        }
    }

    /// Handles the store's answer to the last step; `None`: it is unavailable. `nonce` is fresh, `jitter`
    /// from 0 to 1.
    pub fn on_answer(
        &mut self,
        answer: Option<&Answer>,
        nonce: Nonce,
        jitter: f64,
        now: Duration,
    ) -> Step {
        let Some(answer) = answer else {
            return self.on_unavailable();
        };
        match (self.state, answer) {
            (_, Answer::Lost) => self.on_lost(),
            (State::Reading, Answer::Found { record, .. }) => {
                let stored = record.as_ref().map(Sealed::mark);
                match reconcile(self.own, stored) {
                    Reconciled::Put => self.turn(State::Putting, Step::Put),
                    Reconciled::Adopt => self.turn(State::Adopting, Step::Adopt),
                    Reconciled::Same => self.decide(nonce),
                }
            }
            (State::Putting, Answer::Done) => self.decide(nonce),
            (State::Putting, Answer::Greater(_)) => self.turn(State::Adopting, Step::Adopt),
            (State::Beginning(nonce), Answer::Done) => {
                self.turn(State::Redeeming(Some(nonce)), Step::Redeem(Some(nonce)))
            }
            (State::Beginning(_), Answer::Held | Answer::Settling) => {
                self.settling = *answer == Answer::Settling;
                self.wait(jitter, now)
            }
            (State::Beginning(_), Answer::Moved) => self.read_again(),
            (State::Judging(entered), Answer::Found { record, .. }) => {
                let greater = record
                    .as_ref()
                    .is_some_and(|record| self.own.is_none_or(|own| record.number > own.number));
                match greater && !self.tried {
                    true => {
                        self.tried = true;
                        self.turn(State::Adopting, Step::Adopt)
                    }
                    false => self.turn(State::Ending(entered), Step::End(entered)),
                }
            }
            (State::Ending(nonce), Answer::Done) => self.over(Outcome::Refused(true), Some(nonce)),
            (State::Ending(nonce), _) => self.over(Outcome::Refused(false), Some(nonce)),
            // No other answer belongs to these questions.
            _ => self.on_unavailable(),
        }
    }

    /// Handles the adoption of the stored record; `None` if it cannot be opened.
    pub fn on_adopted(&mut self, adopted: Option<(Mark, Usability)>, nonce: Nonce) -> Step {
        let Some((own, usability)) = adopted else {
            return self.on_unavailable();
        };
        self.own = Some(own);
        self.usability = usability;
        self.decide(nonce)
    }

    /// Handles the identity provider's answer.
    pub fn on_asked(&mut self, asked: Asked) -> Step {
        let State::Redeeming(entered) = self.state else {
            return self.on_unavailable();
        };
        match (asked, entered) {
            // The entry goes when the store takes the new record.
            (Asked::Token, _) => self.over(Outcome::Usable, None),
            (Asked::Invalid, Some(nonce)) => {
                self.was_refused = true;
                self.turn(State::Judging(nonce), Step::Get)
            }
            // A relay alone marks nothing.
            (Asked::Invalid, None) => self.over(Outcome::Refused(false), None),
            (Asked::Nothing, entered) => self.over(Outcome::Failed, entered),
        }
    }

    /// Handles a publication, the end of the wait, or a completed rejoin.
    pub fn on_woken(&mut self) -> Step {
        match self.state {
            State::Over => Step::Give(Outcome::Unavailable, None),
            State::Redeeming(entered) => Step::Redeem(entered),
            State::Judging(_) => Step::Get,
            State::Ending(nonce) => Step::End(nonce),
            State::Waiting => self.turn(State::Reading, Step::Get),
            _ => self.read_again(),
        }
    }

    fn turn(&mut self, state: State, step: Step) -> Step {
        self.state = state;
        step
    }

    fn over(&mut self, outcome: Outcome, entry: Option<Nonce>) -> Step {
        self.turn(State::Over, Step::Give(outcome, entry))
    }

    fn read_again(&mut self) -> Step {
        self.tries += 1;
        if self.tries > TRIES {
            return self.on_unavailable();
        }
        self.turn(State::Reading, Step::Get)
    }

    /// Continues with this relay's own record, which counts.
    fn decide(&mut self, nonce: Nonce) -> Step {
        match self.usability {
            Usability::Usable => self.over(Outcome::Usable, None),
            Usability::Useless => self.over(Outcome::Useless, None),
            Usability::Redeemable => self.turn(State::Beginning(nonce), Step::Begin(nonce)),
        }
    }

    fn wait(&mut self, jitter: f64, now: Duration) -> Step {
        let waited = now.saturating_sub(self.began);
        let left = self.patience.saturating_sub(waited);
        if left.is_zero() {
            let outcome = if self.settling {
                Outcome::Unavailable
            } else {
                Outcome::Held
            };
            return self.over(outcome, None);
        }
        let poll = poll(self.polls, jitter);
        self.polls += 1;
        self.tries = 0;
        self.turn(State::Waiting, Step::Wait(poll.min(left)))
    }

    fn on_lost(&mut self) -> Step {
        self.tries += 1;
        if self.tries > TRIES {
            return self.on_unavailable();
        }
        Step::Rejoin
    }

    /// Continues without the store, which holds no entry.
    fn on_unavailable(&mut self) -> Step {
        match self.state {
            State::Judging(nonce) | State::Ending(nonce) => {
                self.over(Outcome::Refused(false), Some(nonce))
            }
            _ if self.was_refused => self.over(Outcome::Refused(false), None),
            _ if self.usability == Usability::Usable => self.over(Outcome::Usable, None),
            // Another relay may have what this one has never seen.
            _ if self.usability == Usability::Useless && self.own.is_none() => {
                self.over(Outcome::Unavailable, None)
            }
            _ if self.usability == Usability::Useless => self.over(Outcome::Useless, None),
            _ if self.one_use => self.over(Outcome::Unavailable, self.begun()),
            _ => self.turn(State::Redeeming(None), Step::Redeem(None)),
        }
    }

    /// Returns the nonce of an entry that may exist.
    fn begun(&self) -> Option<Nonce> {
        match self.state {
            State::Beginning(nonce) => Some(nonce),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
