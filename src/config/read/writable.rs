//! Check for writable paths.

use super::super::field::Field;
use std::path::Path;

/// Whether this process may write a file or folder, or create it; reports problems.
pub(super) fn can_be_written(field: &Field, path: &Path) -> bool {
    if !field.sources().tries_writing {
        return true;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(there) = absolute.ancestors().find(|path| path.exists()) else {
        return true;
    };
    let why = match crate::platform::check_writable(there) {
        _ if there != absolute && !there.is_dir() => "is no folder".to_owned(),
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
