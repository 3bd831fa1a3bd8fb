//! Rejoin of this relay: its records are compared with the store, both ways.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::command::{Answer, Command, Sealed};
use super::super::rejoin::{Local, Next, Rejoin};
use super::{Member, Records, nonce};

impl Member {
    /// Rejoins after a loss of the store, or at the start; returns whether it was completed.
    pub async fn rejoin(&self) -> bool {
        let _turn = self.rejoining.lock().await;
        if self.epoch.lock().is_some() {
            return true;
        }
        if self.left.load(Ordering::Relaxed) {
            return false;
        }
        if self.is_cli() {
            return self.read_epoch().await.is_ok();
        }
        let Some(records) = self.records.get() else {
            return false;
        };
        let rejoin = Rejoin::new(records.names().await);
        let Some(epoch) = self.compare(records, rejoin).await else {
            return false;
        };
        *self.epoch.lock() = epoch;
        if let Ok(Answer::Values(values)) = self.ask(&Command::Recall).await {
            for (name, value, life) in values {
                self.on_kept(name, value, life);
            }
        }
        true
    }

    /// Drives a rejoin or a comparison; `None` if it was not completed.
    pub(super) async fn compare(
        &self,
        records: &Arc<dyn Records>,
        mut rejoin: Rejoin,
    ) -> Option<Option<Arc<str>>> {
        let mut found: Option<Sealed> = None;
        let mut local = Local::default();
        let me = self.identity.id().clone();
        let mut next = rejoin.first();
        loop {
            let command = match &next {
                Next::Adopt(name) => {
                    if let Some(found) = found.take() {
                        records.adopt(name, found).await;
                        self.heard.send_modify(|heard| *heard += 1);
                    }
                    local = self.loaded(records, name).await;
                    next = rejoin.on_adopted(&local, &me);
                    continue;
                }
                Next::Hold => {
                    self.hold(rejoin.epoch().cloned()).await.ok()?;
                    next = rejoin.on_answer(Some(&Answer::Done), &local, &me);
                    continue;
                }
                Next::Over(is_back) => return is_back.then(|| rejoin.epoch().cloned()),
                Next::Get(name) => {
                    local = self.loaded(records, name).await;
                    Command::Get { name: name.clone() }
                }
                next => self.command(records, next, &local).await?,
            };
            let epoch = match rejoin.epoch() {
                Some(epoch) => epoch.clone(),
                None => self.epoch.lock().clone().unwrap_or_else(|| "".into()),
            };
            let asked = self.now();
            let answer = self.execute(epoch, &command).await.ok();
            match &answer {
                Some(Answer::Found { record, .. }) => found = record.clone(),
                Some(Answer::Greater(record)) => found = Some(record.clone()),
                Some(Answer::Roster { ages, .. }) => self.on_roster(ages, asked),
                Some(Answer::Done) => {
                    if let Next::Put(name) = &next {
                        self.owed.lock().remove(name);
                    }
                }
                _ => {}
            }
            next = rejoin.on_answer(answer.as_ref(), &local, &me);
        }
    }

    /// Returns the command of a step that asks the store; `None` if its record is gone meanwhile.
    async fn command(
        &self,
        records: &Arc<dyn Records>,
        next: &Next,
        local: &Local,
    ) -> Option<Command> {
        Some(match next {
            Next::Mark => Command::Mark {
                epoch: format!("{:x}", nonce()).into(),
                roster: self.ages(),
            },
            Next::Put(name) => Command::Put {
                name: name.clone(),
                record: records.own(name).await?,
            },
            Next::Clear(name, nonce) => Command::Clear {
                name: name.clone(),
                nonce: *nonce,
            },
            Next::Enter(name, number, nonce) => Command::Enter {
                name: name.clone(),
                number: *number,
                nonce: *nonce,
                one_use: local.one_use,
            },
            Next::Back => Command::Back {
                roster: self.ages(),
            },
            Next::Get(_) | Next::Adopt(_) | Next::Hold | Next::Over(_) => return None,
        })
    }

    async fn loaded(&self, records: &Arc<dyn Records>, name: &Arc<str>) -> Local {
        let own = records.own(name).await.map(|record| record.mark());
        let redeeming = self.redeeming.lock().get(name).copied();
        let (asking, entered) = (
            redeeming.filter(|it| it.asking),
            redeeming.filter(|it| !it.asking),
        );
        Local {
            own,
            redeeming: entered.map(|it| (it.number, it.nonce)),
            asking: asking.map(|it| it.nonce),
            one_use: redeeming.is_some_and(|it| it.one_use),
        }
    }
}
