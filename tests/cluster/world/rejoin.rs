//! Beats and rejoins.

use super::*;

impl World {
    pub(super) fn on_beat(&mut self, relay: usize) {
        self.after(BEAT, Event::Beat(relay));
        let it = &self.relays[relay];
        if !it.up || it.rejoin.is_some() {
            return;
        }
        if it.epoch.is_none() {
            return self.rejoin(relay);
        }
        self.send(relay, Task::Beat, Command::Beat);
        self.hold(relay, Task::Nobody);
    }

    pub(super) fn hold(&mut self, relay: usize, task: Task) {
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

    pub(super) fn beat_answer(&mut self, relay: usize, asked: Duration, answer: Option<&Answer>) {
        match answer {
            Some(Answer::Roster { ages, .. }) => {
                let now = self.now;
                let it = &mut self.relays[relay];
                it.roster.on_answer(ages, asked, now);
                if it.rejoin.is_none() && it.epoch.is_some() {
                    let comparing = Rejoin::comparing(vec![NAME.into()]);
                    let next = comparing.first();
                    it.rejoin = Some(comparing);
                    self.rejoin_step(relay, next);
                }
            }
            Some(Answer::Lost) => self.rejoin(relay),
            _ => {}
        }
    }

    pub(super) fn rejoin(&mut self, relay: usize) {
        if self.relays[relay].rejoin.is_some() {
            return;
        }
        let rejoin = Rejoin::new(vec![NAME.into()]);
        let next = rejoin.first();
        self.relays[relay].rejoin = Some(rejoin);
        self.rejoin_step(relay, next);
    }

    pub(super) fn rejoin_step(&mut self, relay: usize, next: Next) {
        let now = self.now;
        let ages = self.relays[relay].roster.ages(now);
        let know = self.relays[relay].know;
        let one_use = self.is_one_use();
        match next {
            Next::Mark => {
                self.epochs += 1;
                let epoch = format!("e{}", self.epochs).into();
                let roster = ages;
                self.send(relay, Task::Rejoin, Command::Mark { epoch, roster });
            }
            Next::Get(name) => self.send(relay, Task::Rejoin, Command::Get { name }),
            Next::Put(name) => match know {
                Some(know) => {
                    let record = know.sealed();
                    self.send(relay, Task::Rejoin, Command::Put { name, record });
                }
                None => self.rejoin_answer(relay, now, None),
            },
            Next::Adopt(_) => {
                let it = &mut self.relays[relay];
                if let Some(found) = it.rejoin_found.take() {
                    adopt(it, Rec::of(&found), self.mistake);
                }
                let Some(mut rejoin) = it.rejoin.take() else {
                    return;
                };
                let next = rejoin.on_adopted(&it.local(), &it.id);
                it.rejoin = Some(rejoin);
                self.rejoin_step(relay, next);
            }
            Next::Clear(name, nonce) => {
                self.send(relay, Task::Rejoin, Command::Clear { name, nonce });
            }
            Next::Enter(name, number, nonce) => {
                if self.mistake == Mistake::EnterAgain {
                    return self.rejoin_answer(relay, now, Some(&Answer::Moved));
                }
                let enter = Command::Enter {
                    name,
                    number,
                    nonce,
                    one_use,
                };
                self.send(relay, Task::Rejoin, enter);
            }
            Next::Hold => self.hold(relay, Task::Rejoin),
            Next::Back => {
                let back = Command::Back { roster: ages };
                self.send(relay, Task::Rejoin, back);
            }
            Next::Over(good) => self.rejoin_over(relay, good),
        }
    }

    pub(super) fn rejoin_answer(&mut self, relay: usize, asked: Duration, answer: Option<&Answer>) {
        let now = self.now;
        let it = &mut self.relays[relay];
        match answer {
            Some(Answer::Roster { ages, .. }) => it.roster.on_answer(ages, asked, now),
            Some(Answer::Found { record, .. }) => it.rejoin_found = record.clone(),
            Some(Answer::Greater(record)) => it.rejoin_found = Some(record.clone()),
            _ => {}
        }
        let Some(mut rejoin) = it.rejoin.take() else {
            return;
        };
        let next = rejoin.on_answer(answer, &it.local(), &it.id);
        it.rejoin = Some(rejoin);
        self.rejoin_step(relay, next);
    }

    pub(super) fn rejoin_over(&mut self, relay: usize, good: bool) {
        let it = &mut self.relays[relay];
        let Some(rejoin) = it.rejoin.take() else {
            return;
        };
        if let (true, Some(epoch)) = (good, rejoin.epoch()) {
            it.epoch = Some(epoch.clone());
        }
        let waits = it
            .flight
            .as_mut()
            .is_some_and(|flight| std::mem::take(&mut flight.waits_for_rejoin));
        if waits {
            self.woken(relay);
        }
    }
}
