//! People's acts, faults, and what is lost by them.

use super::*;

impl World {
    pub(super) fn on_act(&mut self, relay: usize) {
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

    pub(super) fn on_fault(&mut self, fault: Fault) {
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
            Fault::Stop(relay, time) => self.stop(relay, time),
            Fault::StopOwing(relay, time) => self.relays[relay].stops_owing = Some(time),
            Fault::Restart(relay) => {
                let it = &mut self.relays[relay];
                it.up = true;
                it.know = it.disk;
                it.server = self.servers.len() - 1;
                self.rejoin(relay);
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

    /// A relay that stops ends its redemption first, and leaves the others.
    fn stop(&mut self, relay: usize, time: Duration) {
        let it = &self.relays[relay];
        if !it.up {
            return;
        }
        let is_idle = it.flight.is_none() && it.owed.is_empty();
        if !is_idle && self.mistake != Mistake::Leave {
            return self.after(ms(20), Event::Fault(Fault::Stop(relay, time)));
        }
        if let (Some(epoch), false) = (it.epoch.clone(), it.cut) {
            let server = it.server;
            let context = Context {
                run: self.servers[server].run.clone(),
                epoch,
                relay: it.id.clone(),
            };
            let now = self.store_now();
            self.servers[server].execute(&context, &Command::Leave, now);
        }
        self.stopped = true;
        self.relays[relay].crash();
        self.account();
        self.after(time, Event::Fault(Fault::Restart(relay)));
    }

    pub(super) fn replace_server(&mut self, data: Data) {
        let last = self.servers.len() - 1;
        let mut new = Engine::new(&format!("run+{}", self.sequence), self.mistake);
        new.data = data;
        self.servers[last] = new;
        for relay in 0..self.relays.len() {
            self.reconnect(relay);
        }
    }

    /// The run id is learned anew; the relay comes back once it is connected.
    pub(super) fn reconnect(&mut self, relay: usize) {
        if self.mistake == Mistake::Marker || !self.relays[relay].up {
            return;
        }
        self.relays[relay].epoch = None;
        let incarnation = self.relays[relay].incarnation;
        self.after(RECONNECT, Event::PutAgain(relay, incarnation));
    }

    /// Whether somebody has the newest token of a family: in memory, on disk, in a store, on the way.
    pub(super) fn is_held(&self, family: usize) -> bool {
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

    pub(super) fn has(&self, is_it: impl Fn(What) -> bool) -> bool {
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
    pub(super) fn account(&mut self) {
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
}
