//! Relays that share a store, and which of them count.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Ages, GONE, LEASE};

/// Relays by id, with when each was last heard of on this relay's own clock; empty where this relay
/// never saw the store.
///
/// A day is added to each: some were heard of before that clock began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster(BTreeMap<Arc<str>, Duration>);

const DAY: Duration = Duration::from_secs(86_400);

impl Roster {
    /// Creates the roster from the store's answer at `now`.
    pub fn from_ages(ages: &Ages, now: Duration) -> Self {
        let heard =
            |(id, age): (&Arc<str>, &Duration)| (id.clone(), (now + DAY).saturating_sub(*age));
        Self(ages.iter().map(heard).collect())
    }

    /// Time since each relay was last heard of, without those that are gone.
    pub fn ages(&self, now: Duration) -> Ages {
        let age =
            |(id, heard): (&Arc<str>, &Duration)| (id.clone(), (now + DAY).saturating_sub(*heard));
        self.0
            .iter()
            .map(age)
            .filter(|(_, age)| *age < GONE)
            .collect()
    }

    /// Number of relays that are not gone: at least this one, 0 if it never saw the store.
    pub fn len(&self, now: Duration) -> usize {
        match self.0.is_empty() {
            true => 0,
            false => self.ages(now).len().max(1),
        }
    }

    /// Number of relays whose beats are recent.
    pub fn alive(&self, now: Duration) -> usize {
        self.ages(now).values().filter(|age| **age < LEASE).count()
    }

    /// Handles the store's answer of `now` to the question of `asked`. It replaces the roster, except for
    /// a relay that has joined since: the answer may be older than its announcement.
    pub fn on_answer(&mut self, ages: &Ages, asked: Duration, now: Duration) {
        let before = std::mem::replace(self, Self::from_ages(ages, now));
        let since = before.0.into_iter().filter(|(_, at)| *at >= asked + DAY);
        for (id, at) in since {
            let heard = self.0.entry(id).or_default();
            *heard = at.max(*heard);
        }
    }

    /// Handles the announcement of the relay `id` to `own` at `now`.
    pub fn on_joined(&mut self, id: Arc<str>, own: &Arc<str>, now: Duration) {
        if id == *own {
            // Alone it says nothing: of the others the answer of the store tells.
            return;
        }
        self.0.insert(own.clone(), now + DAY);
        self.0.insert(id, now + DAY);
    }

    /// Returns the ids of all relays.
    pub fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.keys()
    }
}

/// Computes how many messages of a mailbox a relay may have in flight while its store is unavailable
/// or settles: `relays` is the roster's length, 0 where this relay never saw the store.
pub fn share(limit: usize, relays: usize) -> usize {
    limit.checked_div(relays).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_limit_by_more_than_one_a_relay() {
        assert_eq!(share(3, 0), 1);
        assert_eq!(
            (share(3, 1), share(3, 2), share(3, 3), share(3, 9)),
            (3, 1, 1, 1)
        );
        assert_eq!((share(30, 2), share(30, 4)), (15, 7));
    }

    #[test]
    fn a_relay_that_joins_while_the_store_answers_counts() {
        let second = Duration::from_secs;
        let ages =
            |ids: &[&str]| -> Ages { ids.iter().map(|id| (Arc::from(*id), second(0))).collect() };
        let own: Arc<str> = Arc::from("a");
        let mut roster = Roster::default();
        roster.on_joined(own.clone(), &own, second(5));
        assert_eq!(roster.len(second(5)), 0);
        // b's announcement comes before the answer that does not know b.
        roster.on_joined("b".into(), &own, second(5));
        assert_eq!(roster.len(second(5)), 2);
        roster.on_answer(&ages(&["a"]), second(4), second(6));
        assert_eq!(roster.len(second(6)), 2);
        // An answer to what was asked later does not know b, because b has left.
        roster.on_answer(&ages(&["a"]), second(7), second(8));
        assert_eq!(roster.len(second(8)), 1);
    }

    #[test]
    fn who_is_silent_is_not_alive_and_at_last_gone() {
        let second = Duration::from_secs;
        let ages: Ages = [("a", 0), ("b", 29), ("c", 31), ("d", 899), ("e", 900)]
            .into_iter()
            .map(|(id, age)| (Arc::from(id), second(age)))
            .collect();
        let roster = Roster::from_ages(&ages, second(10_000));
        assert_eq!(
            (roster.len(second(10_000)), roster.alive(second(10_000))),
            (4, 2)
        );
        assert_eq!(
            (roster.len(second(10_001)), roster.alive(second(10_001))),
            (3, 1)
        );
        assert_eq!(roster.len(second(99_999)), 1);
    }
}
