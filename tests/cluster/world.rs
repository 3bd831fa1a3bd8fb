//! The simulated world: events in the order of their times, faults and people's acts from a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use authrelay::cluster::comeback::{Comeback, Next};
use authrelay::cluster::command::{Answer, BEAT, Command, Context, LEASE};
use authrelay::cluster::number::Number;
use authrelay::cluster::redemption::{Asked, Outcome, Redemption, Step};
use authrelay::cluster::roster::{Roster, share};

use crate::engine::{Data, Engine, Mistake};
use crate::provider::{Family, Kind, What};
use crate::relay::{Flight, Message, NAME, Owed, Rec, Relay, Task};

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

#[derive(Debug)]
enum Event {
    /// A login wants a token.
    Need(usize),
    Beat(usize),
    /// A command reaches the store.
    Arrive(usize, u64, u64, usize, Context, Box<Command>),
    Answered(usize, u64, u64, Answer),
    Timeout(usize, u64, u64),
    Wake(usize, u64, u64),
    /// The request leaves the relay.
    Ask(usize, u64, u64),
    /// It reaches the identity provider.
    Asked(usize, u64, u64, What),
    Told(usize, u64, u64, Result<u64, ()>, Duration),
    GaveUp(usize, u64, u64),
    PutAgain(usize, u64),
    Send(usize),
    Sent(usize, u64, u64),
    Fault(Fault),
    Act(usize),
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Crash(usize, Duration, Disk),
    Restart(usize),
    Sleep(usize, Duration),
    Cut(usize),
    Heal(usize),
    /// The next answer of the identity provider is lost.
    Lost,
    Late(usize, Duration),
    /// The next removal of an entry is late.
    LateClear(Duration),
    Flush,
    /// SIGKILL without persistence.
    EmptyRestart,
    Snapshot,
    Failover,
    Split,
    Join(usize),
    Full(usize),
    Room(usize),
    Jump(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Kept,
    Backup,
    Lost,
}

struct At(Duration, u64, Event);

impl PartialEq for At {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for At {}
impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for At {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn time(&mut self, from: u64, to: u64) -> Duration {
        ms(from + self.below(to - from))
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

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
        match self.random.below(13) {
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

    // ---- the store

    fn store_now(&self) -> Duration {
        let at = i64::try_from(self.now.as_millis()).unwrap() + 1_000_000 + self.offset;
        ms(u64::try_from(at).unwrap())
    }

    fn send(&mut self, relay: usize, task: Task, command: Command) {
        self.sequence += 1;
        let op = self.sequence;
        let it = &mut self.relays[relay];
        it.pending.push((op, task));
        let incarnation = it.incarnation;
        let epoch = match (task, &it.comeback) {
            (Task::Comeback, Some(comeback)) => {
                comeback.epoch().cloned().or_else(|| it.epoch.clone())
            }
            _ => it.epoch.clone(),
        };
        let server = it.server;
        let context = Context {
            run: self.servers[server].run.clone(),
            epoch: epoch.unwrap_or_else(|| "".into()),
            relay: it.id.clone(),
        };
        self.after(OPERATION, Event::Timeout(relay, incarnation, op));
        if self.relays[relay].cut {
            return;
        }
        let late = match &command {
            Command::Clear { .. } => self.late_clear.take(),
            _ => None,
        };
        let late = late.or_else(|| self.relays[relay].late.take());
        let delay = late.unwrap_or_else(|| self.random.time(1, 6));
        let arrive = Event::Arrive(relay, incarnation, op, server, context, Box::new(command));
        self.after(delay, arrive);
    }

    fn on_arrive(
        &mut self,
        relay: usize,
        incarnation: u64,
        op: u64,
        server: usize,
        context: &Context,
        command: Command,
    ) {
        // A server that is gone answers nobody.
        if server >= self.servers.len() || self.servers[server].run != context.run {
            return;
        }
        let now = self.store_now();
        let before = self.servers[server].data.records.get(NAME).cloned();
        if let Command::End { record, .. } = &command {
            self.check_end(&Rec::of(record), server, context, &command);
        }
        let answer = self.servers[server].execute(context, &command, now);
        let after = self.servers[server].data.records.get(NAME).cloned();
        if self.tells {
            println!("    {} {command:?} -> {answer:?}", context.relay);
        }
        if matches!(
            (&command, &answer),
            (Command::Back { .. }, Answer::Roster { .. })
        ) {
            self.publish_relay(server, &context.relay);
        }
        if before != after {
            if let (Some(before), Some(after)) = (&before, &after) {
                self.check_order(Rec::of(before), Rec::of(after));
            }
            self.publish(server, after.map(|after| Rec::of(&after)), relay);
        }
        let it = &self.relays[relay];
        if it.incarnation == incarnation && it.up && !it.cut {
            let delay = self.random.time(1, 6);
            self.after(delay, Event::Answered(relay, incarnation, op, answer));
        }
    }

    /// Relays that hear of a record adopt it.
    fn publish(&mut self, server: usize, rec: Option<Rec>, by: usize) {
        let Some(rec) = rec else { return };
        for relay in 0..self.relays.len() {
            let now = self.now;
            let it = &mut self.relays[relay];
            let hears = it.up && !it.cut && it.server == server && it.asleep_until <= now;
            if relay == by || !hears || it.epoch.is_none() {
                continue;
            }
            let is_newer = it.know.is_none_or(|know| rec.number > know.number);
            if is_newer || (self.mistake == Mistake::GreaterWins && it.know != Some(rec)) {
                it.adopt(rec);
            }
        }
    }

    fn publish_relay(&mut self, server: usize, id: &Arc<str>) {
        let now = self.now;
        for it in &mut self.relays {
            let hears = it.up && !it.cut && it.server == server && it.asleep_until <= now;
            if hears && it.id != *id {
                it.roster.add(id.clone(), now);
            }
        }
    }

    /// f: the older never replaces the newer.
    fn check_order(&mut self, before: Rec, after: Rec) {
        let truth = |what: What| match what {
            What::Tombstone { act } => (act, 0),
            What::Token { family, number, .. } => (self.families[family].act, number + 1),
        };
        let (old, new) = (truth(before.what), truth(after.what));
        if new.0 < old.0 || (self.is_one_use() && new < old) {
            self.break_(format!("f: {after:?} replaced {before:?}"));
        }
    }

    /// c: nothing is ended that a greater number heals.
    fn check_end(&mut self, rec: &Rec, server: usize, context: &Context, command: &Command) {
        let mut tried = self.servers[server].clone();
        if tried.execute(context, command, self.store_now()) != Answer::Done {
            return;
        }
        if let What::Token { family, .. } = rec.what
            && !self.families[family].revoked
            && self.is_held(family)
        {
            self.break_(format!("c: {rec:?} was ended"));
        }
    }

    fn on_answer(&mut self, relay: usize, incarnation: u64, op: u64, answer: Option<Answer>) {
        let it = &mut self.relays[relay];
        if it.incarnation != incarnation || !it.up {
            return;
        }
        let Some(at) = it.pending.iter().position(|(known, _)| *known == op) else {
            return;
        };
        let (_, task) = it.pending.swap_remove(at);
        if answer == Some(Answer::Lost) && task != Task::Comeback {
            it.epoch = None;
        }
        match task {
            Task::Flight(flight) => {
                if self.is_flying(relay, incarnation, flight) {
                    self.flight_answer(relay, answer.as_ref());
                }
            }
            Task::Comeback => self.comeback_answer(relay, answer.as_ref()),
            Task::Beat => self.beat_answer(relay, answer.as_ref()),
            Task::Owed => self.owed_answer(relay, answer.as_ref()),
            Task::Message(message) => self.message_answer(relay, message, answer.as_ref()),
            Task::Nobody => {}
        }
    }

    // ---- a redemption

    fn is_one_use(&self) -> bool {
        self.provider != Kind::Tolerates
    }

    fn is_flying(&self, relay: usize, incarnation: u64, flight: u64) -> bool {
        let it = &self.relays[relay];
        let same = it.flight.as_ref().is_some_and(|known| known.id == flight);
        it.incarnation == incarnation && it.up && same
    }

    fn on_need(&mut self, relay: usize) {
        let next = self.random.time(500, 4_000);
        if self.now < BUSY {
            self.after(next, Event::Need(relay));
        }
        let standing = self.relays[relay].standing(self.now, self.life);
        let it = &self.relays[relay];
        let wants = standing == authrelay::cluster::redemption::Standing::Redeemable;
        // What is still to be put is not redeemed before, unless the store is away.
        let owes = !it.owed.is_empty() && (self.is_one_use() || !it.cut);
        if !it.up || it.flight.is_some() || !wants || owes {
            return;
        }
        let own = it.know.map(Rec::mark);
        let (machine, step) = Redemption::new(self.is_one_use(), own, standing, REQUEST, self.now);
        self.sequence += 1;
        self.relays[relay].flight = Some(Flight {
            id: self.sequence,
            machine,
            asking: None,
            found: None,
            redeems: None,
            waits_for_comeback: false,
        });
        self.step(relay, step);
    }

    fn nonce(&mut self) -> u64 {
        self.nonces += 1;
        self.nonces
    }

    fn step(&mut self, relay: usize, step: Step) {
        if self.tells {
            println!("    r{relay} {step:?}");
        }
        let name: Arc<str> = NAME.into();
        let one_use = self.is_one_use();
        let incarnation = self.relays[relay].incarnation;
        let know = self.relays[relay].know;
        let Some(flight) = &mut self.relays[relay].flight else {
            return;
        };
        let (id, own) = (flight.id, flight.machine.own());
        let task = Task::Flight(id);
        if self.relays[relay].epoch.is_none()
            && matches!(step, Step::Get | Step::Put | Step::Begin(_) | Step::End(_))
        {
            // Before it is back nothing is asked.
            return self.flight_answer(relay, Some(&Answer::Lost));
        }
        match step {
            Step::Get => self.send(relay, task, Command::Get { name }),
            Step::Put => match know {
                Some(rec) => {
                    let record = rec.sealed();
                    self.send(relay, task, Command::Put { name, record });
                }
                None => self.flight_answer(relay, None),
            },
            Step::Adopt => self.adopt_found(relay),
            Step::Begin(nonce) => {
                let number = own.map(|own| own.number).unwrap_or_default();
                self.relays[relay].flight.as_mut().unwrap().asking = Some(nonce);
                let begin = Command::Begin {
                    name,
                    number,
                    nonce,
                    one_use,
                };
                self.send(relay, task, begin);
            }
            Step::Redeem(_) => {
                // The record that it was entered for; another may have come meanwhile.
                let flight = self.relays[relay].flight.as_mut().unwrap();
                flight.redeems = know.filter(|rec| Some(rec.mark()) == own && !rec.ended);
                if flight.redeems.is_none() {
                    return self.asked(relay, Asked::Nothing);
                }
                let soon = self.random.time(1, 100);
                self.after(soon, Event::Ask(relay, incarnation, id));
            }
            Step::End(nonce) => {
                let Some(rec) = know.filter(|rec| Some(rec.mark()) == own) else {
                    return self.flight_answer(relay, Some(&Answer::Moved));
                };
                let record = Rec { ended: true, ..rec }.sealed();
                self.send(
                    relay,
                    task,
                    Command::End {
                        name,
                        nonce,
                        record,
                    },
                );
            }
            Step::ComeBack => {
                self.relays[relay]
                    .flight
                    .as_mut()
                    .unwrap()
                    .waits_for_comeback = true;
                self.come_back(relay);
            }
            Step::Wait(time) => self.after(time, Event::Wake(relay, incarnation, id)),
            Step::Give(outcome, entry) => {
                self.relays[relay].flight = None;
                if let (Outcome::Refused(true), Some(rec)) = (outcome, know)
                    && Some(rec.mark()) == own
                {
                    self.relays[relay].adopt(Rec { ended: true, ..rec });
                }
                if let Some(nonce) = entry {
                    self.send(relay, Task::Nobody, Command::Clear { name, nonce });
                }
            }
        }
    }

    fn flight_answer(&mut self, relay: usize, answer: Option<&Answer>) {
        let (nonce, jitter, now) = (self.nonce(), self.random.fraction(), self.now);
        let Some(flight) = &mut self.relays[relay].flight else {
            return;
        };
        flight.asking = None;
        match answer {
            Some(Answer::Found { record, .. }) => flight.found = record.clone(),
            Some(Answer::Greater(record)) => flight.found = Some(record.clone()),
            _ => {}
        }
        let step = flight.machine.on_answer(answer, nonce, jitter, now);
        self.step(relay, step);
    }

    fn adopt_found(&mut self, relay: usize) {
        let nonce = self.nonce();
        let (now, life) = (self.now, self.life);
        let it = &mut self.relays[relay];
        let found = it.flight.as_mut().and_then(|flight| flight.found.take());
        if let Some(found) = found {
            adopt(it, Rec::of(&found), self.mistake);
        }
        let own = it.know.map(|know| (know.mark(), it.standing(now, life)));
        let Some(flight) = &mut it.flight else { return };
        let step = flight.machine.on_adopted(own, nonce);
        self.step(relay, step);
    }

    fn woken(&mut self, relay: usize) {
        let Some(flight) = &mut self.relays[relay].flight else {
            return;
        };
        let step = flight.machine.on_woken();
        self.step(relay, step);
    }

    fn asked(&mut self, relay: usize, asked: Asked) {
        let Some(flight) = &mut self.relays[relay].flight else {
            return;
        };
        flight.redeems = None;
        let step = flight.machine.on_asked(asked);
        self.step(relay, step);
    }

    // ---- the identity provider

    fn ask(&mut self, relay: usize, incarnation: u64, flight: u64) {
        if !self.is_flying(relay, incarnation, flight) {
            return;
        }
        let Some(rec) = self.relays[relay]
            .flight
            .as_ref()
            .and_then(|flight| flight.redeems)
        else {
            return;
        };
        let there = self.random.time(5, self.latency);
        self.after(there, Event::Asked(relay, incarnation, flight, rec.what));
        self.after(REQUEST, Event::GaveUp(relay, incarnation, flight));
    }

    fn provide(&mut self, relay: usize, incarnation: u64, flight: u64, what: What) {
        let What::Token { family, number, .. } = what else {
            return;
        };
        // A request that arrives after its relay has crashed is not promised: it ends with it.
        if self.relays[relay].incarnation != incarnation {
            return;
        }
        // a: nothing that is good once is redeemed again while anybody has what came of it.
        if self.is_one_use() && number < self.families[family].newest && self.is_held(family) {
            self.break_(format!("a: {what:?} was redeemed again by r{relay}"));
        }
        let it = &mut self.families[family];
        let good = !it.revoked && (number == it.newest || self.provider == Kind::Tolerates);
        let result = if good {
            it.newest += 1;
            it.gone = false;
            Ok(it.newest)
        } else {
            it.revoked |= self.provider == Kind::Revokes;
            Err(())
        };
        if self.lose_answers > 0 {
            self.lose_answers -= 1;
            self.account();
            return;
        }
        let back = self.random.time(5, self.latency);
        let told = Event::Told(relay, incarnation, flight, result, self.now);
        self.after(back, told);
    }

    fn on_told(
        &mut self,
        relay: usize,
        incarnation: u64,
        flight: u64,
        result: Result<u64, ()>,
        issued: Duration,
    ) {
        if !self.is_flying(relay, incarnation, flight) {
            return self.account();
        }
        let it = &mut self.relays[relay];
        let flight = it.flight.as_mut().unwrap();
        let Some(rec) = flight.redeems else {
            return self.account();
        };
        let Ok(number) = result else {
            return self.asked(relay, Asked::Invalid);
        };
        let What::Token { family, .. } = rec.what else {
            return;
        };
        let issued = u64::try_from(issued.as_millis()).unwrap();
        let new = Rec {
            number: rec.number.redeemed(),
            ended: false,
            what: What::Token {
                family,
                number,
                issued,
            },
        };
        let entry = flight.machine.entered();
        let entry = entry.map(|nonce| (rec.number, nonce));
        if it.know.is_none_or(|know| new.number > know.number) {
            it.adopt(new);
        }
        it.owed.push(Owed { rec: new, entry });
        self.asked(relay, Asked::Token);
        self.put_owed(relay);
    }

    fn put_owed(&mut self, relay: usize) {
        let it = &self.relays[relay];
        let waits = it.pending.iter().any(|(_, task)| *task == Task::Owed);
        let Some(owed) = it.owed.first().copied() else {
            return;
        };
        if waits || !it.up {
            return;
        }
        if it.epoch.is_none() {
            self.come_back(relay);
            let incarnation = self.relays[relay].incarnation;
            return self.after(ms(300), Event::PutAgain(relay, incarnation));
        }
        let put = Command::Put {
            name: NAME.into(),
            record: owed.rec.sealed(),
        };
        self.send(relay, Task::Owed, put);
    }

    fn owed_answer(&mut self, relay: usize, answer: Option<&Answer>) {
        let incarnation = self.relays[relay].incarnation;
        match answer {
            Some(Answer::Done) => {
                self.relays[relay].owed.remove(0);
                self.put_owed(relay);
            }
            Some(Answer::Greater(greater)) => {
                let it = &mut self.relays[relay];
                it.owed.remove(0);
                adopt(it, Rec::of(greater), self.mistake);
                self.put_owed(relay);
            }
            _ => self.after(ms(300), Event::PutAgain(relay, incarnation)),
        }
        self.account();
    }

    // ---- beats and comebacks

    fn on_beat(&mut self, relay: usize) {
        self.after(BEAT, Event::Beat(relay));
        let it = &self.relays[relay];
        if !it.up || it.comeback.is_some() {
            return;
        }
        if it.epoch.is_none() {
            return self.come_back(relay);
        }
        self.send(relay, Task::Beat, Command::Beat);
        self.hold(relay, Task::Nobody);
    }

    fn hold(&mut self, relay: usize, task: Task) {
        let messages = self.relays[relay]
            .in_flight
            .iter()
            .map(|message| message.id)
            .collect();
        let hold = Command::Hold {
            mailbox: "m".into(),
            messages,
        };
        self.send(relay, task, hold);
    }

    fn beat_answer(&mut self, relay: usize, answer: Option<&Answer>) {
        match answer {
            Some(Answer::Roster { ages, .. }) => {
                let now = self.now;
                let it = &mut self.relays[relay];
                it.roster = Roster::from_ages(ages, now);
                if it.comeback.is_none() && it.epoch.is_some() {
                    let comparing = Comeback::comparing(vec![NAME.into()]);
                    let next = comparing.first();
                    it.comeback = Some(comparing);
                    self.comeback_step(relay, next);
                }
            }
            Some(Answer::Lost) => self.come_back(relay),
            _ => {}
        }
    }

    fn come_back(&mut self, relay: usize) {
        if self.relays[relay].comeback.is_some() {
            return;
        }
        let comeback = Comeback::new(vec![NAME.into()]);
        let next = comeback.first();
        self.relays[relay].comeback = Some(comeback);
        self.comeback_step(relay, next);
    }

    fn comeback_step(&mut self, relay: usize, next: Next) {
        let now = self.now;
        let ages = self.relays[relay].roster.ages(now);
        let know = self.relays[relay].know;
        let one_use = self.is_one_use();
        match next {
            Next::Mark => {
                self.epochs += 1;
                let epoch = format!("e{}", self.epochs).into();
                let roster = ages;
                self.send(relay, Task::Comeback, Command::Mark { epoch, roster });
            }
            Next::Get(name) => self.send(relay, Task::Comeback, Command::Get { name }),
            Next::Put(name) => match know {
                Some(know) => {
                    let record = know.sealed();
                    self.send(relay, Task::Comeback, Command::Put { name, record });
                }
                None => self.comeback_answer(relay, None),
            },
            Next::Adopt(_) => {
                let it = &mut self.relays[relay];
                if let Some(found) = it.comeback_found.take() {
                    adopt(it, Rec::of(&found), self.mistake);
                }
                let Some(mut comeback) = it.comeback.take() else {
                    return;
                };
                let next = comeback.on_adopted(it, &it.id);
                it.comeback = Some(comeback);
                self.comeback_step(relay, next);
            }
            Next::Clear(name, nonce) => {
                self.send(relay, Task::Comeback, Command::Clear { name, nonce });
            }
            Next::Enter(name, number, nonce) => {
                if self.mistake == Mistake::EnterAgain {
                    return self.comeback_answer(relay, Some(&Answer::Moved));
                }
                let enter = Command::Enter {
                    name,
                    number,
                    nonce,
                    one_use,
                };
                self.send(relay, Task::Comeback, enter);
            }
            Next::Hold => self.hold(relay, Task::Comeback),
            Next::Back => {
                let back = Command::Back { roster: ages };
                self.send(relay, Task::Comeback, back);
            }
            Next::Over(good) => self.comeback_over(relay, good),
        }
    }

    fn comeback_answer(&mut self, relay: usize, answer: Option<&Answer>) {
        let now = self.now;
        let it = &mut self.relays[relay];
        match answer {
            Some(Answer::Roster { ages, .. }) => it.roster = Roster::from_ages(ages, now),
            Some(Answer::Found { record, .. }) => it.comeback_found = record.clone(),
            Some(Answer::Greater(record)) => it.comeback_found = Some(record.clone()),
            _ => {}
        }
        let Some(mut comeback) = it.comeback.take() else {
            return;
        };
        let next = comeback.on_answer(answer, it, &it.id);
        it.comeback = Some(comeback);
        self.comeback_step(relay, next);
    }

    fn comeback_over(&mut self, relay: usize, good: bool) {
        let it = &mut self.relays[relay];
        let Some(comeback) = it.comeback.take() else {
            return;
        };
        if let (true, Some(epoch)) = (good, comeback.epoch()) {
            it.epoch = Some(epoch.clone());
        }
        let waits = it
            .flight
            .as_mut()
            .is_some_and(|flight| std::mem::take(&mut flight.waits_for_comeback));
        if waits {
            self.woken(relay);
        }
    }

    // ---- messages of a mailbox

    fn on_send(&mut self, relay: usize) {
        let next = self.random.time(200, 3_000);
        if self.now < BUSY {
            self.after(next, Event::Send(relay));
        }
        let it = &self.relays[relay];
        let waits = it
            .pending
            .iter()
            .any(|(_, task)| matches!(task, Task::Message(_)));
        if !it.up || waits {
            return;
        }
        if it.epoch.is_none() && !it.cut {
            // Not back yet: none begins before it is, or the store counts as away.
            return;
        }
        let relays = it.roster.len(self.now);
        let own = it.in_flight.iter().map(|message| message.id).collect();
        let message = self.nonce();
        let acquire = Command::Acquire {
            mailbox: "m".into(),
            message,
            own,
            limit: LIMIT,
            per_minute: 1_000,
            share: share(LIMIT, relays),
        };
        self.send(relay, Task::Message(message), acquire);
    }

    fn message_answer(&mut self, relay: usize, id: u64, answer: Option<&Answer>) {
        let now = self.now;
        let it = &self.relays[relay];
        let own = it.in_flight.len();
        let may = match answer {
            Some(Answer::Done) => true,
            None => own < share(LIMIT, it.roster.len(now)),
            Some(_) => false,
        };
        if !may {
            return;
        }
        let incarnation = it.incarnation;
        self.relays[relay]
            .in_flight
            .push(Message { id, began: now });
        self.check_in_flight();
        let time = self.random.time(500, 20_000);
        self.after(time, Event::Sent(relay, incarnation, id));
    }

    /// g: the bounds of messages in flight.
    fn check_in_flight(&mut self) {
        let now = self.now;
        let excused = |relay: &Relay, message: &Message| {
            let is_troubled =
                relay.cut || relay.asleep_until > now || relay.troubled > message.began;
            is_troubled && message.began + LEASE < now
        };
        let count: usize = self
            .relays
            .iter()
            .map(|relay| {
                let counted = relay
                    .in_flight
                    .iter()
                    .filter(|message| !excused(relay, message));
                counted.count()
            })
            .sum();
        let relays = self.relays.len();
        // Exact limits are not promised where two masters are in use.
        let is_split = self.servers.len() > 1;
        let bound = match self.faulty {
            true if is_split => 2 * (LIMIT + (relays - 1) * share(LIMIT, relays)),
            true => LIMIT + (relays - 1) * share(LIMIT, relays),
            false => LIMIT,
        };
        if count > bound {
            self.break_(format!("g: {count} messages in flight"));
        }
    }

    fn on_sent(&mut self, relay: usize, incarnation: u64, message: u64) {
        let it = &mut self.relays[relay];
        if it.incarnation != incarnation {
            return;
        }
        it.in_flight.retain(|known| known.id != message);
        let release = Command::Release {
            mailbox: "m".into(),
            message,
        };
        self.send(relay, Task::Nobody, release);
    }

    // ---- people

    fn on_act(&mut self, relay: usize) {
        if !self.relays[relay].up {
            let later = self.random.time(500, 3_000);
            return self.after(later, Event::Act(relay));
        }
        let server = self.relays[relay].server;
        let it = &self.relays[relay];
        let stored = match it.cut {
            true => None,
            false => self.servers[server].data.records.get(NAME),
        };
        let highest = it
            .know
            .map(|know| know.number)
            .max(stored.map(|stored| stored.number));
        self.acts += 1;
        let clock = u64::try_from(self.now.as_millis()).unwrap() + 10;
        let number = match self.mistake {
            Mistake::ConsentNumber => highest.unwrap_or_default().redeemed(),
            _ => Number::of_act(clock, highest),
        };
        self.forgotten = self.random.below(2) == 0;
        self.tombstone_gone = false;
        let what = match self.forgotten {
            true => What::Tombstone { act: self.acts },
            false => {
                self.families.push(Family {
                    newest: 0,
                    revoked: false,
                    gone: false,
                    act: self.acts,
                });
                What::Token {
                    family: self.families.len() - 1,
                    number: 0,
                    issued: u64::try_from(self.now.as_millis()).unwrap(),
                }
            }
        };
        let rec = Rec {
            number,
            ended: false,
            what,
        };
        if self.forgotten && self.mistake == Mistake::Tombstone {
            let it = &mut self.relays[relay];
            (it.know, it.disk) = (None, None);
            if !it.cut {
                self.servers[server].data.records.remove(NAME);
            }
            return;
        }
        let it = &mut self.relays[relay];
        it.adopt(rec);
        it.owed.push(Owed { rec, entry: None });
        self.put_owed(relay);
    }

    // ---- faults

    fn on_fault(&mut self, fault: Fault) {
        let now = self.now;
        match fault {
            Fault::Crash(relay, time, disk) => {
                if !self.relays[relay].up {
                    return;
                }
                self.relays[relay].crash();
                self.account();
                let it = &mut self.relays[relay];
                match disk {
                    Disk::Kept => {}
                    Disk::Backup => {
                        it.disk = Some(Rec {
                            number: Number::of_act(1, None),
                            ended: false,
                            what: What::Token {
                                family: 0,
                                number: 0,
                                issued: 0,
                            },
                        });
                    }
                    Disk::Lost => {
                        // With its disk its id is gone.
                        it.disk = None;
                        it.id = format!("{}'", it.id).into();
                        it.roster = Roster::default();
                    }
                }
                self.after(time, Event::Fault(Fault::Restart(relay)));
            }
            Fault::Restart(relay) => {
                let it = &mut self.relays[relay];
                it.up = true;
                it.know = it.disk;
                it.server = self.servers.len() - 1;
                self.come_back(relay);
            }
            Fault::Sleep(relay, time) => {
                let it = &mut self.relays[relay];
                it.asleep_until = now + time;
                it.troubled = now + time;
            }
            Fault::Cut(relay) => self.relays[relay].cut = true,
            Fault::Heal(relay) => {
                let it = &mut self.relays[relay];
                it.cut = false;
                it.troubled = now;
                // A connection is made anew, and what was published meanwhile was missed.
                self.reconnect(relay);
            }
            Fault::Lost => self.lose_answers += 1,
            Fault::LateClear(time) => self.late_clear = Some(time),
            Fault::Late(relay, time) => self.relays[relay].late = Some(time),
            Fault::Flush => {
                let last = self.servers.len() - 1;
                self.servers[last].data = Data::default();
                self.snapshot = Data::default();
            }
            Fault::EmptyRestart => self.replace_server(Data::default()),
            Fault::Snapshot => self.snapshot = self.servers[self.servers.len() - 1].data.clone(),
            Fault::Failover => self.replace_server(self.snapshot.clone()),
            Fault::Split => {
                let run = format!("run-{}", self.servers.len());
                let mut new = Engine::new(&run, self.mistake);
                new.data = self.snapshot.clone();
                self.servers.push(new);
            }
            Fault::Join(relay) => {
                let last = self.servers.len() - 1;
                if self.relays[relay].server != last {
                    self.relays[relay].server = last;
                    self.reconnect(relay);
                }
            }
            Fault::Full(relay) => self.relays[relay].full = true,
            Fault::Room(relay) => {
                let it = &mut self.relays[relay];
                it.full = false;
                if it.up {
                    it.disk = it.know;
                }
            }
            Fault::Jump(by) => self.offset += by,
        }
    }

    fn replace_server(&mut self, data: Data) {
        let last = self.servers.len() - 1;
        let mut new = Engine::new(&format!("run+{}", self.sequence), self.mistake);
        new.data = data;
        self.servers[last] = new;
        for relay in 0..self.relays.len() {
            self.reconnect(relay);
        }
    }

    /// The run id is learned anew; the relay comes back once it is connected.
    fn reconnect(&mut self, relay: usize) {
        if self.mistake == Mistake::Marker || !self.relays[relay].up {
            return;
        }
        self.relays[relay].epoch = None;
        let incarnation = self.relays[relay].incarnation;
        self.after(RECONNECT, Event::PutAgain(relay, incarnation));
    }

    /// Whether somebody has the newest token of a family: in memory, on disk, in a store, on the way.
    fn is_held(&self, family: usize) -> bool {
        let newest = self.families[family].newest;
        self.has(|what| {
            matches!(what, What::Token { family: f, number, .. } if f == family && number == newest)
        }) || self.queue.iter().any(|Reverse(At(_, _, event))| match event {
            Event::Told(relay, incarnation, flight, Ok(number), _) => {
                let it = &self.relays[*relay];
                let of_family = it.flight.as_ref().is_some_and(|known| {
                    known.id == *flight
                        && known.redeems.is_some_and(|rec| {
                            matches!(rec.what, What::Token { family: f, .. } if f == family)
                        })
                });
                it.incarnation == *incarnation && of_family && *number == newest
            }
            _ => false,
        })
    }

    fn has(&self, is_it: impl Fn(What) -> bool) -> bool {
        let rec = |rec: &Option<Rec>| rec.is_some_and(|rec| is_it(rec.what));
        let sealed =
            |sealed: &authrelay::cluster::command::Sealed| is_it(What::parse(&sealed.text));
        let in_use = |server: usize| self.relays.iter().any(|relay| relay.server == server);
        let last = self.servers.len() - 1;
        self.relays.iter().any(|relay| {
            rec(&relay.disk)
                || (relay.up
                    && (rec(&relay.know) || relay.owed.iter().any(|owed| is_it(owed.rec.what))))
        }) || (0..self.servers.len())
            .filter(|server| *server == last || in_use(*server))
            .any(|server| self.servers[server].data.records.values().any(sealed))
            || self
                .queue
                .iter()
                .any(|Reverse(At(_, _, event))| match event {
                    Event::Arrive(_, _, _, _, _, command) => match &**command {
                        Command::Put { record, .. } => sealed(record),
                        _ => false,
                    },
                    _ => false,
                })
    }

    /// After a fault: what is nowhere now is nobody's mistake.
    fn account(&mut self) {
        for family in 0..self.families.len() {
            if !self.is_held(family) {
                self.families[family].gone = true;
            }
        }
        let acts = self.acts;
        if self.forgotten
            && !self.has(|what| matches!(what, What::Tombstone { act } if act == acts))
        {
            self.tombstone_gone = self.mistake != Mistake::Tombstone;
        }
    }

    // ---- the end

    fn check_quiet(&self) -> Result<(), String> {
        let store = &self.servers[self.servers.len() - 1];
        let stored = store.data.records.get(NAME).map(Rec::of);
        let best = |relay: &Relay| match (relay.know, stored) {
            (Some(know), Some(stored)) if stored.number > know.number => Some(stored),
            (None, stored) => stored,
            (know, _) => know,
        };
        // d: the last act of a person stays.
        let by_gone = |act: u64| self.families.iter().any(|it| it.act == act && it.gone);
        if !(self.forgotten && self.tombstone_gone) {
            for relay in &self.relays {
                let stays = best(relay).is_none_or(|best| match best.what {
                    What::Tombstone { act } => {
                        (self.forgotten && act == self.acts) || by_gone(self.acts)
                    }
                    What::Token { family, .. } => {
                        let it = &self.families[family];
                        !self.forgotten && (it.act == self.acts || by_gone(self.acts))
                    }
                });
                if !stays {
                    return Err(format!("d: {} has {:?}", relay.id, best(relay)));
                }
            }
        }
        // b: a token once written stays usable by all.
        let last = self.families.iter().position(|it| it.act == self.acts);
        if let (false, Some(last)) = (self.forgotten, last)
            && !(self.families[last].gone && self.is_one_use())
        {
            for relay in &self.relays {
                let usable = best(relay).is_some_and(|best| match best.what {
                    What::Token { family, number, .. } if family == last => {
                        let it = &self.families[family];
                        let live = !it.revoked && (!self.is_one_use() || number == it.newest);
                        live && !best.ended
                    }
                    What::Token { .. } => true,
                    What::Tombstone { .. } => false,
                });
                if !usable {
                    return Err(format!("b: {} has {:?}", relay.id, best(relay)));
                }
            }
        }
        // e: a number has one truth.
        let all = self
            .relays
            .iter()
            .filter_map(|relay| relay.know)
            .chain(stored);
        let all: Vec<Rec> = all.collect();
        for one in &all {
            for other in &all {
                if one.number == other.number && !one.what.is_same(other.what) {
                    return Err(format!("e: {one:?} and {other:?}"));
                }
            }
        }
        Ok(())
    }
}

/// The greater number is adopted, of equal ones the store's.
fn adopt(relay: &mut Relay, rec: Rec, mistake: Mistake) {
    let is_truth = relay.know.is_none_or(|know| rec.number >= know.number);
    if is_truth || mistake == Mistake::GreaterWins {
        relay.adopt(rec);
    }
}

fn relay_of(event: &Event) -> Option<usize> {
    match event {
        Event::Need(relay)
        | Event::Beat(relay)
        | Event::Answered(relay, ..)
        | Event::Timeout(relay, ..)
        | Event::Wake(relay, ..)
        | Event::Ask(relay, ..)
        | Event::Told(relay, ..)
        | Event::GaveUp(relay, ..)
        | Event::PutAgain(relay, _)
        | Event::Send(relay)
        | Event::Sent(relay, ..)
        | Event::Act(relay) => Some(*relay),
        Event::Arrive(..) | Event::Asked(..) | Event::Fault(_) => None,
    }
}
