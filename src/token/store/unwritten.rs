//! Records that a full disk cannot take: kept and used in memory, and written as soon as possible.
//! The shared store has them too.

use std::path::Path;

use super::consent_store::Store;
use super::file;
use super::kept::Kept;
use crate::cluster::command::Sealed;
use crate::cluster::number::Number;

/// Maximum number of records in memory; further ones stay in the shared store only.
const MOST: usize = 1_000;

impl Store {
    /// Keeps a record that cannot be written.
    pub(super) fn keep_unwritten(&self, name: &str, record: &Sealed) {
        let mut unwritten = self.unwritten.lock();
        if unwritten.len() < MOST || unwritten.contains_key(name) {
            unwritten.insert(name.to_owned(), record.clone());
        }
    }

    /// Handles the write of a record: one in memory that is not greater is dropped.
    pub(super) fn on_written(&self, path: &Path, number: Number) {
        let name = path.file_stem().and_then(|name| name.to_str());
        let mut unwritten = self.unwritten.lock();
        if let Some(name) = name
            && unwritten.get(name).is_some_and(|it| it.number <= number)
        {
            unwritten.remove(name);
        }
    }

    /// Returns a record in memory, by name.
    pub(super) fn unwritten_of(&self, name: &str) -> Option<Sealed> {
        self.unwritten.lock().get(name).cloned()
    }

    /// Returns the greater record of a login, from disk or memory.
    pub(super) fn greatest(&self, login: &str, on_disk: Option<Kept>) -> Option<Kept> {
        let pending = self
            .pending
            .lock()
            .get(login)
            .map(|pending| Kept::of_record(login, &pending.record));
        let adopted = self.unwritten_of(&self.name(login));
        let adopted = adopted.and_then(|it| self.opened(&self.path(login), &it.text).ok());
        [on_disk, pending, adopted]
            .into_iter()
            .flatten()
            .max_by_key(Kept::number)
    }

    /// Tries to write the records in memory.
    pub(crate) fn write_unwritten(&self) {
        let all: Vec<_> = self.unwritten.lock().clone().into_iter().collect();
        for (name, record) in all {
            let path = self.path_of(&name);
            let _one = self.writes.lock();
            let on_disk = self.on_disk(&name).map(|on_disk| on_disk.number);
            if on_disk < Some(record.number)
                && file::replace(&path, record.text.as_bytes()).is_err()
            {
                return;
            }
            self.on_written(&path, record.number.max(on_disk.unwrap_or_default()));
        }
    }

    /// Number of records that are kept in memory because they cannot be written.
    pub fn unstored(&self) -> usize {
        self.pending.lock().len() + self.unwritten.lock().len()
    }
}
