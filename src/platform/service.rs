//! authrelay as a service of Windows: installed, started, asked. Elsewhere systemd does that with
//! the unit that the package brings.

use std::path::Path;

use super::system;

/// Why the service manager did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The system has no such manager.
    #[error(
        "services are Windows' only; here systemd runs authrelay: systemctl start authrelay (the unit is deploy/systemd/authrelay.service, which the package installs)"
    )]
    Unsupported,
    /// There is none.
    #[error(
        "the service authrelay is not installed: authrelay service install --config FILE, as an administrator"
    )]
    NotInstalled,
    /// Only administrators may.
    #[error("access denied: run this in a console of an administrator")]
    Denied,
    /// It did not reach the state that was asked for.
    #[error("{0}")]
    State(String),
    /// Anything else, as the system says it.
    #[error("{0}")]
    Other(String),
}

/// What the manager knows of the service.
#[derive(Debug, Clone)]
pub struct Status {
    /// Whether it serves.
    pub is_running: bool,
    /// `running`, `stopped`, `starting`, `stopping`, with what its last run ended with.
    pub state: String,
    /// Its process while it has one.
    pub process: Option<u32>,
    /// What starts it: the program, its arguments, the account, when.
    pub command: String,
    /// The account it runs as.
    pub account: String,
    /// `automatic`, `manual`, `disabled`.
    pub start: String,
}

/// Installs the service for a configuration file, or changes the installed one to it: the account
/// `NT SERVICE\authrelay`, automatic start, a restart after a failure, and access to the file's
/// folder for it, SYSTEM and Administrators alone. Returns what was done, a line each.
///
/// # Errors
///
/// [`ServiceError`]; nothing is installed then.
pub fn install(config: &Path) -> Result<Vec<String>, ServiceError> {
    system::service::install(config)
}

/// Stops and removes the service; the configuration and the state stay.
///
/// # Errors
///
/// [`ServiceError`].
pub fn uninstall() -> Result<(), ServiceError> {
    system::service::uninstall()
}

/// Starts the service and waits until it serves.
///
/// # Errors
///
/// [`ServiceError`], with what the service ended with where it did not come up.
pub fn start() -> Result<(), ServiceError> {
    system::service::start()
}

/// Stops the service and waits until its sessions have drained.
///
/// # Errors
///
/// [`ServiceError`].
pub fn stop() -> Result<(), ServiceError> {
    system::service::stop()
}

/// What the manager knows.
///
/// # Errors
///
/// [`ServiceError`].
pub fn status() -> Result<Status, ServiceError> {
    system::service::status()
}
