//! Checks of paths that `run` writes.

use std::path::Path;

use super::field::Field;

/// Checks that a path names a file, not a folder, which this process may write or create.
pub(super) fn check_file(field: &Field, path: &Path) -> Option<()> {
    if path.is_dir() {
        return field.reject("is a folder; name a file in it");
    }
    can_be_written(field, path).then_some(())
}

/// Whether this process may write a file or folder, or create it; reports problems.
pub(super) fn can_be_written(field: &Field, path: &Path) -> bool {
    if !field.sources().tries_writing() {
        return true;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(there) = absolute.ancestors().find(|path| path.exists()) else {
        return true;
    };
    let why = match crate::platform::check_writable(there) {
        _ if there != absolute && !there.is_dir() => "is not a folder".to_owned(),
        Ok(()) => return true,
        Err(error) => error.to_string(),
    };
    field.problem(format_args!(
        "{} cannot be written: {}: {why}",
        path.display(),
        there.display()
    ));
    false
}
