//! What differs between operating systems: private files, a file's identity, room on disk, requests
//! to stop and to reload, the service manager, process trees, limits, and what is usual where.
//! Everything else is the same code on all of them. `std::os::unix`, `std::os::windows` and `cfg`
//! over systems stand here and nowhere else (`tests/architecture.rs`).
//!
//! This file is the interface; `unix/` and `windows/` hold what it calls.

pub mod manager;
pub mod process;
pub mod service;
#[cfg(test)]
pub mod testing;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as system;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use socket2::{SockRef, TcpKeepalive};

/// Whether the kernel tells of a socket's readiness when it changes, and not again while it lasts
/// (epoll, kqueue).
pub const TELLS_OF_CHANGES_ONLY: bool = cfg!(unix);

/// Whether the system tells of a socket's error apart from octets that wait to be read. Windows tells
/// whoever reads.
pub const TELLS_OF_ERRORS: bool = cfg!(unix);

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

/// Makes a folder, and those above it, that only its owner may enter (mode 0700; on Windows also
/// the service, SYSTEM and Administrators, nothing inherited). One that exists stays as it is.
///
/// # Errors
///
/// Where it cannot be made.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    system::files::create_private_folder(path)
}

/// Opens a file; one that this makes can be read by its owner alone (mode 0600; on Windows also by
/// the service, SYSTEM and Administrators). One that exists keeps its permissions.
///
/// # Errors
///
/// As of [`OpenOptions::open`].
pub fn open_private(options: &OpenOptions, path: &Path) -> io::Result<File> {
    system::files::open_private(options, path)
}

/// Opens a file; one that this makes can be read by everyone (mode 0644; on Windows what the folder
/// hands down).
///
/// # Errors
///
/// As of [`OpenOptions::open`].
pub fn open_public(options: &OpenOptions, path: &Path) -> io::Result<File> {
    system::files::open_public(options, path)
}

/// Takes away what others may do with a file or folder of ours; returns what was done, in words, or
/// `None` where there was nothing to do.
///
/// # Errors
///
/// Why others can read it still, with the command that helps: it is not ours, or the file system
/// keeps no permissions (CIFS, FAT).
pub fn keep_private(path: &Path, kind: Kind) -> Result<Option<String>, String> {
    system::files::keep_private(path, kind)
}

/// Gives a file or folder that an administrator has just made to the owner of the folder it is in:
/// the service that uses the folder runs as somebody else. Nothing to do on Windows, where the
/// folder hands its access list down.
///
/// # Errors
///
/// Why the folder's owner could not read it.
pub fn hand_to_folder_owner(file: &File, path: &Path) -> Result<(), String> {
    system::files::hand_to_folder_owner(file, path)
}

/// Opens a folder as a file, for [`hand_to_folder_owner`]; `None` where the system has no such
/// thing.
///
/// # Errors
///
/// Where it cannot be opened.
pub fn open_folder(path: &Path) -> io::Result<Option<File>> {
    system::files::open_folder(path)
}

/// Has the system write a folder's entries to disk, where it does so when asked; NTFS keeps a
/// journal of them instead.
///
/// # Errors
///
/// Where the disk does not confirm.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    system::files::sync_folder(path)
}

/// Opens a file for records that this process alone may write, and that others may read at any
/// time. A pipe or device opens without waiting for a reader. `patience` is for a process that is
/// just ending, or a child of ours that has our descriptors until it is another program.
///
/// Returns `None` where another process goes on writing it. Its writes go to where the last one
/// ended: seek to the end first.
///
/// # Errors
///
/// Where it cannot be opened.
pub fn open_alone(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    system::files::open_alone(path, patience)
}

/// Standard output as a file of its own, without the buffer of [`io::stdout`].
///
/// # Errors
///
/// Where it is closed.
pub fn unbuffered_stdout() -> io::Result<File> {
    system::files::unbuffered_stdout()
}

/// Whether no one but an administrator could write another block where the file is; `path` is the
/// file's.
pub fn has_no_space(file: &File, path: &Path) -> bool {
    system::files::has_no_space(file, path)
}

/// Whether this process may write a file or folder that exists, as far as that can be told without
/// writing to a file.
///
/// # Errors
///
/// Why it may not.
pub fn check_writable(path: &Path) -> io::Result<()> {
    system::files::check_writable(path)
}

/// The identity of a file, whatever its name: device and inode, or volume and index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(u64, u64);

impl FileId {
    /// The file at a path; links are followed.
    ///
    /// # Errors
    ///
    /// Where there is none, or it cannot be asked.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        system::files::id_of_path(path)
    }

    /// An open file.
    ///
    /// # Errors
    ///
    /// Where it cannot be asked.
    pub fn of_file(file: &File) -> io::Result<Self> {
        system::files::id_of_file(file)
    }
}

/// What tells one content of a file from another without reading it: identity, size, when it was
/// modified, and when it was changed in any way (Windows: made). A replaced link shows as another
/// identity, a mended mode as a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    id: FileId,
    size: u64,
    modified: SystemTime,
    changed: (i64, i64),
}

impl FileStamp {
    /// The file at a path now; `None` where there is none.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            id: FileId::of_path(path).ok()?,
            size: metadata.len(),
            modified: metadata.modified().ok()?,
            changed: system::files::changed(&metadata),
        })
    }
}

/// Where the configuration is looked for beside the working directory: the system's place.
pub fn configuration() -> PathBuf {
    system::host::configuration()
}

/// The program that shows an address to the person at this machine, in the browser of their choice;
/// `None` where there is no display.
pub fn browser(url: &str) -> Option<std::process::Command> {
    system::host::browser(url)
}

/// The machine's name; empty where it has none.
pub fn host_name() -> String {
    system::host::name()
}

/// Raises the limit of open files as far as this process may: a session takes two.
///
/// # Errors
///
/// Where it stays as it is.
pub fn raise_open_files() -> io::Result<()> {
    system::host::raise_open_files()
}

/// Keeps what is in memory (client secrets, passwords, tokens) out of core files and from other
/// processes of the same user, as far as the system can; what it cannot is logged.
pub fn keep_memory_private() {
    system::host::keep_memory_private();
}

/// What the standard process metrics are made of.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time, user and system, in seconds.
    pub cpu: f64,
    /// When the process started, in seconds since 1970.
    pub started: f64,
    /// Resident memory in octets.
    pub resident: f64,
    /// Virtual memory in octets.
    pub virtual_memory: f64,
    /// Open descriptors (on Windows: handles), and how many may be.
    pub descriptors: (f64, f64),
}

/// What this process uses; `None` where the system does not say (`/proc` is not mounted).
pub fn usage() -> Option<Usage> {
    system::host::usage()
}

/// Lets several listeners of this process share a port for a moment, so that one may follow the
/// other; Windows needs no such thing.
///
/// # Errors
///
/// Where the system refuses.
pub fn share_port(socket: SockRef<'_>, shared: bool) -> io::Result<()> {
    system::host::share_port(socket, shared)
}

/// Lets a listener take an address that connections of its predecessor still linger on. Windows
/// does so by itself, and there the option would let other programs take the port from us.
///
/// # Errors
///
/// Where the system refuses.
pub fn reuse_address(socket: SockRef<'_>) -> io::Result<()> {
    system::host::reuse_address(socket)
}

/// Switches keepalive on. Windows before 10 1703 lacks some of its settings: there it does what it
/// can, since a connection is worth more than its keepalive.
///
/// # Errors
///
/// Where a system that has all of them refuses.
pub fn set_keepalive(socket: SockRef<'_>, keepalive: &TcpKeepalive) -> io::Result<()> {
    system::host::set_keepalive(socket, keepalive)
}
