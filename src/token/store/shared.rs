//! Records in the form that several relays share: by name, as sealed text.

use std::collections::HashMap;
use std::sync::Arc;

use super::consent_store::Store;
use super::file::{self, StateError};
use super::kept::{Kept, TOMBSTONE};
use super::version::RecordVersion;
use crate::cluster::command::Sealed;
use crate::cluster::redemption::{Reconciled, reconcile};

impl Store {
    /// Returns the names of all records, with versions that change with them.
    pub(crate) fn versions(&self) -> HashMap<Arc<str>, RecordVersion> {
        let version = |path: std::path::PathBuf| {
            let name = path.file_stem()?.to_str()?;
            // The check text of the key is no record.
            let is_name = name.len() == 32 && name.bytes().all(|octet| octet.is_ascii_hexdigit());
            let name = is_name.then(|| Arc::from(name))?;
            Some((name, RecordVersion::of(&path, None)?))
        };
        file::names(&self.tokens())
            .into_iter()
            .filter_map(version)
            .collect()
    }

    /// Reads a record from disk; `None` if there is none, or it does not open.
    pub(crate) fn sealed(&self, name: &str) -> Option<Sealed> {
        if let Some(pending) = self.pending_of(name) {
            return self.seal_for_all(&pending);
        }
        let (on_disk, in_memory) = (self.on_disk(name), self.unwritten_of(name));
        on_disk
            .into_iter()
            .chain(in_memory)
            .max_by_key(|it| it.number)
    }

    /// Reads the sealed record from its file.
    pub(super) fn on_disk(&self, name: &str) -> Option<Sealed> {
        let path = self.path_of(name);
        let text = file::read(&path).ok().flatten()?;
        let kept = self.opened(&path, &text).ok()?;
        Some(self.sealed_of(&kept, text))
    }

    /// Returns the record that could not be written yet.
    fn pending_of(&self, name: &str) -> Option<Kept> {
        let pending_writes = self.pending.lock();
        let mut pending_writes = pending_writes.iter();
        pending_writes
            .find(|(login, _)| self.name(login) == name)
            .map(|(login, pending)| Kept::of_record(login, &pending.record))
    }

    /// Seals a record without writing it.
    pub(crate) fn seal_for_all(&self, kept: &Kept) -> Option<Sealed> {
        let text = self.seal_kept(kept).ok()?;
        Some(self.sealed_of(kept, text))
    }

    fn sealed_of(&self, kept: &Kept, text: String) -> Sealed {
        Sealed {
            number: kept.number(),
            ended: kept.record().is_some_and(|record| record.refused.is_some()),
            text: text.into(),
            life: kept.record().is_none().then_some(TOMBSTONE),
        }
    }

    /// Writes a record that another relay has sealed, if it takes precedence. If the disk is full, it is
    /// kept in memory.
    ///
    /// # Errors
    ///
    /// [`StateError`] if it cannot be opened.
    pub(crate) fn adopt(&self, name: &str, record: &Sealed) -> Result<(), StateError> {
        let path = self.path_of(name);
        let kept = self.opened(&path, &record.text)?;
        if self.path(&kept.login) != path {
            return Err(StateError::new(&path, super::first::BROKEN));
        }
        let _one = self.writes.lock();
        let own = self.sealed(name).map(|own| own.mark());
        if reconcile(own, Some(record.mark())) == Reconciled::Adopt {
            match file::replace(&path, record.text.as_bytes()) {
                Ok(()) => self.on_written(&path, record.number),
                Err(error) => {
                    tracing::error!(%error, "a record of another relay cannot be kept");
                    self.keep_unwritten(name, record);
                }
            }
        }
        Ok(())
    }
}
