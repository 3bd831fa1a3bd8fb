//! Why audit records cannot be written.

use std::fmt;
use std::path::{Path, PathBuf};

/// A sink that cannot be used from the start.
#[derive(Debug, thiserror::Error)]
#[error("audit.path: {}: {why}", path.display())]
pub struct AuditError {
    path: PathBuf,
    why: String,
}

impl AuditError {
    pub(super) fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}
