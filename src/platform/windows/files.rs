//! Windows files: access lists, volume and index.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::windows::io::AsHandle as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::{FileId, Kind};
use super::access;

/// Interval for retrying a file that another process writes.
const RETRY: Duration = Duration::from_millis(10);

/// `ERROR_SHARING_VIOLATION`: another handle does not allow the requested access.
const SHARING_VIOLATION: i32 = 32;

/// `FILE_SHARE_READ | FILE_SHARE_DELETE`: others may read and rename, but not write.
const SHARE_READ_AND_DELETE: u32 = 0x1 | 0x4;

/// `GENERIC_READ | GENERIC_WRITE`: `FILE_APPEND_DATA` alone does not allow truncating.
const READ_AND_WRITE: u32 = 0x8000_0000 | 0x4000_0000;

pub(in super::super) fn create_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        create_private_folder(above)?;
    }
    match std::fs::create_dir(path) {
        Ok(()) => access::make_private(path, Kind::Folder),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// A new file stays empty and exclusively open until its access list is set.
pub(in super::super) fn open_private(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let made = options.clone().create_new(true).share_mode(0).open(path);
    match made {
        Ok(file) => {
            if !access::others(path)?.is_empty() {
                access::make_private(path, Kind::File)?;
            }
            drop(file);
            options.clone().create_new(false).open(path)
        }
        Err(_) => options.open(path),
    }
}

pub(in super::super) fn open_public(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.open(path)
}

pub(in super::super) fn keep_private(path: &Path, kind: Kind) -> Result<Option<String>, String> {
    let others = |path: &Path| access::others(path).map_err(|error| error.to_string());
    let had = others(path)?;
    if had.is_empty() {
        return Ok(None);
    }
    let names = had.join(", ");
    if access::make_private(path, kind).is_ok() && others(path)?.is_empty() {
        return Ok(Some(format!(
            "{}: others could read it ({names}); its access list names SYSTEM, Administrators and the service now",
            path.display()
        )));
    }
    let inherit = match kind {
        Kind::File => "",
        Kind::Folder => "(OI)(CI)",
    };
    Err(format!(
        "others may read it ({names}), and that cannot be changed from here; as an administrator: icacls \"{}\" /inheritance:r /grant:r *S-1-5-18:{inherit}F *S-1-5-32-544:{inherit}F \"NT SERVICE\\authrelay:{inherit}F\"",
        path.display()
    ))
}

pub(in super::super) fn hand_to_folder_owner(_: &File, _: &Path) -> Result<(), String> {
    Ok(())
}

pub(in super::super) fn open_folder(_: &Path) -> io::Result<Option<File>> {
    Ok(None)
}

pub(in super::super) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

pub(in super::super) fn open_alone(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    if !path.exists() {
        let mut options = OpenOptions::new();
        drop(open_private(options.write(true).create(true), path)?);
    }
    let mut options = OpenOptions::new();
    options
        .access_mode(READ_AND_WRITE)
        .share_mode(SHARE_READ_AND_DELETE);
    let end = Instant::now() + patience;
    loop {
        match options.open(path) {
            Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => {
                if Instant::now() >= end {
                    return Ok(None);
                }
                std::thread::sleep(RETRY);
            }
            opened => return opened.map(Some),
        }
    }
}

pub(in super::super) fn unbuffered_stdout() -> io::Result<File> {
    Ok(io::stdout().as_handle().try_clone_to_owned()?.into())
}

pub(in super::super) fn has_no_space(_: &File, path: &Path) -> bool {
    fs4::available_space(path.parent().unwrap_or(path)).is_ok_and(|octets| octets == 0)
}

pub(in super::super) fn check_writable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        // Access lists, shares and policies all matter, so only an attempt shows it.
        return tempfile::tempfile_in(path).map(drop);
    }
    match OpenOptions::new().append(true).open(path) {
        // The running relay writes the file.
        Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => Ok(()),
        opened => opened.map(drop),
    }
}

pub(in super::super) fn id_of_path(path: &Path) -> io::Result<FileId> {
    id(winapi_util::Handle::from_path_any(path)?)
}

pub(in super::super) fn id_of_file(file: &File) -> io::Result<FileId> {
    id(file)
}

fn id(of: impl winapi_util::AsHandleRef) -> io::Result<FileId> {
    let information = winapi_util::file::information(of)?;
    Ok(FileId(
        information.volume_serial_number(),
        information.file_index(),
    ))
}

pub(in super::super) fn changed(metadata: &Metadata) -> (i64, i64) {
    (metadata.creation_time().cast_signed(), 0)
}

#[cfg(test)]
pub(in super::super) fn is_private(path: &Path) -> bool {
    access::others(path).is_ok_and(|others| others.is_empty())
}
