//! A redemption, driven step by step.

use super::*;

impl World {
    pub(super) fn is_one_use(&self) -> bool {
        self.provider != Kind::Tolerates
    }

    pub(super) fn is_flying(&self, relay: usize, incarnation: u64, flight: u64) -> bool {
        let it = &self.relays[relay];
        let same = it.flight.as_ref().is_some_and(|known| known.id == flight);
        it.incarnation == incarnation && it.up && same
    }

    pub(super) fn on_need(&mut self, relay: usize) {
        let next = self.random.time(500, 4_000);
        if self.now < BUSY {
            self.after(next, Event::Need(relay));
        }
        let usability = self.relays[relay].usability(self.now, self.life);
        let it = &self.relays[relay];
        let wants = usability == authrelay::cluster::redemption::Usability::Redeemable;
        // What is still to be put is not redeemed before, unless the store is away.
        let owes = !it.owed.is_empty() && (self.is_one_use() || !it.cut);
        if !it.up || it.flight.is_some() || !wants || owes {
            return;
        }
        let own = it.know.map(Rec::mark);
        let (machine, step) = Redemption::new(self.is_one_use(), own, usability, REQUEST, self.now);
        self.sequence += 1;
        self.relays[relay].flight = Some(Flight {
            id: self.sequence,
            machine,
            asking: None,
            found: None,
            redeems: None,
            waits_for_rejoin: false,
        });
        self.step(relay, step);
    }

    pub(super) fn nonce(&mut self) -> u64 {
        self.nonces += 1;
        self.nonces
    }

    pub(super) fn step(&mut self, relay: usize, step: Step) {
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
            Step::Rejoin => {
                self.relays[relay].flight.as_mut().unwrap().waits_for_rejoin = true;
                self.rejoin(relay);
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

    pub(super) fn flight_answer(&mut self, relay: usize, answer: Option<&Answer>) {
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

    pub(super) fn adopt_found(&mut self, relay: usize) {
        let nonce = self.nonce();
        let (now, life) = (self.now, self.life);
        let it = &mut self.relays[relay];
        let found = it.flight.as_mut().and_then(|flight| flight.found.take());
        if let Some(found) = found {
            adopt(it, Rec::of(&found), self.mistake);
        }
        let own = it.know.map(|know| (know.mark(), it.usability(now, life)));
        let Some(flight) = &mut it.flight else { return };
        let step = flight.machine.on_adopted(own, nonce);
        self.step(relay, step);
    }

    pub(super) fn woken(&mut self, relay: usize) {
        let Some(flight) = &mut self.relays[relay].flight else {
            return;
        };
        let step = flight.machine.on_woken();
        self.step(relay, step);
    }

    pub(super) fn asked(&mut self, relay: usize, asked: Asked) {
        let Some(flight) = &mut self.relays[relay].flight else {
            return;
        };
        flight.redeems = None;
        let step = flight.machine.on_asked(asked);
        self.step(relay, step);
    }
}
