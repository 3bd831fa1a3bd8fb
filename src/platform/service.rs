//! Management of authrelay as a Windows service. Elsewhere systemd does this with the package's
//! unit.

use std::path::Path;

/// Error of a service operation.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The system has no such service manager.
    #[error(
        "services exist only on Windows; here systemd runs authrelay: systemctl start authrelay (the unit is deploy/systemd/authrelay.service, which the package installs)"
    )]
    Unsupported,
    /// The service is not installed.
    #[error(
        "the service authrelay is not installed: authrelay service install --config FILE, as an administrator"
    )]
    NotInstalled,
    /// Only administrators may do this.
    #[error("access denied: run this in an administrator's console")]
    Denied,
    /// The service did not reach the requested state.
    #[error("{0}")]
    State(String),
    /// Any other error, as the system reports it.
    #[error("{0}")]
    Other(String),
}

/// State of the service.
#[derive(Debug, Clone)]
pub struct Status {
    /// Whether the service is running.
    pub is_running: bool,
    /// `running`, `stopped`, `starting` or `stopping`, with the exit code of the last run.
    pub state: String,
    /// Process id while the service runs.
    pub process: Option<u32>,
    /// Command line of the service.
    pub command: String,
    /// Account under which the service runs.
    pub account: String,
    /// `automatic`, `manual`, `disabled` or `system`.
    pub start: String,
}

system! {
    /// Installs the service for a configuration file, or changes the installed one: account `NT
    /// SERVICE\authrelay`, automatic start, restart after a failure, and access to the file's folder
    /// only for the service, SYSTEM and Administrators. Returns what was done, one line each.
    ///
    /// # Errors
    ///
    /// [`ServiceError`]; nothing is installed then.
    pub fn service::install(config: &Path) -> Result<Vec<String>, ServiceError>;

    /// Stops and removes the service; the configuration and the state stay.
    ///
    /// # Errors
    ///
    /// [`ServiceError`].
    pub fn service::uninstall() -> Result<(), ServiceError>;

    /// Starts the service and waits until it serves.
    ///
    /// # Errors
    ///
    /// [`ServiceError`], with the service's exit code if it did not start.
    pub fn service::start() -> Result<(), ServiceError>;

    /// Stops the service and waits until its sessions have drained.
    ///
    /// # Errors
    ///
    /// [`ServiceError`].
    pub fn service::stop() -> Result<(), ServiceError>;

    /// Queries the state of the service.
    ///
    /// # Errors
    ///
    /// [`ServiceError`].
    pub fn service::status() -> Result<Status, ServiceError>;
}
