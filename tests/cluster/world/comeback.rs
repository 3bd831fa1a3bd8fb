//! Beats and comebacks.

use super::*;

impl World {
    pub(super) fn on_beat(&mut self, relay: usize) {
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

    pub(super) fn come_back(&mut self, relay: usize) {
        if self.relays[relay].comeback.is_some() {
            return;
        }
        let comeback = Comeback::new(vec![NAME.into()]);
        let next = comeback.first();
        self.relays[relay].comeback = Some(comeback);
        self.comeback_step(relay, next);
    }

    pub(super) fn comeback_step(&mut self, relay: usize, next: Next) {
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
                None => self.comeback_answer(relay, now, None),
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
                    return self.comeback_answer(relay, now, Some(&Answer::Moved));
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

    pub(super) fn comeback_answer(
        &mut self,
        relay: usize,
        asked: Duration,
        answer: Option<&Answer>,
    ) {
        let now = self.now;
        let it = &mut self.relays[relay];
        match answer {
            Some(Answer::Roster { ages, .. }) => it.roster.on_answer(ages, asked, now),
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

    pub(super) fn comeback_over(&mut self, relay: usize, good: bool) {
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
}
