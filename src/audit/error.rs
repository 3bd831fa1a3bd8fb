//! Error of an audit sink.

use std::fmt;
use std::path::{Path, PathBuf};

/// An audit sink that cannot be used at start.
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
