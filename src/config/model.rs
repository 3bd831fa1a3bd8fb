//! Everything the file says.

use super::account::Account;
use super::audit::Audit;
use super::keys::{Limits, Log};
use super::notify::{Hook, ReloadMode};
use super::problem::Problem;
use super::provider::Provider;
use super::registration::Registration;
use super::sections::{Admin, Listener, State};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Configuration of the relay: everything `proxy.yaml` says, checked.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// Settings of the place where tokens are kept.
    pub state: State,
    /// This relay's name among several, where the command line gives one.
    pub relay: Option<String>,
    /// Settings of the log: level, format, file.
    pub log: Log,
    /// Where audit records go, if they go anywhere.
    pub audit: Option<Audit>,
    /// The administrators' listener, if there is one.
    pub admin: Option<Arc<Admin>>,
    /// Event that makes the relay read the file again.
    pub reload: ReloadMode,
    /// The file and those that its secrets, certificates and keys were read from.
    pub files: Vec<PathBuf>,
    /// Whether it names programs to run: commands of secrets, grants and hooks.
    pub runs_programs: bool,
    /// Hooks that are called for conditions that need a person.
    pub notify: Vec<Hook>,
    /// Sessions, deadlines and the lockout.
    pub limits: Limits,
    /// At least one; no two on one address.
    pub listeners: Vec<Arc<Listener>>,
    /// The presets and what the file adds or overrides, by name.
    pub providers: BTreeMap<String, Arc<Provider>>,
    /// Registrations of OAuth clients, by name.
    pub registrations: BTreeMap<String, Arc<Registration>>,
    /// At least one. Resolve a login with `accounts`, not by walking this list.
    pub accounts: Vec<Arc<Account>>,
    /// Problems that are allowed but unwise.
    pub warnings: Vec<Problem>,
}

/// Summary of a configuration that a check found good.
#[derive(Debug)]
pub struct Checked {
    /// Number of listeners there are.
    pub listeners: usize,
    /// Number of registrations in the file.
    pub registrations: usize,
    /// Number of accounts in the file.
    pub accounts: usize,
    /// Problems that are allowed but unwise.
    pub warnings: Vec<Problem>,
}
