//! Whether sources of secrets are read.

/// Whether the sources in the file (environment, files, commands) are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// Sources are read, and each must be present.
    Read,
    /// Only the file itself is read, to check it on another machine.
    Skip,
}
