//! The simulated world: events in the order of their times, faults and people's acts from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use authrelay::cluster::command::{Answer, BEAT, Command, Context, LEASE};
use authrelay::cluster::number::Number;
use authrelay::cluster::redemption::{Asked, Outcome, Redemption, Step};
use authrelay::cluster::rejoin::{Next, Rejoin};
use authrelay::cluster::roster::{Roster, share};

use crate::engine::{Data, Engine, Mistake};
use crate::provider::{Family, Kind, What};
use crate::relay::{Flight, Message, NAME, Owed, Rec, Relay, Task};

mod event;
mod faults;
mod messages;
mod provider;
mod quiet;
mod redemption;
mod rejoin;
mod store;

use event::{At, Disk, Event, Fault, Random, relay_of};

const fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// What an operation may take.
const OPERATION: Duration = ms(250);
/// What a request to the identity provider may take.
const REQUEST: Duration = ms(20_000);
/// A connection that has broken is made anew after this.
const RECONNECT: Duration = ms(500);
/// Logins want tokens until here; then the world becomes quiet.
const BUSY: Duration = ms(90_000);
const END: Duration = ms(125_000);
/// Messages of the mailbox that may be in flight.
const LIMIT: usize = 3;

pub struct World {
    random: Random,
    now: Duration,
    queue: BinaryHeap<Reverse<At>>,
    sequence: u64,
    relays: Vec<Relay>,
    servers: Vec<Engine>,
    /// The store's clock beside the world's.
    offset: i64,
    snapshot: Data,
    provider: Kind,
    families: Vec<Family>,
    life: Duration,
    acts: u64,
    forgotten: bool,
    tombstone_gone: bool,
    lose_answers: u32,
    late_clear: Option<Duration>,
    /// How long the identity provider takes at most, each way.
    latency: u64,
    faulty: bool,
    /// A relay has stopped: one that is cut off may not know that it is there again.
    stopped: bool,
    epochs: u64,
    nonces: u64,
    broken: Option<String>,
    pub tells: bool,
    mistake: Mistake,
}

impl World {
    pub fn new(seed: u64, mistake: Mistake) -> Self {
        let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let what = What::Token {
            family: 0,
            number: 0,
            issued: 0,
        };
        let rec = Rec {
            number: Number::of_act(1, None),
            ended: false,
            what,
        };
        let count = if random.below(4) == 0 { 3 } else { 2 };
        let latency = if random.below(3) == 0 { 8_000 } else { 900 };
        let mut first = Engine::new("run-0", mistake);
        first.data.records.insert(NAME.into(), rec.sealed());
        let kinds = [Kind::Revokes, Kind::Refuses, Kind::Tolerates];
        let mut world = Self {
            provider: kinds[usize::try_from(random.below(3)).unwrap()],
            life: random.time(1_000, 15_000),
            relays: (0..count)
                .map(|n| Relay::new(format!("r{n}"), rec))
                .collect(),
            snapshot: first.data.clone(),
            servers: vec![first],
            random,
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            sequence: 0,
            offset: 0,
            families: vec![Family {
                newest: 0,
                revoked: false,
                gone: false,
                act: 1,
            }],
            acts: 1,
            forgotten: false,
            tombstone_gone: false,
            lose_answers: 0,
            late_clear: None,
            latency,
            faulty: false,
            stopped: false,
            epochs: 0,
            nonces: 0,
            broken: None,
            tells: false,
            mistake,
        };
        for relay in 0..count {
            let (beat, need, send) = (
                world.random.time(1, 2_000),
                world.random.time(500, 4_000),
                world.random.time(500, 4_000),
            );
            world.at(beat, Event::Beat(relay));
            world.at(need, Event::Need(relay));
            world.at(send, Event::Send(relay));
        }
        world.plan(count);
        world
    }

    /// As many faults and acts as the design withstands.
    fn plan(&mut self, relays: usize) {
        let budgets: &[(u64, u64)] = match relays {
            2 => &[(2, 1), (1, 2), (2, 0), (1, 1), (0, 2)],
            _ => &[(1, 1), (2, 0)],
        };
        let (mut faults, acts) =
            budgets[usize::try_from(self.random.below(budgets.len() as u64)).unwrap()];
        for _ in 0..acts {
            let (at, relay) = (self.random.time(3_000, 60_000), self.pick());
            self.at(at, Event::Act(relay));
        }
        self.faulty = faults > 0;
        if faults == 2 && self.random.below(6) == 0 {
            // What needs both: an answer is lost, and the removal of its entry comes much later.
            let (at, late) = (
                self.random.time(3_000, 30_000),
                self.random.time(500, 25_000),
            );
            self.at(at, Event::Fault(Fault::Lost));
            self.at(at, Event::Fault(Fault::LateClear(late)));
            return;
        }
        while faults > 0 {
            faults -= self.plan_fault(faults);
        }
    }

    fn pick(&mut self) -> usize {
        usize::try_from(self.random.below(self.relays.len() as u64)).unwrap()
    }

    fn plan_fault(&mut self, budget: u64) -> u64 {
        let at = self.random.time(3_000, 45_000);
        let for_ = self.random.time(200, 45_000);
        let relay = self.pick();
        let mut cost = 1;
        match self.random.below(15) {
            0 => {
                let disk = match (budget, self.random.below(3)) {
                    (2, 0) => Disk::Backup,
                    (2, 1) => Disk::Lost,
                    _ => Disk::Kept,
                };
                cost += u64::from(disk != Disk::Kept);
                self.at(at, Event::Fault(Fault::Crash(relay, for_, disk)));
            }
            1 => self.at(at, Event::Fault(Fault::Crash(relay, for_, Disk::Kept))),
            2 | 3 => self.at(at, Event::Fault(Fault::Sleep(relay, for_))),
            12 => self.at(at, Event::Fault(Fault::Stop(relay, for_))),
            13 => self.at(at, Event::Fault(Fault::StopOwing(relay, for_))),
            4 => {
                self.at(at, Event::Fault(Fault::Cut(relay)));
                self.at(at + for_, Event::Fault(Fault::Heal(relay)));
            }
            5 => self.at(at, Event::Fault(Fault::Lost)),
            6 => self.at(at, Event::Fault(Fault::Late(relay, for_))),
            7 => self.at(at, Event::Fault(Fault::Flush)),
            8 => self.at(at, Event::Fault(Fault::EmptyRestart)),
            9 => {
                let lag = self.random.time(1, 3_000);
                self.at(at.saturating_sub(lag), Event::Fault(Fault::Snapshot));
                self.at(at, Event::Fault(Fault::Failover));
            }
            10 => {
                let lag = self.random.time(1, 3_000);
                self.at(at.saturating_sub(lag), Event::Fault(Fault::Snapshot));
                self.at(at, Event::Fault(Fault::Split));
                for relay in 0..self.relays.len() {
                    let join = self.random.time(100, 40_000);
                    self.at(at + join, Event::Fault(Fault::Join(relay)));
                }
            }
            11 => {
                self.at(at, Event::Fault(Fault::Full(relay)));
                self.at(at + for_, Event::Fault(Fault::Room(relay)));
            }
            _ => {
                let jump = [-40_000, -5_000, 25_000, 100_000];
                let by = jump[usize::try_from(self.random.below(4)).unwrap()];
                self.at(at, Event::Fault(Fault::Jump(by)));
            }
        }
        cost
    }

    fn at(&mut self, time: Duration, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(At(time, self.sequence, event)));
    }

    fn after(&mut self, time: Duration, event: Event) {
        self.at(self.now + time, event);
    }

    pub fn run(mut self) -> Result<(), String> {
        while let Some(Reverse(At(time, _, event))) = self.queue.pop() {
            let is_idle = |relay: &Relay| relay.flight.is_none() && relay.owed.is_empty();
            if time > END && (self.relays.iter().all(is_idle) || time > 2 * END) {
                break;
            }
            self.now = time;
            // A relay that sleeps does nothing; what comes meanwhile waits.
            if let Some(relay) = relay_of(&event)
                && self.relays[relay].asleep_until > time
            {
                let wakes = self.relays[relay].asleep_until;
                self.at(wakes, event);
                continue;
            }
            if self.tells {
                println!("{time:?} {event:?}");
            }
            self.on(event);
            if let Some(broken) = self.broken.take() {
                return Err(format!("at {time:?}: {broken}"));
            }
        }
        self.check_quiet()
    }

    fn break_(&mut self, what: impl Into<String>) {
        self.broken.get_or_insert(what.into());
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Need(relay) => self.on_need(relay),
            Event::Beat(relay) => self.on_beat(relay),
            Event::Arrive(relay, incarnation, op, server, context, command) => {
                self.on_arrive(relay, incarnation, op, server, &context, *command);
            }
            Event::Answered(relay, incarnation, op, answer) => {
                self.on_answer(relay, incarnation, op, Some(answer));
            }
            Event::Timeout(relay, incarnation, op) => self.on_answer(relay, incarnation, op, None),
            Event::Wake(relay, incarnation, flight) => {
                if self.is_flying(relay, incarnation, flight) {
                    self.woken(relay);
                }
            }
            Event::Ask(relay, incarnation, flight) => self.ask(relay, incarnation, flight),
            Event::Asked(relay, incarnation, flight, what) => {
                self.provide(relay, incarnation, flight, what);
            }
            Event::Told(relay, incarnation, flight, result, issued) => {
                self.on_told(relay, incarnation, flight, result, issued);
            }
            Event::GaveUp(relay, incarnation, flight) => {
                if self.is_flying(relay, incarnation, flight)
                    && self.relays[relay]
                        .flight
                        .as_ref()
                        .unwrap()
                        .redeems
                        .is_some()
                {
                    self.asked(relay, Asked::Nothing);
                    self.account();
                }
            }
            Event::PutAgain(relay, incarnation) => {
                if self.relays[relay].incarnation == incarnation {
                    self.put_owed(relay);
                }
            }
            Event::Send(relay) => self.on_send(relay),
            Event::Sent(relay, incarnation, message) => self.on_sent(relay, incarnation, message),
            Event::Fault(fault) => {
                self.on_fault(fault);
                self.account();
            }
            Event::Act(relay) => self.on_act(relay),
        }
    }
}

/// The greater number is adopted, of equal ones the store's.
fn adopt(relay: &mut Relay, rec: Rec, mistake: Mistake) {
    let is_truth = relay.know.is_none_or(|know| rec.number >= know.number);
    if is_truth || mistake == Mistake::GreaterWins {
        relay.adopt(rec);
    }
}
