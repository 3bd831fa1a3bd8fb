//! Command-line processes, which read and write records of the store and are no relays: they are not
//! counted, and never set the marker. Consents that are not on their own disk are read from the store.

use super::super::command::{Answer, Command, Unavailable};
use super::{Member, NOBODY, nonce};

impl Member {
    /// Turns this into a command-line process. Called once, before the store is asked.
    pub fn become_cli(&self) {
        let id = format!("command-{:x}", nonce());
        let _ = self.cli.set(id.into());
    }

    /// Whether this is a command-line process.
    pub fn is_cli(&self) -> bool {
        self.cli.get().is_some()
    }

    /// Reason why the store cannot be asked at the moment; `None` if it can.
    pub fn trouble(&self) -> Option<String> {
        let away = self.up.borrow().clone().err();
        let is_back = self.epoch.lock().is_some();
        away.or_else(|| (!is_back).then(|| NOBODY.to_owned()))
    }

    /// Reads the epoch of the relays.
    pub(super) async fn read_epoch(&self) -> Result<(), Unavailable> {
        match self.execute("".into(), &Command::Epoch).await? {
            Answer::Marked { epoch } => {
                *self.epoch.lock() = Some(epoch);
                Ok(())
            }
            _ => Err(Unavailable(NOBODY.to_owned())),
        }
    }

    /// Reads the consents that are not on this process's own disk, once an epoch. Later ones are
    /// published.
    pub async fn learn(&self) {
        let Some(epoch) = self.epoch.lock().clone() else {
            return;
        };
        if self.learned.lock().as_ref() == Some(&epoch) {
            return;
        }
        if self.learn_all().await.is_some() {
            *self.learned.lock() = Some(epoch);
        }
    }

    /// `None` if the store does not answer.
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
