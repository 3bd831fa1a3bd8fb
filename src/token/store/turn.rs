//! Turn to read and write a record, and records that could not be written yet.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use parking_lot::Mutex;

use super::record::StoredConsent;
use crate::cluster::command::Sealed;

/// Records of redemptions that could not be written yet, by login.
pub(super) type PendingWrites = Mutex<HashMap<String, PendingWrite>>;

/// Records of other relays that could not be written since the disk was full, by name.
pub(super) type Unwritten = Mutex<HashMap<String, Sealed>>;

pub(super) struct PendingWrite {
    pub(super) record: StoredConsent,
    pub(super) lock: File,
}

/// Turn to read and write a login's record; ends when dropped.
pub(crate) struct StoreTurn {
    pub(super) login: String,
    pub(super) lock: Option<File>,
    /// Record that could not be written yet. If it is dropped with the turn, it stays pending; who takes
    /// it writes it, or its replacement.
    pub(crate) pending: Option<StoredConsent>,
    pub(super) pending_writes: Arc<PendingWrites>,
}

impl StoreTurn {
    /// Keeps a record of the login that cannot be written at the moment, and its lock with it.
    pub(crate) fn write_later(mut self, record: StoredConsent) {
        self.pending = Some(record);
    }
}

impl Drop for StoreTurn {
    fn drop(&mut self) {
        if let (Some(record), Some(lock)) = (self.pending.take(), self.lock.take()) {
            let pending = PendingWrite { record, lock };
            self.pending_writes
                .lock()
                .insert(self.login.clone(), pending);
        }
    }
}
