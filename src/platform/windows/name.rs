//! What the service is called.

/// The service's name.
pub(in super::super) const NAME: &str = "authrelay";
