//! Files that a command writes: all of them, or none.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::platform;

/// A file to write.
pub(super) struct NewFile<'a> {
    pub(super) path: PathBuf,
    pub(super) text: &'a str,
    /// Whether only its owner may read it.
    pub(super) is_private: bool,
}

/// Whether a file, a folder or a link of this name is there.
pub(super) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Writes all files, or none: nothing is left of them after an error. Files that are there are an
/// error, unless `replaces` is set; they are replaced only when every file has been written beside
/// its place, so that a key never inherits the permissions of the one before.
///
/// # Errors
///
/// The path and the error of the first file that cannot be written.
pub(super) fn write_all(files: &[NewFile<'_>], replaces: bool) -> Result<(), String> {
    let mut made = Vec::new();
    let written = files.iter().try_for_each(|file| {
        let path = match replaces {
            true => beside(&file.path),
            false => file.path.clone(),
        };
        create(file, &path, replaces, &mut made).map_err(|error| describe(&file.path, &error))
    });
    let placed = written.and_then(|()| match replaces {
        true => replace(files),
        false => Ok(()),
    });
    if placed.is_err() {
        for path in made {
            // What was moved to its place is not there any more.
            let _ = std::fs::remove_file(path);
        }
    }
    placed
}

/// Creates one file, and notes its path as soon as there is something to remove.
fn create(
    file: &NewFile<'_>,
    path: &Path,
    replaces: bool,
    made: &mut Vec<PathBuf>,
) -> io::Result<()> {
    if replaces {
        if file.path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // What an interrupted run has left.
        let _ = std::fs::remove_file(path);
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut opened = match file.is_private {
        true => platform::open_private(&options, path)?,
        false => platform::open_public(&options, path)?,
    };
    made.push(path.to_owned());
    opened.write_all(file.text.as_bytes())?;
    opened.sync_all()
}

/// Moves what was written beside to its place.
fn replace(files: &[NewFile<'_>]) -> Result<(), String> {
    files.iter().try_for_each(|file| {
        let moved = std::fs::rename(beside(&file.path), &file.path);
        moved.map_err(|error| describe(&file.path, &error))
    })
}

/// Returns the path at which a replacement is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn describe(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
