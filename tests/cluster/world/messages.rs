//! Messages of a mailbox, and their bounds.

use super::*;

impl World {
    pub(super) fn on_send(&mut self, relay: usize) {
        let next = self.random.time(200, 3_000);
        if self.now < BUSY {
            self.after(next, Event::Send(relay));
        }
        let it = &self.relays[relay];
        let waits = it
            .pending
            .iter()
            .any(|(_, task, _)| matches!(task, Task::Message(_)));
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

    pub(super) fn message_answer(&mut self, relay: usize, id: u64, answer: Option<&Answer>) {
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
    pub(super) fn check_in_flight(&mut self) {
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
            true if self.stopped => relays * LIMIT,
            true => LIMIT + (relays - 1) * share(LIMIT, relays),
            false => LIMIT,
        };
        if count > bound {
            self.break_(format!("g: {count} messages in flight"));
        }
    }

    pub(super) fn on_sent(&mut self, relay: usize, incarnation: u64, message: u64) {
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
}
