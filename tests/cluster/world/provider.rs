//! The identity provider, and what is put of what it gave.

use super::*;

impl World {
    pub(super) fn ask(&mut self, relay: usize, incarnation: u64, flight: u64) {
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

    pub(super) fn provide(&mut self, relay: usize, incarnation: u64, flight: u64, what: What) {
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

    pub(super) fn on_told(
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
        if let Some(time) = self.relays[relay].stops_owing.take() {
            self.after(ms(0), Event::Fault(Fault::Stop(relay, time)));
        }
    }

    pub(super) fn put_owed(&mut self, relay: usize) {
        let it = &self.relays[relay];
        let waits = it.pending.iter().any(|(_, task, _)| *task == Task::Owed);
        let Some(owed) = it.owed.first().copied() else {
            return;
        };
        if waits || !it.up {
            return;
        }
        if it.epoch.is_none() {
            self.rejoin(relay);
            let incarnation = self.relays[relay].incarnation;
            return self.after(ms(300), Event::PutAgain(relay, incarnation));
        }
        let put = Command::Put {
            name: NAME.into(),
            record: owed.rec.sealed(),
        };
        self.send(relay, Task::Owed, put);
    }

    pub(super) fn owed_answer(&mut self, relay: usize, answer: Option<&Answer>) {
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
}
