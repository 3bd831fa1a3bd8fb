//! Directory of the configuration, the files that were read, and whether secrets are read.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Whether the sources in the file (environment, files, commands) are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// Sources are read, and each must be present.
    Read,
    /// Only the file itself is read, to check it on another machine.
    Skip,
}

/// Base of relative paths, and how sources are handled.
#[derive(Debug)]
pub(super) struct Sources {
    directory: PathBuf,
    secrets: Secrets,
    /// Whether paths that `run` writes are checked; `run` itself reports them when it writes.
    pub(super) tries_writing: bool,
    /// Files that were read for values.
    files: RefCell<BTreeSet<PathBuf>>,
    /// Whether the file names a program to run.
    programs: Cell<bool>,
}

impl Sources {
    /// Creates the sources of the configuration at `path`.
    pub(super) fn new(path: &Path, secrets: Secrets) -> Self {
        Self {
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            secrets,
            tries_writing: false,
            files: RefCell::default(),
            programs: Cell::default(),
        }
    }

    /// Notes a file that is read.
    pub(super) fn note(&self, path: &Path) {
        self.files.borrow_mut().insert(path.to_owned());
    }

    /// Files that were read.
    pub(super) fn noted(&self) -> Vec<PathBuf> {
        self.files.borrow().iter().cloned().collect()
    }

    /// Enables the checks of `check`, which reports everything that `run` would.
    pub(super) fn for_check(self) -> Self {
        Self {
            tries_writing: self.are_read(),
            ..self
        }
    }

    /// Resolves a path relative to the configuration.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// Resolves a program: a name is searched in PATH, a path is relative to the configuration.
    pub(super) fn program(&self, program: &str) -> PathBuf {
        self.programs.set(true);
        match program.contains('/') || Path::new(program).components().nth(1).is_some() {
            true => self.directory.join(program),
            false => PathBuf::from(program),
        }
    }

    /// Whether a program was named.
    pub(super) fn name_programs(&self) -> bool {
        self.programs.get()
    }

    pub(super) fn are_read(&self) -> bool {
        self.secrets == Secrets::Read
    }
}
