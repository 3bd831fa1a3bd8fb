//! Directory of the configuration, the files that were read, and what the file is read for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Extent of reading: what else than the file itself is read and tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadMode {
    /// For serving: each source in the file (environment, files, commands) must be present.
    Run,
    /// For reporting everything that `run` would, including paths that it could not write.
    Check,
    /// For checking only the file itself, as for another machine: sources are not read.
    CheckWithoutSecrets,
}

/// Base of relative paths, and how sources are handled.
#[derive(Debug)]
pub(super) struct Sources {
    directory: PathBuf,
    mode: LoadMode,
    /// Files that were read for values.
    files: RefCell<BTreeSet<PathBuf>>,
    /// Whether the file names a program to run.
    programs: Cell<bool>,
}

impl Sources {
    /// Creates the sources of the configuration at `path`.
    pub(super) fn new(path: &Path, mode: LoadMode) -> Self {
        Self {
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            mode,
            files: RefCell::default(),
            programs: Cell::default(),
        }
    }

    /// Whether sources are read.
    pub(super) fn are_read(&self) -> bool {
        self.mode != LoadMode::CheckWithoutSecrets
    }

    /// Whether paths that `run` writes are tried; `run` itself reports them when it writes.
    pub(super) fn tries_writing(&self) -> bool {
        self.mode == LoadMode::Check
    }

    /// Notes a file that is read.
    pub(super) fn note(&self, path: &Path) {
        self.files.borrow_mut().insert(path.to_owned());
    }

    /// Files that were read.
    pub(super) fn noted(&self) -> Vec<PathBuf> {
        self.files.borrow().iter().cloned().collect()
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

    /// Whether a resolved program is nowhere to be found. False if sources are not read.
    pub(super) fn lack_program(&self, program: &Path) -> bool {
        if !self.are_read() {
            return false;
        }
        let is_there = |program: &Path| {
            // Windows starts a program without its ending.
            program.is_file() || program.with_added_extension("exe").is_file()
        };
        if program.components().nth(1).is_some() {
            return !is_there(program);
        }
        let folders = std::env::var_os("PATH").unwrap_or_default();
        !std::env::split_paths(&folders).any(|folder| is_there(&folder.join(program)))
    }

    /// Whether a program was named.
    pub(super) fn name_programs(&self) -> bool {
        self.programs.get()
    }
}
