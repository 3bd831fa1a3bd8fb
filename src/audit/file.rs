//! Opens the audit file, finds the end of its chain, and repairs it after a crash.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::chain::{TAIL, split};
use crate::platform;

/// Octets read in one step, from the end.
const STEP: usize = 64 * 1024;

/// Longest wait for a previous writer to exit.
const ENDING: Duration = Duration::from_secs(2);

/// Audit file that is open for writing.
#[derive(Debug)]
pub(super) struct AuditFile {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// Whether this is a regular file rather than a pipe or device.
    pub(super) is_regular: bool,
    /// End of the last whole line, if a torn line still follows it because the disk is full. That is
    /// moved before anything is written.
    pub(super) torn: Option<u64>,
}

/// An audit sink that cannot be used at start.
#[derive(Debug, thiserror::Error)]
#[error("audit.path: {}: {why}", path.display())]
pub struct AuditError {
    path: PathBuf,
    why: String,
}

impl AuditError {
    pub(super) fn new(path: &Path, why: impl std::fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}

/// Opens the file and creates it if absent, with mode 0600 and its folder with 0700. Returns it, and
/// the hash of its last record.
pub(super) fn open(path: &Path) -> Result<(AuditFile, Option<String>), AuditError> {
    let unusable = |why: &dyn std::fmt::Display| AuditError::new(path, why);
    if let (false, Some(folder)) = (path.exists(), path.parent()) {
        // If this fails, opening the file reports why.
        let _ = platform::create_private_folder(folder);
    }
    let opened = platform::open_alone(path, ENDING).map_err(|error| unusable(&error))?;
    let Some(mut file) = opened else {
        return Err(unusable(
            &"another process writes to it; give each its own file",
        ));
    };
    let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    let (mut head, mut torn) = (None, None);
    if is_regular {
        let length = file.metadata().map_err(|error| unusable(&error))?.len();
        let end = behind_last_line(&mut file, length).map_err(|error| unusable(&error))?;
        match repair_torn_end(&file, path, end) {
            Ok(()) => {}
            Err(error) if is_full(&error) => torn = Some(end),
            Err(error) => return Err(unusable(&error)),
        }
        if end > 0 {
            head = last_hash(&mut file, end).map_err(|error| unusable(&error))?;
            if head.is_none() {
                return Err(unusable(
                    &"its last line is not an audit record; move the file away or name another",
                ));
            }
        }
        // Needed where writes do not always append.
        let end = file.seek(SeekFrom::End(0));
        end.map_err(|error| unusable(&error))?;
    }
    let opened = AuditFile {
        path: path.to_owned(),
        file: Arc::new(file),
        is_regular,
        torn,
    };
    Ok((opened, head))
}

/// Whether the error may pass once there is space.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WriteZero};
    matches!(
        error.kind(),
        FileTooLarge | QuotaExceeded | StorageFull | WriteZero
    )
}

/// Moves everything after `end`, the end of the last whole line, to `FILE.torn`. On an error both
/// files are unchanged.
pub(super) fn repair_torn_end(mut file: &File, path: &Path, end: u64) -> io::Result<()> {
    let length = file.metadata()?.len();
    if end >= length {
        return Ok(());
    }
    let aside = path.with_added_extension("torn");
    let mut torn = platform::open_private(OpenOptions::new().append(true).create(true), &aside)?;
    let before = torn.metadata()?.len();
    file.seek(SeekFrom::Start(end))?;
    let moved = io::copy(&mut file.take(length - end), &mut torn)
        .and_then(|_| torn.write_all(b"\n"))
        .and_then(|()| torn.sync_data());
    if let Err(error) = moved {
        let _ = torn.set_len(before);
        return Err(error);
    }
    file.set_len(end)?;
    file.seek(SeekFrom::End(0))?;
    file.sync_data()?;
    tracing::warn!(
        octets = length - end,
        file = %aside.display(),
        "a crash had torn the last audit record; it was moved"
    );
    Ok(())
}

/// Offset of the end of the last whole line.
fn behind_last_line(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    let mut buffer = vec![0; STEP];
    while end > 0 {
        let size = usize::try_from(end).map_or(STEP, |end| end.min(STEP));
        let start = end - size as u64;
        let part = buffer.get_mut(..size).unwrap_or_default();
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(at) = memchr::memrchr(b'\n', part) {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Reads the hash in the last line.
fn last_hash(file: &mut File, end: u64) -> io::Result<Option<String>> {
    let wanted = TAIL as u64 + 1;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(end.saturating_sub(wanted)))?;
    file.take(wanted).read_to_end(&mut tail)?;
    let line = tail.strip_suffix(b"\n");
    Ok(line.and_then(split).map(|(_, hash)| hash.to_owned()))
}
