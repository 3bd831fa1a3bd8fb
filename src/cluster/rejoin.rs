//! Return of a relay after the store lost its data, and the comparison of its records with the
//! store: decided without IO.
//!
//! The relay sets the marker if that is lost, compares every record both ways, enters its
//! redemptions again, registers its messages in flight, and then reports that it is back. Until all
//! relays have rejoined, no one-use refresh token is redeemed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::command::{Answer, Entry, Nonce, Sealed};
use super::number::Number;
use super::redemption::{Mark, Reconciled, reconcile};

/// Losses during one rejoin before it is given up until the next beat.
const LOSSES: u32 = 3;

/// Next step of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Set the marker where it is lost, with the relays that are known.
    Mark,
    /// Read a record.
    Get(Arc<str>),
    /// Put this relay's own.
    Put(Arc<str>),
    /// Write the record that was found to this relay's own disk.
    Adopt(Arc<str>),
    /// Remove an entry of this relay's that nothing belongs to any more.
    Clear(Arc<str>, Nonce),
    /// Enter what is being redeemed: the record of this number.
    Enter(Arc<str>, Number, Nonce),
    /// Register the messages that are in flight.
    Hold,
    /// Say that this relay is back.
    Back,
    /// The rejoin has ended; whether it was completed.
    Over(bool),
}

/// Local state of the record that is compared.
#[derive(Debug, Clone, Default)]
pub struct Local {
    /// This relay's own record.
    pub own: Option<Mark>,
    /// Number that it redeems, or whose successor it still has to put, and the entry's nonce. Not
    /// the number of its own record, which may be another by now.
    pub redeeming: Option<(Number, Nonce)>,
    /// Nonce of a request to be entered that has no answer yet.
    pub asking: Option<Nonce>,
    /// Whether its refresh token is good once.
    pub one_use: bool,
}

/// State machine of a rejoin or a comparison, without IO.
#[derive(Debug, Clone)]
pub struct Rejoin {
    names: Vec<Arc<str>>,
    left: VecDeque<Arc<str>>,
    last: Next,
    /// Whether records are only compared, since the marker is valid.
    compares: bool,
    entry: Option<Entry>,
    epoch: Option<Arc<str>>,
    losses: u32,
}

impl Rejoin {
    /// Creates a rejoin after a loss, or at the start.
    pub fn new(names: Vec<Arc<str>>) -> Self {
        Self {
            left: names.iter().cloned().collect(),
            names,
            last: Next::Mark,
            compares: false,
            entry: None,
            epoch: None,
            losses: 0,
        }
    }

    /// Creates the comparison of a beat, which compares these records and removes own idle entries.
    pub fn comparing(names: Vec<Arc<str>>) -> Self {
        let mut comparing = Self::new(names);
        comparing.compares = true;
        comparing.last = comparing.next_name();
        comparing
    }

    /// Returns the first step.
    pub fn first(&self) -> Next {
        self.last.clone()
    }

    /// Returns the epoch in which this relay rejoins, once the marker is known.
    pub fn epoch(&self) -> Option<&Arc<str>> {
        self.epoch.as_ref()
    }

    /// Handles the store's answer to the last step; `None`: it is unavailable. `me` is this relay's id.
    pub fn on_answer(&mut self, answer: Option<&Answer>, local: &Local, me: &str) -> Next {
        let next = match (self.last.clone(), answer) {
            (_, None) => Next::Over(false),
            (_, Some(Answer::Lost)) => self.on_lost(),
            (Next::Mark, Some(Answer::Marked { epoch })) => {
                self.epoch = Some(epoch.clone());
                self.next_name()
            }
            (Next::Get(name), Some(Answer::Found { record, entry })) => {
                self.entry = entry.clone();
                let stored = record.as_ref().map(Sealed::mark);
                match reconcile(local.own, stored) {
                    Reconciled::Put => {
                        // What is put removes the entry.
                        self.entry = None;
                        Next::Put(name)
                    }
                    Reconciled::Adopt => Next::Adopt(name),
                    Reconciled::Same => self.tidy(name, local, me),
                }
            }
            (Next::Put(name), Some(Answer::Done)) => self.tidy(name, local, me),
            (Next::Put(name), Some(Answer::Greater(_))) => Next::Adopt(name),
            (Next::Clear(..) | Next::Enter(..), Some(_)) => self.next_name(),
            (Next::Hold, Some(_)) => Next::Back,
            (Next::Back, Some(Answer::Roster { .. })) => Next::Over(true),
            _ => Next::Over(false),
        };
        self.last = next.clone();
        next
    }

    /// Handles the adoption of a record, which may have been left alone since it cannot be opened.
    pub fn on_adopted(&mut self, local: &Local, me: &str) -> Next {
        let next = match self.last.clone() {
            Next::Adopt(name) => self.tidy(name, local, me),
            _ => Next::Over(false),
        };
        self.last = next.clone();
        next
    }

    fn tidy(&mut self, name: Arc<str>, local: &Local, me: &str) -> Next {
        let entry = self.entry.take();
        match local.redeeming {
            Some((number, nonce)) if !self.compares => Next::Enter(name, number, nonce),
            Some(_) => self.next_name(),
            None => match entry {
                Some(entry) if &*entry.relay == me && local.asking != Some(entry.nonce) => {
                    Next::Clear(name, entry.nonce)
                }
                _ => self.next_name(),
            },
        }
    }

    fn next_name(&mut self) -> Next {
        match self.left.pop_front() {
            Some(name) => Next::Get(name),
            None if self.compares => Next::Over(true),
            None => Next::Hold,
        }
    }

    fn on_lost(&mut self) -> Next {
        self.losses += 1;
        if self.compares || self.losses > LOSSES {
            return Next::Over(false);
        }
        self.left = self.names.iter().cloned().collect();
        self.epoch = None;
        Next::Mark
    }
}
