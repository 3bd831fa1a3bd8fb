//! Whether the file's sources are read.

/// Whether the sources that the file points at (environment, files, commands) are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// They are, and each must be there.
    Read,
    /// The file alone is looked at: good for checking it on another machine.
    Skip,
}
