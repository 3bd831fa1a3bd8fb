//! The shared store's scripts in Rust: what the simulation runs on, and what Redis is compared with.
//! Nothing of the product: a second statement of the table in `cluster::command`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use authrelay::cluster::command::{
    Ages, Answer, Command, Context, Entry, GONE, JUMP, LEASE, Nonce, Sealed,
};
use authrelay::cluster::number::Number;

/// What is left out of the design, to see the simulation find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// Nobody is entered: everybody may redeem.
    Entry,
    /// An entry is removed by its relay, whatever the nonce.
    Nonce,
    /// What was put last is stored, and adopted.
    GreaterWins,
    /// An act of a person raises the generation.
    ConsentNumber,
    /// A loss of the store is not noticed.
    Marker,
    /// Nothing waits for the other relays after a loss.
    Settling,
    /// Who comes back in mid-redemption does not enter again.
    EnterAgain,
    /// `forget` deletes.
    Tombstone,
    /// Who stops leaves in the middle of a redemption.
    Leave,
}

/// The clock may be set back by so much without a loss: NTP does.
const SLEW: Duration = Duration::from_secs(1);

/// Messages of relays, and a time of each.
type Places = BTreeMap<(Arc<str>, u64), Duration>;

/// A server with its data.
#[derive(Debug, Clone)]
pub struct Engine {
    pub run: Arc<str>,
    pub mistake: Mistake,
    pub data: Data,
}

/// What a replica copies, and what FLUSHALL deletes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Data {
    marker: Option<(Arc<str>, Arc<str>)>,
    since: Duration,
    beat: Duration,
    roster: BTreeMap<Arc<str>, Duration>,
    back: BTreeSet<Arc<str>>,
    pub records: BTreeMap<Arc<str>, Sealed>,
    entries: BTreeMap<Arc<str>, Entered>,
    messages: BTreeMap<Arc<str>, Places>,
    begun: BTreeMap<Arc<str>, Places>,
    values: BTreeMap<Arc<str>, (Arc<str>, Duration)>,
    counts: BTreeMap<Arc<str>, (u32, Duration, Duration)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entered {
    entry: Entry,
    until: Duration,
    one_use: bool,
}

impl Engine {
    pub fn new(run: &str, mistake: Mistake) -> Self {
        Self {
            run: run.into(),
            mistake,
            data: Data::default(),
        }
    }

    fn is_lost(&self, context: &Context, now: Duration) -> bool {
        if self.mistake == Mistake::Marker {
            return false;
        }
        let marker = (context.run.clone(), context.epoch.clone());
        self.data.marker.as_ref() != Some(&marker) || self.has_jumped(now)
    }

    fn has_jumped(&self, now: Duration) -> bool {
        now + SLEW < self.data.beat || now > self.data.beat + JUMP
    }

    /// Executes a command at the server's time.
    pub fn execute(&mut self, context: &Context, command: &Command, now: Duration) -> Answer {
        if let Command::Mark { epoch, roster } = command {
            return self.mark(context, epoch, roster, now);
        }
        if *command == Command::Epoch {
            return match &self.data.marker {
                Some((run, epoch)) if *run == context.run && !self.has_jumped(now) => {
                    let epoch = epoch.clone();
                    Answer::Marked { epoch }
                }
                _ => Answer::Lost,
            };
        }
        if self.is_lost(context, now) {
            return Answer::Lost;
        }
        match command {
            Command::Mark { .. } | Command::Epoch => Answer::Lost,
            Command::Back { roster } => {
                for (id, age) in roster {
                    let heard = now.saturating_sub(*age);
                    self.data.roster.entry(id.clone()).or_insert(heard);
                }
                self.data.roster.insert(context.relay.clone(), now);
                self.data.back.insert(context.relay.clone());
                self.roster(now)
            }
            Command::Beat => {
                if self.data.back.contains(&context.relay) {
                    self.data.roster.insert(context.relay.clone(), now);
                }
                self.data.beat = self.data.beat.max(now);
                self.roster(now)
            }
            Command::Leave => {
                self.data.roster.remove(&context.relay);
                self.data.back.remove(&context.relay);
                Answer::Done
            }
            _ => self.on_record(context, command, now),
        }
    }

    fn roster(&mut self, now: Duration) -> Answer {
        self.data.roster.retain(|_, heard| *heard + GONE > now);
        let age = |(id, heard): (&Arc<str>, &Duration)| (id.clone(), now.saturating_sub(*heard));
        Answer::Roster {
            ages: self.data.roster.iter().map(age).collect(),
            settled: self.is_settled(now),
        }
    }

    fn mark(
        &mut self,
        context: &Context,
        epoch: &Arc<str>,
        roster: &Ages,
        now: Duration,
    ) -> Answer {
        let data = &mut self.data;
        let jumped = now + SLEW < data.beat || now > data.beat + JUMP;
        if let Some((run, epoch)) = &data.marker
            && ((*run == context.run && !jumped) || self.mistake == Mistake::Marker)
        {
            let epoch = epoch.clone();
            return Answer::Marked { epoch };
        }
        data.marker = Some((context.run.clone(), epoch.clone()));
        data.since = now;
        data.beat = now;
        data.back.clear();
        // Times of before mean nothing any more.
        data.roster.values_mut().for_each(|heard| *heard = now);
        for (id, age) in roster {
            let heard = now.saturating_sub(*age);
            let known = data.roster.entry(id.clone()).or_insert(heard);
            *known = heard;
        }
        data.messages.clear();
        data.begun.clear();
        Answer::Marked {
            epoch: epoch.clone(),
        }
    }

    fn is_settled(&self, now: Duration) -> bool {
        let data = &self.data;
        let is_back =
            |(id, heard): (&Arc<str>, &Duration)| data.back.contains(id) || *heard + GONE <= now;
        self.mistake == Mistake::Settling || data.roster.iter().all(is_back)
    }

    /// Whether an entry keeps others out.
    fn holds(&self, entered: &Entered, now: Duration) -> bool {
        let is_gone = || {
            let heard = self.data.roster.get(&entered.entry.relay);
            heard.is_none_or(|heard| *heard + GONE <= now)
        };
        match entered.one_use {
            true => !is_gone(),
            false => entered.until > now,
        }
    }

    fn on_record(&mut self, context: &Context, command: &Command, now: Duration) -> Answer {
        match command {
            Command::Get { name } => Answer::Found {
                record: self.data.records.get(name).cloned(),
                entry: self.entry(name, now),
            },
            Command::Names => {
                let lasts = |(_, record): &(&Arc<str>, &Sealed)| record.life.is_none();
                let all = self.data.records.iter().filter(lasts);
                Answer::Names(all.map(|(name, _)| name.clone()).collect())
            }
            Command::Put { name, record } => {
                let stored = self.data.records.get(name);
                match stored {
                    Some(stored)
                        if self.mistake != Mistake::GreaterWins
                            && stored.number >= record.number =>
                    {
                        match stored.number == record.number && stored.text == record.text {
                            true => Answer::Done,
                            false => Answer::Greater(stored.clone()),
                        }
                    }
                    _ => {
                        self.data.records.insert(name.clone(), record.clone());
                        self.data.entries.remove(name);
                        Answer::Done
                    }
                }
            }
            Command::Begin {
                name,
                number,
                nonce,
                one_use,
            } => self.begin(context, name, *number, (*nonce, *one_use), now),
            Command::Enter {
                name,
                number,
                nonce,
                one_use,
            } => match self.is_stored(name, *number) {
                true => self.enter(context, name, (*nonce, *one_use), now),
                false => Answer::Moved,
            },
            Command::Renew { name, nonce } => match self.data.entries.get_mut(name) {
                Some(entered) if entered.entry.nonce == *nonce => {
                    entered.until = now + LEASE;
                    Answer::Done
                }
                _ => Answer::Moved,
            },
            Command::Clear { name, nonce } => {
                let is_own = |entered: &Entered| {
                    entered.entry.nonce == *nonce
                        || (self.mistake == Mistake::Nonce && entered.entry.relay == context.relay)
                };
                if self.data.entries.get(name).is_some_and(is_own) {
                    self.data.entries.remove(name);
                }
                Answer::Done
            }
            Command::End {
                name,
                nonce,
                record,
            } => {
                let entry = self.data.entries.get(name);
                let is_own = entry.is_some_and(|entered| entered.entry.nonce == *nonce);
                let is_own = is_own || self.mistake == Mistake::Entry;
                if !is_own || !self.is_stored(name, record.number) {
                    return Answer::Moved;
                }
                let life = self.data.records.get(name).and_then(|stored| stored.life);
                let ended = Sealed {
                    life,
                    ..record.clone()
                };
                self.data.records.insert(name.clone(), ended);
                self.data.entries.remove(name);
                Answer::Done
            }
            _ => self.on_limit(context, command, now),
        }
    }

    fn entry(&self, name: &Arc<str>, now: Duration) -> Option<Entry> {
        let entered = self.data.entries.get(name)?;
        self.holds(entered, now).then(|| entered.entry.clone())
    }

    fn is_stored(&self, name: &Arc<str>, number: Number) -> bool {
        match self.data.records.get(name) {
            Some(stored) => stored.number == number && !stored.ended,
            // A token of an application's own may be the first.
            None => number == Number::default(),
        }
    }

    fn begin(
        &mut self,
        context: &Context,
        name: &Arc<str>,
        number: Number,
        entry: (Nonce, bool),
        now: Duration,
    ) -> Answer {
        if self.mistake == Mistake::Entry {
            return Answer::Done;
        }
        if !self.is_stored(name, number) {
            return Answer::Moved;
        }
        if entry.1 && !self.is_settled(now) {
            return Answer::Settling;
        }
        match self.data.entries.get(name) {
            Some(entered) if self.holds(entered, now) => Answer::Held,
            _ => self.enter(context, name, entry, now),
        }
    }

    fn enter(
        &mut self,
        context: &Context,
        name: &Arc<str>,
        (nonce, one_use): (Nonce, bool),
        now: Duration,
    ) -> Answer {
        let entered = Entered {
            entry: Entry {
                relay: context.relay.clone(),
                nonce,
            },
            until: now + LEASE,
            one_use,
        };
        self.data.entries.insert(name.clone(), entered);
        Answer::Done
    }

    fn on_limit(&mut self, context: &Context, command: &Command, now: Duration) -> Answer {
        let settles = now < self.data.since + LEASE && !self.is_settled(now);
        match command {
            Command::Acquire {
                mailbox,
                message,
                own,
                limit,
                share,
                per_minute,
            } => {
                let places = self.data.messages.entry(mailbox.clone()).or_default();
                places.retain(|_, until| *until > now);
                for message in own {
                    places.insert((context.relay.clone(), *message), now + LEASE);
                }
                let fits = match settles {
                    true => own.len() < *share,
                    false => places.len() < *limit,
                };
                if !fits {
                    return Answer::Held;
                }
                if let Some(wait) = self.pace(context, mailbox, *message, *per_minute, now) {
                    return Answer::Wait(wait);
                }
                let places = self.data.messages.entry(mailbox.clone()).or_default();
                places.insert((context.relay.clone(), *message), now + LEASE);
                Answer::Done
            }
            Command::Hold { mailbox, messages } => {
                let places = self.data.messages.entry(mailbox.clone()).or_default();
                for message in messages {
                    places.insert((context.relay.clone(), *message), now + LEASE);
                }
                Answer::Done
            }
            Command::Release { mailbox, message } => {
                if let Some(places) = self.data.messages.get_mut(mailbox) {
                    places.remove(&(context.relay.clone(), *message));
                }
                Answer::Done
            }
            Command::Pace {
                mailbox,
                message,
                per_minute,
            } => match self.pace(context, mailbox, *message, *per_minute, now) {
                Some(wait) => Answer::Wait(wait),
                None => Answer::Done,
            },
            Command::Keep {
                name, value, life, ..
            } => {
                let until = now + *life;
                let known = self.data.values.get(name).filter(|(_, until)| *until > now);
                if known.is_none_or(|(_, known)| *known < until) {
                    self.data
                        .values
                        .insert(name.clone(), (value.clone(), until));
                }
                Answer::Done
            }
            Command::Recall => Answer::Values(Vec::new()),
            Command::Look { name } => self.value(name, now),
            Command::Take { name } => {
                let value = self.value(name, now);
                self.data.values.remove(name);
                value
            }
            Command::Count { name, policy } => {
                let count = self.data.counts.entry(name.clone()).or_default();
                if count.1 <= now {
                    count.0 = 0;
                }
                if let Some((window, ..)) = policy {
                    count.0 += 1;
                    count.1 = now + *window;
                }
                let failures = count.0;
                if let Some((_, most, lock)) = policy
                    && count.0 >= *most
                {
                    count.0 = 0;
                    count.2 = now + *lock;
                }
                Answer::Counted {
                    failures,
                    locked: count.2.saturating_sub(now),
                }
            }
            Command::Uncount { name } => {
                self.data.counts.remove(name);
                Answer::Counted {
                    failures: 0,
                    locked: Duration::ZERO,
                }
            }
            _ => Answer::Done,
        }
    }

    /// `None`: the message begins within the minute; else how long it has to wait.
    fn pace(
        &mut self,
        context: &Context,
        mailbox: &Arc<str>,
        message: u64,
        per_minute: usize,
        now: Duration,
    ) -> Option<Duration> {
        const MINUTE: Duration = Duration::from_secs(60);
        let begun = self.data.begun.entry(mailbox.clone()).or_default();
        begun.retain(|_, at| *at + MINUTE > now);
        if begun.len() < per_minute {
            begun.insert((context.relay.clone(), message), now);
            return None;
        }
        let mut times: Vec<_> = begun.values().copied().collect();
        times.sort();
        let free = times.len().saturating_sub(per_minute.max(1));
        let at = times.get(free).copied().unwrap_or(now);
        Some((at + MINUTE).saturating_sub(now))
    }

    fn value(&self, name: &Arc<str>, now: Duration) -> Answer {
        match self.data.values.get(name).filter(|(_, until)| *until > now) {
            Some((value, until)) => Answer::Value(Some(value.clone()), until.saturating_sub(now)),
            None => Answer::Value(None, Duration::ZERO),
        }
    }
}
