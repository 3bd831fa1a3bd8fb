//! Files that nobody else may read, replaced as a whole.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;

use crate::config::StateKey;
use crate::secret::Secret;

/// Permissions of others and of the group.
const OTHERS: u32 = 0o077;

/// A file that its writer did not rename for so long will never be.
const ABANDONED: Duration = Duration::from_secs(60);

/// State that cannot be used: which file, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct Unusable {
    path: PathBuf,
    why: String,
}

impl Unusable {
    pub(super) fn new(path: &Path, why: impl Display) -> Self {
        Self {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}

/// Makes the state directory, or checks that nobody else may enter it.
pub(super) fn prepare(directory: &Path) -> Result<(), Unusable> {
    let failed = |error: io::Error| Unusable::new(directory, error);
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).map_err(failed)?;
    private(directory, 0o700)?;
    builder.create(directory.join("tokens")).map_err(failed)?;
    // A read-only file system shows here, and not when the first token is replaced.
    sweep(&directory.join("tokens"));
    let probe = directory.join(".writable");
    replace(&probe, b"")?;
    remove(&probe).map(|_| ())
}

/// What a writer that was killed left behind.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let old = age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ABANDONED));
        if old
            && entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "new")
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Refuses what others may read.
fn private(path: &Path, mode: u32) -> Result<(), Unusable> {
    let metadata = std::fs::metadata(path).map_err(|error| Unusable::new(path, error))?;
    let has = metadata.permissions().mode() & 0o7777;
    let ours = std::fs::metadata("/proc/self").map_or(0, |process| process.uid());
    if has & OTHERS == 0 || (metadata.is_file() && handed_over(metadata.uid(), ours, has)) {
        return Ok(());
    }
    Err(Unusable::new(
        path,
        format_args!(
            "others may read it (mode {has:04o}); set mode {mode:04o}: chmod {mode:04o} {}",
            path.display()
        ),
    ))
}

/// Whether root has given a file to a group that we are in (mode 0440 or 0640), as systemd and
/// Kubernetes do with secrets for a service that is not root's.
fn handed_over(owner: u32, ours: u32, mode: u32) -> bool {
    owner == 0 && ours != 0 && mode & (OTHERS & !0o040) == 0
}

/// The key that seals the tokens; a file that is absent is made.
pub(super) fn key(key: &StateKey) -> Result<Secret, Unusable> {
    match key {
        StateKey::Given(secret) => Ok(secret.clone()),
        StateKey::File(path) => generated(path),
    }
}

/// A secret in a file of its own, made with 256 random bits where it is absent.
///
/// # Errors
///
/// Where it cannot be read or made, or others may read it.
pub fn generated(path: &Path) -> Result<Secret, Unusable> {
    let failed = |error: io::Error| Unusable::new(path, error);
    if let Some(text) = read(path)? {
        private(path, 0o600)?;
        return match text.trim() {
            "" => Err(Unusable::new(
                path,
                "it is empty; remove it, and it is made anew",
            )),
            text => Ok(Secret::from(text)),
        };
    }
    let mut random = [0; 32];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Unusable::new(path, "no random numbers"))?;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
    if let Some(parent) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(failed)?;
    }
    // Whoever else makes it at the same moment wins: two keys would be one too many.
    let temporary = write_beside(path, text.as_bytes())?;
    let linked = std::fs::hard_link(&temporary, path);
    let _ = std::fs::remove_file(&temporary);
    match linked {
        Ok(()) => flush_parent(path)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    match read(path)? {
        Some(text) => Ok(Secret::from(text.trim())),
        None => Err(Unusable::new(path, "it vanished")),
    }
}

/// A file's text, `None` where there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, Unusable> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Unusable::new(path, error)),
    }
}

/// Replaces a file so that at any moment the old or the new one is there, whole.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Unusable> {
    let temporary = write_beside(path, bytes)?;
    if let Err(error) = std::fs::rename(&temporary, path) {
        let _ = std::fs::remove_file(&temporary);
        return Err(Unusable::new(path, error));
    }
    flush_parent(path)
}

/// Deletes a file; whether it was there.
pub(super) fn remove(path: &Path) -> Result<bool, Unusable> {
    match std::fs::remove_file(path) {
        Ok(()) => flush_parent(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Unusable::new(path, error)),
    }
}

/// The file that is locked on behalf of another, which is replaced and so cannot be.
pub(super) fn lock_file(path: &Path) -> Result<File, Unusable> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| Unusable::new(path, error))
}

/// A new file beside `path`, on disk.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, Unusable> {
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| Unusable::new(path, "no random numbers"))?;
    let suffix = u64::from_ne_bytes(random);
    let temporary = path.with_extension(format!("{suffix:016x}.new"));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        Unusable::new(path, error)
    })?;
    Ok(temporary)
}

/// A rename is on disk when its folder is.
fn flush_parent(path: &Path) -> Result<(), Unusable> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Unusable::new(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_file_is_private_only_where_root_has_handed_it_over() {
        assert!(handed_over(0, 1000, 0o440));
        assert!(handed_over(0, 1000, 0o640));
        for (owner, ours, mode) in [
            (0, 0, 0o440),
            (1000, 1000, 0o440),
            (0, 1000, 0o444),
            (0, 1000, 0o460),
        ] {
            assert!(!handed_over(owner, ours, mode), "{owner} {ours} {mode:o}");
        }
    }
}
