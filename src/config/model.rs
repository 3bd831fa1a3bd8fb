//! The configuration as a whole.

use super::account::Account;
use super::admin::Admin;
use super::audit::Audit;
use super::listener::Listener;
use super::notify::{Hook, ReloadMode};
use super::problem::Problem;
use super::provider::Provider;
use super::registration::Registration;
use super::root::{Limits, Log};
use super::state::State;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Checked configuration of authrelay: everything in `proxy.yaml`.
#[derive(Debug)]
pub struct Config {
    /// Path of the file.
    pub path: PathBuf,
    /// Settings of the token store.
    pub state: State,
    /// Name of this relay among several, if the command line gives one.
    pub relay: Option<String>,
    /// Settings of the log: level, format, file.
    pub log: Log,
    /// Settings of audit records, if they are enabled.
    pub audit: Option<Audit>,
    /// Settings of the administrators' listener, if there is one.
    pub admin: Option<Arc<Admin>>,
    /// Event that reloads the file.
    pub reload: ReloadMode,
    /// The file itself, and the files of its secrets, certificates and keys.
    pub files: Vec<PathBuf>,
    /// Whether the file names programs to run: commands of secrets, grants and hooks.
    pub runs_programs: bool,
    /// Hooks called for conditions that need attention.
    pub notify: Vec<Hook>,
    /// Limits of sessions, timeouts and the lockout.
    pub limits: Limits,
    /// Listeners: at least one, with distinct addresses.
    pub listeners: Vec<Arc<Listener>>,
    /// Presets, and providers that the file adds or overrides, by name.
    pub providers: BTreeMap<String, Arc<Provider>>,
    /// Registrations of OAuth clients, by name.
    pub registrations: BTreeMap<String, Arc<Registration>>,
    /// Accounts; there may be none. Resolve logins with [`Logins`](super::Logins), not by searching this
    /// list.
    pub accounts: Vec<Arc<Account>>,
    /// Settings that are allowed but unwise.
    pub warnings: Vec<Problem>,
}
