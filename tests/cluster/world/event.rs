//! Events in the order of their times, and random numbers from a seed.

use super::*;

#[derive(Debug)]
pub(super) enum Event {
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
pub(super) enum Fault {
    Crash(usize, Duration, Disk),
    Restart(usize),
    /// Is asked to stop, and starts again after this.
    Stop(usize, Duration),
    /// The same, when it next has a token that the store has not.
    StopOwing(usize, Duration),
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
pub(super) enum Disk {
    Kept,
    Backup,
    Lost,
}

pub(super) struct At(pub(super) Duration, pub(super) u64, pub(super) Event);

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
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub(super) fn time(&mut self, from: u64, to: u64) -> Duration {
        ms(from + self.below(to - from))
    }

    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Relay that an event is for; a relay that sleeps gets it later.
pub(super) fn relay_of(event: &Event) -> Option<usize> {
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
