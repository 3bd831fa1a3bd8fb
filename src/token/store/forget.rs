//! End of records: `forget`, tombstones, and the conversion of files of the first format.

use std::sync::Arc;
use std::time::Duration;

use super::super::issued::now_ms;
use super::consent_store::{NEWER, Store};
use super::file::{self, StateError};
use super::kept::Kept;
use crate::cluster::keys::claimed;
use crate::cluster::number::Number;

impl Store {
    /// Deletes a record and leaves a tombstone; returns whether there was a record. Waits for another
    /// process that changes it, slightly longer than the `timeout` of its request, so that its record
    /// is deleted too.
    ///
    /// # Errors
    ///
    /// [`StateError`] if it cannot be deleted; a record that could not be written yet stays pending.
    pub async fn forget(
        self: &Arc<Self>,
        login: &str,
        timeout: Duration,
    ) -> Result<bool, StateError> {
        // Checked first, so that made-up logins leave no lock files.
        if !self.run_blocking(login, Store::is_known).await? {
            return Ok(false);
        }
        let turn = self.lock(login, timeout).await;
        let mut turn =
            turn.map_err(|failure| StateError::new(&self.path(login), failure.fault.detail()))?;
        let pending = turn.pending.as_ref().map(|pending| pending.number);
        let replace = move |store: &Self, login: &str| store.replace_by_tombstone(login, pending);
        let forgotten = self.run_blocking(login, replace).await?;
        drop(turn.pending.take());
        Ok(forgotten)
    }

    /// Whether there is a record of the login, on disk or in memory.
    fn is_known(&self, login: &str) -> Result<bool, StateError> {
        let is_in_memory = self.pending.lock().contains_key(login)
            || self.unwritten_of(&self.name(login)).is_some();
        Ok(is_in_memory
            || file::read(&self.path(login))?.is_some()
            || self.convert(login)?.is_some())
    }

    /// Replaces a record by a tombstone; the caller has the turn, and `pending` is the number of the
    /// record in it. Returns whether there was a record.
    fn replace_by_tombstone(
        &self,
        login: &str,
        pending: Option<Number>,
    ) -> Result<bool, StateError> {
        let path = self.path(login);
        let adopted = self.unwritten_of(&self.name(login));
        let adopted = adopted.filter(|adopted| adopted.life.is_none());
        let in_memory = pending.max(adopted.map(|adopted| adopted.number));
        let text = file::read(&path)?;
        let known = match text.as_deref().map(|text| self.opened(&path, text)) {
            Some(Ok(kept)) => Some(kept.number()).filter(|_| kept.record().is_some()),
            Some(Err(error)) if error.why() == NEWER => return Err(error),
            // A record that cannot be opened is deleted as well.
            Some(Err(_)) => text.as_deref().map(claimed).map(Option::unwrap_or_default),
            None => None,
        };
        let Some(highest) = known.max(in_memory) else {
            return Ok(false);
        };
        let tombstone = Kept::tombstone(login, Number::of_act(now_ms(), Some(highest)));
        file::replace(&path, self.seal_kept(&tombstone)?.as_bytes())?;
        self.on_written(&path, tombstone.number());
        Ok(true)
    }

    /// Converts files of an earlier version, and deletes old tombstones.
    pub(super) fn tidy(&self) {
        for login in self.first.logins(&self.tokens()) {
            if let Err(error) = self.convert(&login) {
                tracing::warn!("{error}");
            }
        }
        for kept in self.all() {
            if kept.is_spent() {
                let _ = file::remove(&self.path(&kept.login));
            }
        }
    }

    /// Converts the record that an earlier version has written for a login; if both formats exist, the
    /// greater number stays.
    pub(super) fn convert(&self, login: &str) -> Result<Option<Kept>, StateError> {
        let (path, tokens) = (self.path(login), self.tokens());
        let Some(record) = self.first.read(&tokens, login)? else {
            return Ok(None);
        };
        let old = Kept::of_record(login, &record);
        let here = file::read(&path)?.map(|text| self.opened(&path, &text));
        let kept = match here.transpose()? {
            Some(kept) if kept.number() >= old.number() => kept,
            _ => {
                file::replace(&path, self.seal_kept(&old)?.as_bytes())?;
                old
            }
        };
        self.first.remove(&tokens, login)?;
        Ok(Some(kept))
    }
}
