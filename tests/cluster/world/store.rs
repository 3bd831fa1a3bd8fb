//! The store: commands on their way, what they change, and what is published.

use super::*;

impl World {
    pub(super) fn store_now(&self) -> Duration {
        let at = i64::try_from(self.now.as_millis()).unwrap() + 1_000_000 + self.offset;
        ms(u64::try_from(at).unwrap())
    }

    pub(super) fn send(&mut self, relay: usize, task: Task, command: Command) {
        self.sequence += 1;
        let op = self.sequence;
        let it = &mut self.relays[relay];
        it.pending.push((op, task, self.now));
        let incarnation = it.incarnation;
        let epoch = match (task, &it.rejoin) {
            (Task::Rejoin, Some(rejoin)) => rejoin.epoch().cloned().or_else(|| it.epoch.clone()),
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

    pub(super) fn on_arrive(
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
    pub(super) fn publish(&mut self, server: usize, rec: Option<Rec>, by: usize) {
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

    pub(super) fn publish_relay(&mut self, server: usize, id: &Arc<str>) {
        let now = self.now;
        for it in &mut self.relays {
            let hears = it.up && !it.cut && it.server == server && it.asleep_until <= now;
            if hears && it.id != *id {
                it.roster.on_joined(id.clone(), &it.id, now);
            }
        }
    }

    /// f: the older never replaces the newer.
    pub(super) fn check_order(&mut self, before: Rec, after: Rec) {
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
    pub(super) fn check_end(
        &mut self,
        rec: &Rec,
        server: usize,
        context: &Context,
        command: &Command,
    ) {
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

    pub(super) fn on_answer(
        &mut self,
        relay: usize,
        incarnation: u64,
        op: u64,
        answer: Option<Answer>,
    ) {
        let it = &mut self.relays[relay];
        if it.incarnation != incarnation || !it.up {
            return;
        }
        let Some(at) = it.pending.iter().position(|(known, ..)| *known == op) else {
            return;
        };
        let (_, task, asked) = it.pending.swap_remove(at);
        if answer == Some(Answer::Lost) && task != Task::Rejoin {
            it.epoch = None;
        }
        match task {
            Task::Flight(flight) => {
                if self.is_flying(relay, incarnation, flight) {
                    self.flight_answer(relay, answer.as_ref());
                }
            }
            Task::Rejoin => self.rejoin_answer(relay, asked, answer.as_ref()),
            Task::Beat => self.beat_answer(relay, asked, answer.as_ref()),
            Task::Owed => self.owed_answer(relay, answer.as_ref()),
            Task::Message(message) => self.message_answer(relay, message, answer.as_ref()),
            Task::Nobody => {}
        }
    }
}
