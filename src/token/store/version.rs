//! Version of a record's file.

use std::path::Path;
use std::time::SystemTime;

use crate::cluster::number::Number;
use crate::platform::FileId;

/// Identity and time of a record's file, and the number of a record in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordVersion(Option<(FileId, SystemTime)>, Option<Number>);

impl RecordVersion {
    /// Reads the version; `None` if there is no record.
    pub(super) fn of(path: &Path, unwritten: Option<Number>) -> Option<Self> {
        let of_file = || {
            let modified = std::fs::metadata(path).ok()?.modified().ok()?;
            Some((FileId::of_path(path).ok()?, modified))
        };
        let file = of_file();
        (file.is_some() || unwritten.is_some()).then_some(Self(file, unwritten))
    }
}
