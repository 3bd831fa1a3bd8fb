//! A command's process, which asks the store for records and is no relay: nobody counts it, and it
//! sets no marker. And what relay and command alike read of consents that they do not know.

use super::super::command::{Answer, Away, Command};
use super::{Member, NOBODY, lock, nonce};

impl Member {
    /// Becomes a command's process. Called once, before anything is asked.
    pub fn become_visitor(&self) {
        let id = format!("command-{:x}", nonce());
        let _ = self.visitor.set(id.into());
    }

    /// Why nothing can be asked at the moment, in words; `None` where it can.
    pub fn trouble(&self) -> Option<String> {
        let away = self.up.borrow().clone().err();
        let is_back = lock(&self.epoch).is_some();
        away.or_else(|| (!is_back).then(|| NOBODY.to_owned()))
    }

    /// Whether this is a command's process.
    pub fn is_visitor(&self) -> bool {
        self.visitor.get().is_some()
    }

    /// Reads the epoch that the relays are in.
    pub(super) async fn read_epoch(&self) -> Result<(), Away> {
        match self.execute("".into(), &Command::Epoch).await? {
            Answer::Marked { epoch } => {
                *lock(&self.epoch) = Some(epoch);
                Ok(())
            }
            _ => Err(Away(NOBODY.to_owned())),
        }
    }

    /// Reads the consents that this relay's own disk does not have, once an epoch. What is published
    /// later it hears.
    pub async fn learn(&self) {
        let Some(epoch) = lock(&self.epoch).clone() else {
            return;
        };
        if lock(&self.learned).as_ref() == Some(&epoch) {
            return;
        }
        if self.learn_all().await.is_some() {
            *lock(&self.learned) = Some(epoch);
        }
    }

    /// `None` where the store does not answer.
    async fn learn_all(&self) -> Option<()> {
        let records = self.records.get()?;
        let Ok(Answer::Names(names)) = self.ask(&Command::Names).await else {
            return None;
        };
        for name in names {
            if records.own(&name).await.is_some() {
                continue;
            }
            let get = Command::Get { name: name.clone() };
            let Ok(Answer::Found { record, .. }) = self.ask(&get).await else {
                return None;
            };
            if let Some(record) = record {
                records.adopt(&name, record).await;
                self.heard.send_modify(|heard| *heard += 1);
            }
        }
        Some(())
    }
}
