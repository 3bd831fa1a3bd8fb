//! Records that the disk has no room for: kept in memory, used from there, and written as soon as
//! that is possible. The shared store has them as well.

use std::path::Path;

use super::consent_store::Store;
use super::file;
use super::kept::Kept;
use super::turn::locked;
use crate::cluster::command::Sealed;
use crate::cluster::number::Number;

/// Records in memory; beyond it they stay in the shared store alone.
const MOST: usize = 1_000;

impl Store {
    /// Keeps a record that cannot be written.
    pub(super) fn keep_unwritten(&self, name: &str, record: &Sealed) {
        let mut unwritten = locked(&self.unwritten);
        if unwritten.len() < MOST || unwritten.contains_key(name) {
            unwritten.insert(name.to_owned(), record.clone());
        }
    }

    /// A record of this file was written: what is not greater is no longer needed in memory.
    pub(super) fn on_written(&self, path: &Path, number: Number) {
        let name = path.file_stem().and_then(|name| name.to_str());
        let mut unwritten = locked(&self.unwritten);
        if let Some(name) = name
            && unwritten.get(name).is_some_and(|it| it.number <= number)
        {
            unwritten.remove(name);
        }
    }

    /// A record in memory, by name.
    pub(super) fn unwritten_of(&self, name: &str) -> Option<Sealed> {
        locked(&self.unwritten).get(name).cloned()
    }

    /// The greatest of what is on disk and in memory of a login.
    pub(super) fn greatest(&self, login: &str, on_disk: Option<Kept>) -> Option<Kept> {
        let late = locked(&self.late)
            .get(login)
            .map(|late| Kept::of_record(login, &late.record));
        let adopted = self.unwritten_of(&self.name(login));
        let adopted = adopted.and_then(|it| self.opened(&self.path(login), &it.text).ok());
        [on_disk, late, adopted]
            .into_iter()
            .flatten()
            .max_by_key(Kept::number)
    }

    /// Tries to write what could not be written before.
    pub(crate) fn write_unwritten(&self) {
        let all: Vec<_> = locked(&self.unwritten).clone().into_iter().collect();
        for (name, record) in all {
            let path = self.tokens().join(&name).with_extension("json");
            let _one = locked(&self.writes);
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
        locked(&self.late).len() + locked(&self.unwritten).len()
    }
}
