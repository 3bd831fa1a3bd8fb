//! Private files, replaced as a whole.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use zeroize::Zeroizing;

use crate::config::{GeneratedSecret, State};
use crate::platform::{self, Kind};
use crate::secret::Secret;
use crate::text;

/// Age after which a temporary file counts as left behind.
const ABANDONED: Duration = Duration::from_secs(60);

/// Error of a state file, with its path and reason.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct StateError {
    path: PathBuf,
    why: String,
}

impl StateError {
    pub(super) fn new(path: &Path, why: impl Display) -> Self {
        Self {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }

    /// Returns the reason without the path.
    pub(super) fn why(&self) -> &str {
        &self.why
    }
}

/// Creates the state directory, or tightens its permissions; returns the change as text.
pub(super) fn prepare(directory: &Path) -> Result<Vec<String>, StateError> {
    let failed = |error: io::Error| StateError::new(directory, error);
    platform::create_private_folder(directory).map_err(failed)?;
    let mut notes: Vec<String> = private(directory, Kind::Folder)?.into_iter().collect();
    let tokens = directory.join("tokens");
    platform::create_private_folder(&tokens).map_err(failed)?;
    if let Some(folder) = platform::open_folder(&tokens).map_err(failed)? {
        give(&folder, &tokens)?;
    }
    notes.extend(private(&tokens, Kind::Folder)?);
    for path in names(&tokens) {
        notes.extend(private(&path, Kind::File)?);
    }
    // Many files are summarized in one line.
    if notes.len() > 3 {
        let more = notes.len() - 2;
        notes.truncate(2);
        notes.push(format!("{more} more files in {} as well", tokens.display()));
    }
    // Finds a read-only file system now rather than when the first token is replaced.
    sweep(&tokens);
    let probe = directory.join(".writable");
    replace(&probe, b"")?;
    remove(&probe)?;
    Ok(notes)
}

/// Lists the records of a folder. Anything else than a file is none: a pipe would be read without end.
pub(super) fn names(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let is_record =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "json") && path.is_file();
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(is_record)
        .collect()
}

/// Deletes files that a killed writer left behind.
fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ABANDONED));
        let path = entry.path();
        if is_old && path.extension().is_some_and(|end| end == "new") {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Tightens the permissions of a file or folder; returns the change as text.
fn private(path: &Path, kind: Kind) -> Result<Option<String>, StateError> {
    platform::keep_private(path, kind).map_err(|why| StateError::new(path, why))
}

/// Gives a file that root has just created to the owner of its folder, who runs the service.
fn give(file: &File, path: &Path) -> Result<(), StateError> {
    platform::hand_to_folder_owner(file, path).map_err(|why| StateError::new(path, why))
}

/// Reads the key that seals the tokens; an absent file is created.
pub(super) fn key(key: &GeneratedSecret) -> Result<(Secret, Option<String>), StateError> {
    match key {
        GeneratedSecret::Given(secret) => Ok((secret.clone(), None)),
        GeneratedSecret::File(path) => made(path),
    }
}

/// Reads `state.key`, if it is given or its file exists; creates nothing.
pub fn key_of(state: &State) -> Option<Secret> {
    match &state.key {
        GeneratedSecret::Given(secret) => Some(secret.clone()),
        GeneratedSecret::File(path) => written(path).ok().flatten(),
    }
}

/// Reads a secret from its file, without what editors leave around it; `None` if the file is absent.
fn written(path: &Path) -> Result<Option<Secret>, StateError> {
    let Some(octets) = if_there(path, std::fs::read(path).map(Zeroizing::new))? else {
        return Ok(None);
    };
    let text = text::decode(&octets).ok_or_else(|| StateError::new(path, "it is not UTF-8"))?;
    match text.trim_start_matches('\u{feff}').trim() {
        "" => Err(StateError::new(
            path,
            "it is empty; remove it, and a new one is created",
        )),
        text => Ok(Some(Secret::from(text))),
    }
}

/// Reads a secret from its file, which is created with 256 random bits if absent.
///
/// # Errors
///
/// The file cannot be read or created, or other users may read it and that cannot be changed.
pub fn generated(path: &Path) -> Result<Secret, StateError> {
    made(path).map(|(secret, _)| secret)
}

/// Reads or creates the secret, with a note if permissions were tightened.
fn made(path: &Path) -> Result<(Secret, Option<String>), StateError> {
    let failed = |error: io::Error| StateError::new(path, error);
    if let Some(secret) = written(path)? {
        return Ok((secret, private(path, Kind::File)?));
    }
    let random: [u8; 32] = random(path)?;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random);
    if let Some(parent) = path.parent() {
        platform::create_private_folder(parent).map_err(failed)?;
    }
    // If another process creates the key at the same moment, that one is used.
    let temporary = write_beside(path, text.as_bytes())?;
    let linked = make_once(path, &temporary, |from, to| std::fs::hard_link(from, to));
    let _ = std::fs::remove_file(&temporary);
    match linked {
        Ok(()) => flush_parent(path)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let secret = written(path)?.ok_or_else(|| StateError::new(path, "it vanished"))?;
    Ok((secret, None))
}

/// Returns random octets for the file at `path`.
fn random<const LENGTH: usize>(path: &Path) -> Result<[u8; LENGTH], StateError> {
    let mut random = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| StateError::new(path, "no random numbers"))?;
    Ok(random)
}

/// Creates a file that must not exist. On file systems without hard links (SMB, FUSE) the content is
/// copied.
fn make_once(
    path: &Path,
    temporary: &Path,
    link: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    match link(temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            let text = Zeroizing::new(std::fs::read(temporary)?);
            let mut file = create_new(path)?;
            file.write_all(&text)?;
            file.sync_all()
        }
        linked => linked,
    }
}

/// Reads a file; `None` if it is absent.
pub(super) fn read(path: &Path) -> Result<Option<String>, StateError> {
    if_there(path, std::fs::read_to_string(path))
}

/// Returns what was read of a file; `None` if it is absent.
fn if_there<T>(path: &Path, read: io::Result<T>) -> Result<Option<T>, StateError> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StateError::new(path, error)),
    }
}

/// Replaces a file atomically: at any moment the old or the new one is complete.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let temporary = write_beside(path, bytes)?;
    if let Err(error) = std::fs::rename(&temporary, path) {
        let _ = std::fs::remove_file(&temporary);
        return Err(StateError::new(path, error));
    }
    flush_parent(path)
}

/// Deletes a file; returns whether it existed.
pub(super) fn remove(path: &Path) -> Result<bool, StateError> {
    match std::fs::remove_file(path) {
        Ok(()) => flush_parent(path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StateError::new(path, error)),
    }
}

/// Opens the lock file of a file, which is itself replaced and so cannot be locked.
pub(super) fn lock_file(path: &Path) -> Result<File, StateError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file =
        platform::open_private(&options, path).map_err(|error| StateError::new(path, error))?;
    give(&file, path)?;
    Ok(file)
}

fn create_new(path: &Path) -> io::Result<File> {
    platform::open_private(OpenOptions::new().write(true).create_new(true), path)
}

/// Creates a temporary file next to `path`, and flushes it.
fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf, StateError> {
    let suffix = u64::from_ne_bytes(random(path)?);
    let temporary = path.with_extension(format!("{suffix:016x}.new"));
    let mut file = create_new(&temporary).map_err(|error| StateError::new(path, error))?;
    let written = give(&file, &temporary).and_then(|()| {
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        written.map_err(|error| StateError::new(path, error))
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.map(|()| temporary)
}

/// Room on disk for the file that will replace another; released when dropped.
pub(crate) struct Room {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    length: usize,
}

impl Room {
    /// Reserves room for a file of up to `length` octets; the caller holds the file's lock. The rest of
    /// a killed process is used again. The octets are random, since a file system that compresses
    /// would reserve no room for zeros.
    pub(super) fn make(path: &Path, length: usize) -> Result<Self, StateError> {
        let failed = |error: io::Error| StateError::new(path, error);
        let temporary = path.with_extension("room");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let file = platform::open_private(&options, &temporary).map_err(failed)?;
        let mut room = Self {
            path: path.to_owned(),
            temporary,
            file,
            length,
        };
        give(&room.file, &room.temporary)?;
        let mut filling = vec![0; length];
        aws_lc_rs::rand::fill(&mut filling)
            .map_err(|_| StateError::new(path, "no random numbers"))?;
        room.file.write_all(&filling).map_err(failed)?;
        room.file.sync_all().map_err(failed)?;
        Ok(room)
    }

    /// Replaces the file atomically: at any moment the old or the new one is complete.
    pub(super) fn fill(mut self, bytes: &[u8]) -> Result<(), StateError> {
        if bytes.len() > self.length {
            return replace(&self.path, bytes);
        }
        let mut write = || {
            self.file.rewind()?;
            self.file.write_all(bytes)?;
            self.file.set_len(bytes.len() as u64)?;
            self.file.sync_all()?;
            std::fs::rename(&self.temporary, &self.path)
        };
        write().map_err(|error| StateError::new(&self.path, error))?;
        flush_parent(&self.path)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // After a rename there is nothing to delete.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// Flushes the folder of a file, which makes a rename durable.
fn flush_parent(path: &Path) -> Result<(), StateError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    platform::sync_folder(parent).map_err(|error| StateError::new(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file system without hard links makes its key all the same, once.
    #[test]
    fn a_key_is_made_where_there_are_no_hard_links() {
        let folder = tempfile::tempdir().unwrap();
        let (path, temporary) = (folder.path().join("key"), folder.path().join("new"));
        std::fs::write(&temporary, "secret").unwrap();
        let no_links = |_: &Path, _: &Path| Err(io::ErrorKind::Unsupported.into());
        make_once(&path, &temporary, no_links).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret");
        std::fs::write(&temporary, "another").unwrap();
        let again = make_once(&path, &temporary, no_links).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret");
    }
}
