//! Turn to read and write a record, and records that could not be written yet.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::record::StoredConsent;
use crate::cluster::command::Sealed;

/// Records of redemptions that could not be written yet, by login.
pub(super) type Lates = Mutex<HashMap<String, Late>>;

/// Records of other relays that could not be written since the disk was full, by name.
pub(super) type Unwritten = Mutex<HashMap<String, Sealed>>;

pub(super) struct Late {
    pub(super) record: StoredConsent,
    pub(super) lock: File,
}

/// Turn to read and write a login's record; ends when dropped.
pub(crate) struct StoreTurn {
    pub(super) login: String,
    pub(super) lock: Option<File>,
    /// Record that could not be written yet. If it is dropped with the turn, it stays pending.
    pub(super) late: Option<StoredConsent>,
    pub(super) lates: Arc<Lates>,
}

impl StoreTurn {
    /// Record that could not be written yet; it stays pending.
    pub(crate) fn late(&self) -> Option<&StoredConsent> {
        self.late.as_ref()
    }

    /// Takes the record that could not be written yet. The caller writes it, or its replacement.
    pub(crate) fn take_late(&mut self) -> Option<StoredConsent> {
        self.late.take()
    }
}

impl Drop for StoreTurn {
    fn drop(&mut self) {
        if let (Some(record), Some(lock)) = (self.late.take(), self.lock.take()) {
            let late = Late { record, lock };
            locked(&self.lates).insert(self.login.clone(), late);
        }
    }
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
