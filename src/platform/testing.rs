//! Platform functions for unit tests.

use std::io;
use std::path::Path;

/// Whether `sh` scripts can be run.
pub const HAS_SHELL: bool = cfg!(unix);

/// Whether only the owner, administrators and the service have access to a file or folder.
pub fn is_private(path: &Path) -> bool {
    super::system::files::is_private(path)
}

/// Makes a script executable.
pub fn make_executable(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    let _ = path;
    Ok(())
}

/// Creates a file at `path` that is always full. Returns false if the system has no such file.
pub fn make_full(path: &Path) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::symlink("/dev/full", path).is_ok();
    #[cfg(windows)]
    {
        let _ = path;
        false
    }
}
