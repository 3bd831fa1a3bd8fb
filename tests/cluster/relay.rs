//! One relay of the simulation: its disk, its memory, and the deciding code of the product.

use std::sync::Arc;
use std::time::Duration;

use authrelay::cluster::command::{Nonce, Sealed};
use authrelay::cluster::number::Number;
use authrelay::cluster::redemption::{Mark, Redemption, Usability};
use authrelay::cluster::rejoin::{Local, Rejoin};
use authrelay::cluster::roster::Roster;

use crate::provider::What;

/// The one record of the simulation.
pub const NAME: &str = "n";

/// A record as a relay has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rec {
    pub number: Number,
    pub ended: bool,
    pub what: What,
}

impl Rec {
    pub fn mark(self) -> Mark {
        self.sealed().mark()
    }

    pub fn sealed(self) -> Sealed {
        Sealed {
            number: self.number,
            ended: self.ended,
            text: self.what.text().into(),
            life: None,
        }
    }

    pub fn of(sealed: &Sealed) -> Self {
        Self {
            number: sealed.number,
            ended: sealed.ended,
            what: What::parse(&sealed.text),
        }
    }
}

/// A request for a token, whoever waits for it.
pub struct Flight {
    pub id: u64,
    pub machine: Redemption,
    /// The nonce of a `Begin` whose answer is not known.
    pub asking: Option<Nonce>,
    pub found: Option<Sealed>,
    /// What is being redeemed.
    pub redeems: Option<Rec>,
    pub waits_for_rejoin: bool,
}

/// What still has to be put.
#[derive(Debug, Clone, Copy)]
pub struct Owed {
    pub rec: Rec,
    /// The number that was redeemed for it, and the entry's nonce.
    pub entry: Option<(Number, Nonce)>,
}

/// A message at the mail service.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    pub id: u64,
    pub began: Duration,
}

pub struct Relay {
    pub id: Arc<str>,
    pub disk: Option<Rec>,
    pub know: Option<Rec>,
    pub up: bool,
    pub asleep_until: Duration,
    pub cut: bool,
    pub full: bool,
    /// Counts starts: what belongs to another one is nobody's.
    pub incarnation: u64,
    /// Which server it talks to, and whose run id it has learned.
    pub server: usize,
    pub epoch: Option<Arc<str>>,
    pub roster: Roster,
    pub flight: Option<Flight>,
    pub rejoin: Option<Rejoin>,
    pub rejoin_found: Option<Sealed>,
    pub owed: Vec<Owed>,
    /// Is asked to stop when it next owes the store a token, and starts again after this.
    pub stops_owing: Option<Duration>,
    pub in_flight: Vec<Message>,
    /// When it was last cut off or asleep.
    pub troubled: Duration,
    /// Operations whose answer is awaited, with when each was asked.
    pub pending: Vec<(u64, Task, Duration)>,
    pub late: Option<Duration>,
}

/// What an answer of the store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    Flight(u64),
    Rejoin,
    Beat,
    Owed,
    Message(u64),
    Nobody,
}

impl Relay {
    pub fn new(id: String, rec: Rec) -> Self {
        Self {
            id: id.into(),
            disk: Some(rec),
            know: Some(rec),
            up: true,
            asleep_until: Duration::ZERO,
            cut: false,
            full: false,
            incarnation: 0,
            server: 0,
            epoch: None,
            roster: Roster::default(),
            flight: None,
            rejoin: None,
            rejoin_found: None,
            owed: Vec::new(),
            stops_owing: None,
            in_flight: Vec::new(),
            troubled: Duration::ZERO,
            pending: Vec::new(),
            late: None,
        }
    }

    pub fn adopt(&mut self, rec: Rec) {
        self.know = Some(rec);
        if !self.full {
            self.disk = Some(rec);
        }
    }

    pub fn usability(&self, now: Duration, life: Duration) -> Usability {
        match self.know {
            Some(Rec {
                ended: false,
                what: What::Token { issued, .. },
                ..
            }) => match Duration::from_millis(issued) + life > now {
                true => Usability::Usable,
                false => Usability::Redeemable,
            },
            _ => Usability::Useless,
        }
    }

    /// Everything in memory is gone.
    pub fn crash(&mut self) {
        self.up = false;
        self.incarnation += 1;
        self.know = None;
        self.flight = None;
        self.rejoin = None;
        self.owed.clear();
        self.in_flight.clear();
        self.pending.clear();
        self.epoch = None;
        self.asleep_until = Duration::ZERO;
        self.late = None;
    }
}

impl Relay {
    /// State of the one record, as a comparison needs it.
    pub fn local(&self) -> Local {
        let flight = self.flight.as_ref();
        let redeemed = flight.and_then(|flight| {
            let number = flight.machine.own()?.number;
            Some((number, flight.machine.entered()?))
        });
        Local {
            own: self.know.map(Rec::mark),
            redeeming: redeemed.or_else(|| self.owed.iter().find_map(|owed| owed.entry)),
            asking: flight.and_then(|flight| flight.asking),
            one_use: false,
        }
    }
}
