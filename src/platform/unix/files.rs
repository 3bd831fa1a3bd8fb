//! Unix files: mode, owner, device and inode.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _, fchown,
};
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::{FileId, Kind};

/// Permission bits of the group and of others.
const OTHERS: u32 = 0o077;

/// Interval for retrying a lock that another process holds.
const RETRY: Duration = Duration::from_millis(10);

pub(in super::super) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(in super::super) fn open_private(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.clone().mode(0o600).open(path)
}

pub(in super::super) fn open_public(options: &OpenOptions, path: &Path) -> io::Result<File> {
    options.clone().mode(0o644).open(path)
}

/// Kubernetes resets the modes of volumes (`fsGroup`) at each mount.
pub(in super::super) fn keep_private(path: &Path, kind: Kind) -> Result<Option<String>, String> {
    let mode = match kind {
        Kind::File => 0o600,
        Kind::Folder => 0o700,
    };
    let metadata = || std::fs::metadata(path).map_err(|error| error.to_string());
    let is_open = |metadata: &Metadata| metadata.permissions().mode() & OTHERS != 0;
    let before = metadata()?;
    let had = before.permissions().mode() & 0o7777;
    let ours = rustix::process::geteuid().as_raw();
    if !is_open(&before) || (before.is_file() && handed_over(before.uid(), ours, had)) {
        return Ok(None);
    }
    let changed = match before.uid() == ours || ours == 0 {
        true => std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    };
    if changed.is_ok() && !is_open(&metadata()?) {
        return Ok(Some(format!(
            "{}: others could read it (mode {had:04o}); its mode is {mode:04o} now",
            path.display()
        )));
    }
    Err(format!(
        "others may read it (mode {had:04o}), and that cannot be changed from here; set mode {mode:04o}: chmod {mode:04o} {}",
        path.display()
    ))
}

/// Whether root gave a file to a group of ours (mode 0440 or 0640), as systemd and Kubernetes do
/// with secrets for unprivileged services.
fn handed_over(owner: u32, ours: u32, mode: u32) -> bool {
    owner == 0 && ours != 0 && mode & (OTHERS & !0o040) == 0
}

pub(in super::super) fn hand_to_folder_owner(file: &File, path: &Path) -> Result<(), String> {
    let Some(folder) = path.parent().and_then(|folder| folder.metadata().ok()) else {
        return Ok(());
    };
    let owner = file.metadata().map_err(|error| error.to_string())?.uid();
    let ours = rustix::process::geteuid().as_raw();
    if owner == folder.uid() || owner != ours {
        return Ok(());
    }
    // A folder owned by root is for administrators.
    if folder.uid() == 0 {
        return Ok(());
    }
    fchown(file, Some(folder.uid()), Some(folder.gid())).map_err(|_| {
        format!(
            "the state directory belongs to another user, who could not read what is written here; run this as that user: sudo -u '#{}' authrelay …",
            folder.uid()
        )
    })
}

pub(in super::super) fn open_folder(path: &Path) -> io::Result<Option<File>> {
    File::open(path).map(Some)
}

pub(in super::super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub(in super::super) fn open_alone(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    let kind = std::fs::metadata(path).map(|metadata| metadata.file_type());
    let mut options = OpenOptions::new();
    match &kind {
        // Opened for reading too, so that opening does not wait for a reader and a lost reader is
        // no error.
        Ok(kind) if kind.is_fifo() => options.read(true).write(true),
        Ok(kind) if kind.is_char_device() => options.write(true),
        _ => options.read(true).append(true).create(true).mode(0o600),
    };
    let file = options.open(path)?;
    let end = Instant::now() + patience;
    while file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(RETRY),
            Err(TryLockError::WouldBlock) => return Ok(None),
            // Some network file systems do not support locks.
            Ok(()) | Err(TryLockError::Error(_)) => break,
        }
    }
    Ok(Some(file))
}

pub(in super::super) fn unbuffered_stdout() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

pub(in super::super) fn has_no_space(file: &File, _: &Path) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|space| space.f_blocks > 0 && space.f_bavail == 0)
}

pub(in super::super) fn check_writable(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::access(path, rustix::fs::Access::WRITE_OK)?)
}

pub(in super::super) fn id_of_path(path: &Path) -> io::Result<FileId> {
    std::fs::metadata(path).map(|metadata| id(&metadata))
}

pub(in super::super) fn id_of_file(file: &File) -> io::Result<FileId> {
    file.metadata().map(|metadata| id(&metadata))
}

fn id(metadata: &Metadata) -> FileId {
    FileId(metadata.dev(), metadata.ino())
}

pub(in super::super) fn changed(metadata: &Metadata) -> (i64, i64) {
    (metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(test)]
pub(in super::super) fn is_private(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS == 0)
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
