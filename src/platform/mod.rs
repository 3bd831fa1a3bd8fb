//! Everything that differs between operating systems.
//!
//! Contents: private files, file identity, disk space, stop and reload requests, the service
//! manager, process trees, limits, and default paths. `std::os::unix`, `std::os::windows` and `cfg`
//! over systems occur only here (enforced by `tests/architecture.rs`).
//!
//! This file is the interface; `unix/` and `windows/` implement it.

/// Declares functions that the system's half implements, by its modules' names there.
macro_rules! system {
    ($($(#[doc = $about:literal])+ $vis:vis fn $module:ident::$name:ident(
        $($argument:ident: $type:ty),*
    ) $(-> $result:ty)?;)+) => {$(
        $(#[doc = $about])+
        $vis fn $name($($argument: $type),*) $(-> $result)? {
            $crate::platform::system::$module::$name($($argument),*)
        }
    )+};
}

pub mod confinement;
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

/// Whether the kernel reports a socket's readiness only when it changes (epoll, kqueue).
pub const TELLS_OF_CHANGES_ONLY: bool = cfg!(unix);

/// Whether the system reports a socket's error separately from unread octets. On Windows only
/// reading reports it.
pub const TELLS_OF_ERRORS: bool = cfg!(unix);

/// Whether several threads may wait for clients on copies of one listener's socket.
pub const SHARES_LISTENERS: bool = cfg!(unix);

/// Kind of a file system entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

system! {
    /// Creates a folder and its parents, accessible only to the owner (mode 0700; on Windows also to
    /// the service, SYSTEM and Administrators, without inheritance). An existing folder is unchanged.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
    pub fn files::create_private_folder(path: &Path) -> io::Result<()>;

    /// Opens a file. A file created here is readable only by its owner (mode 0600; on Windows also by
    /// the service, SYSTEM and Administrators). An existing file keeps its permissions.
    ///
    /// # Errors
    ///
    /// Those of [`OpenOptions::open`].
    pub fn files::open_private(options: &OpenOptions, path: &Path) -> io::Result<File>;

    /// Opens a file. A file created here is readable by everyone (mode 0644; on Windows as inherited
    /// from the folder).
    ///
    /// # Errors
    ///
    /// Those of [`OpenOptions::open`].
    pub fn files::open_public(options: &OpenOptions, path: &Path) -> io::Result<File>;

    /// Removes other users' access to a file or folder of ours. Returns a description of the change, or
    /// `None` if nothing had to be changed.
    ///
    /// # Errors
    ///
    /// Other users still have access, because the file is not ours or the file system has no
    /// permissions (CIFS, FAT). The error contains the command that helps.
    pub fn files::keep_private(path: &Path, kind: Kind) -> Result<Option<String>, String>;

    /// Gives a file or folder that an administrator has just created to the owner of its folder, since
    /// the service that uses the folder runs as another user. On Windows the folder's access list is
    /// inherited, and nothing has to be done.
    ///
    /// # Errors
    ///
    /// The owner of the folder could not read it.
    pub fn files::hand_to_folder_owner(file: &File, path: &Path) -> Result<(), String>;

    /// Opens a folder as a file, for [`hand_to_folder_owner`]. `None` if the system cannot.
    ///
    /// # Errors
    ///
    /// The folder cannot be opened.
    pub fn files::open_folder(path: &Path) -> io::Result<Option<File>>;

    /// Writes a folder's entries to disk. NTFS does this by its journal.
    ///
    /// # Errors
    ///
    /// The disk does not confirm.
    pub fn files::sync_folder(path: &Path) -> io::Result<()>;

    /// Opens a file that only this process may write, and that others may read at any time. A pipe or
    /// device is opened without waiting for a reader. `patience` allows for a process that is about to
    /// exit, and for a child of ours that still has our descriptors before it executes another program.
    ///
    /// Returns `None` if another process keeps writing it. Writing continues at the position of the
    /// last write: seek to the end first.
    ///
    /// # Errors
    ///
    /// The file cannot be opened.
    pub fn files::open_alone(path: &Path, patience: Duration) -> io::Result<Option<File>>;

    /// Opens standard output as a file without the buffer of [`io::stdout`].
    ///
    /// # Errors
    ///
    /// Standard output is closed.
    pub fn files::unbuffered_stdout() -> io::Result<File>;

    /// Whether the file system at `path` has no space left, except for administrators; `file` is open
    /// there.
    pub fn files::has_no_space(file: &File, path: &Path) -> bool;

    /// Checks whether this process may write an existing file or folder, as far as possible without
    /// writing to a file.
    ///
    /// # Errors
    ///
    /// The reason why it may not.
    pub fn files::check_writable(path: &Path) -> io::Result<()>;
}

/// Identity of a file independent of its name: device and inode, or volume and index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(u64, u64);

impl FileId {
    /// Returns the identity of the file at a path; links are followed.
    ///
    /// # Errors
    ///
    /// There is no such file, or it cannot be queried.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        system::files::id_of_path(path)
    }

    /// Returns the identity of an open file.
    ///
    /// # Errors
    ///
    /// The file cannot be queried.
    pub fn of_file(file: &File) -> io::Result<Self> {
        system::files::id_of_file(file)
    }
}

/// Stamp that detects a changed file without reading it: identity, size, modification time, and
/// change time (Windows: creation time). A replaced link changes the identity, a corrected mode the
/// change time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStamp {
    id: FileId,
    size: u64,
    modified: SystemTime,
    changed: (i64, i64),
}

impl FileStamp {
    /// Takes the stamp of the file at a path; `None` if there is none.
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

system! {
    /// Default path of the configuration, used if there is none in the working directory.
    pub fn host::configuration() -> PathBuf;

    /// Command that opens a URL in the user's browser; `None` without a display.
    pub fn host::browser(url: &str) -> Option<std::process::Command>;
}

/// Host name of the machine; empty if unknown.
pub fn host_name() -> String {
    system::host::name()
}

system! {
    /// Raises the limit of open files as far as this process may; a session uses two.
    ///
    /// # Errors
    ///
    /// The limit is unchanged.
    pub fn host::raise_open_files() -> io::Result<()>;

    /// Keeps memory with secrets out of core files, and from other processes of the same user, as far
    /// as the system allows. Failures are logged.
    pub fn host::keep_memory_private();
}

/// Values of the standard process metrics.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time, user and system, in seconds.
    pub cpu: f64,
    /// Start of the process, in seconds since 1970.
    pub started: f64,
    /// Resident memory in octets.
    pub resident: f64,
    /// Virtual memory in octets.
    pub virtual_memory: f64,
    /// Open descriptors (on Windows: handles), and their limit.
    pub descriptors: (f64, f64),
}

system! {
    /// Resource usage of this process; `None` if the system does not report it (`/proc` is not
    /// mounted).
    pub fn host::usage() -> Option<Usage>;

    /// Lets listeners of this process share a port for a moment, so that one can replace the other. Not
    /// needed on Windows.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn host::share_port(socket: SockRef<'_>, shared: bool) -> io::Result<()>;

    /// Lets a listener bind an address on which its predecessor's connections still linger. On Windows
    /// this needs no option, and the option would let other programs take over the port.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn host::reuse_address(socket: SockRef<'_>) -> io::Result<()>;

    /// Enables keepalive. Windows before 10 1703 lacks some settings; what it supports is set, since
    /// the connection matters more than its keepalive.
    ///
    /// # Errors
    ///
    /// A system that supports all settings refuses.
    pub fn host::set_keepalive(socket: SockRef<'_>, keepalive: &TcpKeepalive) -> io::Result<()>;
}
