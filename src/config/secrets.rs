//! Whether the file's sources are read.

/// Whether the sources that the file points at (environment, files, commands) are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// They are read, and each must be present.
    Read,
    /// Only the file itself is read: good for checking it on another machine.
    Skip,
}
