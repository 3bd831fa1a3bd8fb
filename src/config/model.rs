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

/// Everything `proxy.yaml` says, checked.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// Where tokens are kept.
    pub state: State,
    /// This relay's name among several, where the command line gives one.
    pub relay: Option<String>,
    /// How to log.
    pub log: Log,
    /// Where audit records go, if they go anywhere.
    pub audit: Option<Audit>,
    /// The administrators' listener, if there is one.
    pub admin: Option<Arc<Admin>>,
    /// What makes the file be read anew.
    pub reload: ReloadMode,
    /// The file and those that its secrets, certificates and keys were read from.
    pub files: Vec<PathBuf>,
    /// Whom to tell of what needs a person.
    pub notify: Vec<Hook>,
    /// Sessions, deadlines and the lockout.
    pub limits: Limits,
    /// At least one; no two on one address.
    pub listeners: Vec<Arc<Listener>>,
    /// The presets and what the file adds or overrides, by name.
    pub providers: BTreeMap<String, Arc<Provider>>,
    /// OAuth clients, by name.
    pub registrations: BTreeMap<String, Arc<Registration>>,
    /// At least one. Resolve a login with `accounts`, not by walking this list.
    pub accounts: Vec<Arc<Account>>,
    /// What is allowed but unwise.
    pub warnings: Vec<Problem>,
}

/// What a check found good.
#[derive(Debug)]
pub struct Checked {
    /// How many listeners there are.
    pub listeners: usize,
    /// How many registrations.
    pub registrations: usize,
    /// How many accounts.
    pub accounts: usize,
    /// What is allowed but unwise.
    pub warnings: Vec<Problem>,
}
