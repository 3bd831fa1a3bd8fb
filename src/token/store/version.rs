//! What changes whenever a record does, and how long the shared store keeps a token.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::platform::FileId;

/// The identity and time of a record's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordVersion(FileId, SystemTime);

impl RecordVersion {
    pub(super) fn of(path: &Path) -> Option<Self> {
        let modified = std::fs::metadata(path).ok()?.modified().ok()?;
        Some(Self(FileId::of_path(path).ok()?, modified))
    }
}

/// For how long the store keeps a token that is nobody's consent.
pub(crate) fn life_of(left: Duration) -> Duration {
    left + Duration::from_secs(600)
}
