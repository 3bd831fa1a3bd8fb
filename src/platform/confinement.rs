//! Confinement of this process to the files and TCP ports that it needs, by the kernel (Linux: Landlock). It binds
//! the programs that the process starts, too, and ends with the process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::system;

/// Files and ports that a process needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Folders of which everything may be read.
    pub read: BTreeSet<PathBuf>,
    /// Folders of which everything may be read and changed.
    pub write: BTreeSet<PathBuf>,
    /// TCP ports that may be connected to; `None`: all.
    pub connect: Option<BTreeSet<u16>>,
}

/// Outcome of a confinement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The process is not confined, with the reason.
    Unconfined(String),
    /// Files are confined; the kernel cannot confine ports.
    Files,
    /// Files are confined, and ports as far as the needs name them.
    FilesAndPorts,
}

/// Confines the calling thread and all that it starts from here on: call it before there are others. System files that
/// every program reads (`/etc`, libraries, `/proc`) are added.
pub fn confine(needs: &Needs) -> Outcome {
    system::confinement::confine(needs)
}

/// System folders and files that a confined process may read in addition to its needs.
pub fn system_files() -> impl Iterator<Item = &'static Path> {
    system::confinement::SYSTEM.iter().map(Path::new)
}
