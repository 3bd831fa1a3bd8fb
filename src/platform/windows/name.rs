//! Name of the Windows service, for its modules.

/// Name of the Windows service.
pub(in super::super) const NAME: &str = "authrelay";
