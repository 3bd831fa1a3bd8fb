//! Return of a relay after the store lost its data, and the comparison of its records with the
//! store: decided without IO.
//!
//! It sets the marker where that is lost, compares every record both ways, enters again what it is
//! redeeming, registers what it has in flight, and only then says that it is back. Until all have,
//! nothing that is good once is redeemed.

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

/// Local state of this relay.
pub trait Local {
    /// Its own record.
    fn own(&self, name: &str) -> Option<Mark>;
    /// The number that it redeems, or whose successor it still has to put, and the entry's nonce. Not
    /// the number of its own record, which may be another by now.
    fn redeeming(&self, name: &str) -> Option<(Number, Nonce)>;
    /// The nonce with which it has asked to be entered, and has no answer yet.
    fn asking(&self, name: &str) -> Option<Nonce>;
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Rejoin {
    names: Vec<Arc<str>>,
    left: VecDeque<Arc<str>>,
    last: Next,
    /// Only compares: the marker is good.
    compares: bool,
    entry: Option<Entry>,
    epoch: Option<Arc<str>>,
    losses: u32,
}

impl Rejoin {
    /// After a loss, or at the start.
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

    /// At a beat: compares these records and removes own idle entries.
    pub fn comparing(names: Vec<Arc<str>>) -> Self {
        let mut comparing = Self::new(names);
        comparing.compares = true;
        comparing.last = comparing.next_name();
        comparing
    }

    /// First step.
    pub fn first(&self) -> Next {
        self.last.clone()
    }

    /// The epoch that this relay comes back in; known once the marker is.
    pub fn epoch(&self) -> Option<&Arc<str>> {
        self.epoch.as_ref()
    }

    /// The store's answer to the last step; `None`: it is away. `me` is this relay's id.
    pub fn on_answer(&mut self, answer: Option<&Answer>, local: &dyn Local, me: &str) -> Next {
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
                match reconcile(local.own(&name), stored) {
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

    /// The record is on this relay's own disk, or cannot be opened and is left alone.
    pub fn on_adopted(&mut self, local: &dyn Local, me: &str) -> Next {
        let next = match self.last.clone() {
            Next::Adopt(name) => self.tidy(name, local, me),
            _ => Next::Over(false),
        };
        self.last = next.clone();
        next
    }

    fn tidy(&mut self, name: Arc<str>, local: &dyn Local, me: &str) -> Next {
        let entry = self.entry.take();
        match local.redeeming(&name) {
            Some((number, nonce)) if !self.compares => Next::Enter(name, number, nonce),
            Some(_) => self.next_name(),
            None => match entry {
                Some(entry) if &*entry.relay == me && local.asking(&name) != Some(entry.nonce) => {
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
