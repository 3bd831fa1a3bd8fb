//! End of records: `forget`, tombstones, and the conversion of files of the first format.

use super::clock::now_ms;
use super::consent_store::{NEWER, Store};
use super::file::{self, StateError};
use super::kept::Kept;
use crate::cluster::keys::claimed;
use crate::cluster::number::Number;

impl Store {
    /// Deletes a record and leaves a tombstone; returns whether there was a record. Waits for another
    /// process that changes it, so that its record is deleted too. Blocks.
    ///
    /// # Errors
    ///
    /// [`StateError`] if it cannot be deleted.
    pub fn forget(&self, login: &str) -> Result<bool, StateError> {
        let path = self.path(login);
        let turn = self
            .pending_turn(login)
            .map(|mut turn| (turn.take_pending(), turn));
        let in_memory = self.unwritten_of(&self.name(login));
        let is_nowhere = turn.is_none() && in_memory.is_none();
        if is_nowhere && file::read(&path)?.is_none() && self.convert(login)?.is_none() {
            return Ok(false);
        }
        let lock = path.with_extension("lock");
        let file = file::lock_file(&lock)?;
        if turn.is_none() {
            file.lock().map_err(|error| StateError::new(&lock, error))?;
        }
        let pending = turn.as_ref().and_then(|(pending, _)| pending.as_ref());
        let pending = pending.map(|pending| pending.number);
        let adopted = in_memory.filter(|it| it.life.is_none());
        self.bury(login, pending.max(adopted.map(|it| it.number)))
    }

    /// Replaces a record by a tombstone; the caller holds the lock. Returns whether there was a record.
    fn bury(&self, login: &str, pending: Option<Number>) -> Result<bool, StateError> {
        let path = self.path(login);
        let text = file::read(&path)?;
        let known = match text.as_deref().map(|text| self.opened(&path, text)) {
            Some(Ok(kept)) => Some(kept.number()).filter(|_| kept.record().is_some()),
            Some(Err(error)) if error.why() == NEWER => return Err(error),
            // One that does not open is deleted all the same.
            Some(Err(_)) => text.as_deref().map(claimed).map(Option::unwrap_or_default),
            None => None,
        };
        let Some(highest) = known.max(pending) else {
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
