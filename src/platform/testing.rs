//! What tests beside the code need of the system.

use std::io;
use std::path::Path;

/// Whether scripts for `sh` can be run.
pub const HAS_SHELL: bool = cfg!(unix);

/// Whether no one but the owner, administrators and the service may read a file or enter a folder.
pub fn is_private(path: &Path) -> bool {
    super::system::files::is_private(path)
}

/// Lets a script be run.
pub fn make_executable(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    }
    let _ = path;
    Ok(())
}

/// Puts a file at `path` that nothing can be written to for want of room; whether there is such a
/// thing.
pub fn make_full(path: &Path) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::symlink("/dev/full", path).is_ok();
    #[cfg(windows)]
    {
        let _ = path;
        false
    }
}
