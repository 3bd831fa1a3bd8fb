//! The file as a whole, `log` and `limits`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::account::{Account, AccountKeys};
use super::admin::{Admin, AdminKeys};
use super::audit::Audit;
use super::field::Field;
use super::key::{section, words};
use super::listener::{Listener, ListenerKeys};
use super::notify::{Hook, ReloadMode};
use super::problem::Problem;
use super::provider::{Provider, ProviderSection};
use super::registration::{Registration, RegistrationKeys};
use super::state::{State, StateKeys};
use super::value::{Each, Named, YEAR};
use super::writable::check_file;

/// More sessions than a machine has ports for.
const MOST: usize = 1_000_000;

/// Less, and no login could end before the margin that is kept for its own fault.
const LEAST_LOGIN: Duration = Duration::from_secs(3);

section! {
    /// Checked configuration of authrelay: everything in `proxy.yaml`.
    pub struct Config from Root {
        /// Storage of tokens that consents bring
        pub state: State as StateKeys = "{}": "`./state`",
        /// Format and destination of the log
        pub log: Log = "{}": "JSON on stderr",
        /// Destination of [audit records](docs/audit.md)
        pub audit: Option<Audit>: "no audit records",
        /// Administrators' listener: status page (`/`), health (`/livez`, `/readyz`), `/metrics`, OAuth callback, API
        pub admin: Option<Arc<Admin>> as AdminKeys: "no listener",
        /// `watch`: compares the contents of the file, of its secrets' files and certificates every 10 s, and reloads after a change. `signal`: reloads only on SIGHUP and `authrelay reload`
        pub reload: ReloadMode = "signal",
        /// Programs and URLs that get an alert when something requires a person; see [Alerts](docs/operations.md#alerts)
        pub notify: Vec<Hook>: "no alerts",
        /// Numbers of sessions, deadlines and the lockout
        pub limits: Limits = "{}",
        /// Addresses on which clients connect
        pub listeners: Vec<Arc<Listener>> as Each<ListenerKeys> => "a list of addresses and protocols",
        /// Mail services, by name. A preset's name overrides keys of the preset; a new name adds a provider
        pub providers: BTreeMap<String, Arc<Provider>> as Named<ProviderSection>: "the presets",
        /// OAuth clients (in Entra: app registrations), by name
        pub registrations: BTreeMap<String, Arc<Registration>> as Named<RegistrationKeys>: "none",
        /// Logins that clients may use, and the mailboxes that they open
        pub accounts: Vec<Arc<Account>> as Each<AccountKeys, 0>: "none, and no client can log in",
    }
    with {
        /// Path of the file.
        pub path: PathBuf,
        /// Name of this relay among several, if the command line gives one.
        pub relay: Option<String>,
        /// The file itself, and the files of its secrets, certificates and keys.
        pub files: Vec<PathBuf>,
        /// Whether the file names programs to run: commands of secrets, grants and hooks.
        pub runs_programs: bool,
        /// Settings that are allowed but unwise.
        pub warnings: Vec<Problem>,
    }
}

section! {
    /// `log`.
    #[derive(PartialEq, Eq)]
    pub struct Log for Log {
        /// `text`: one readable line a record; `json`: one JSON object a line
        pub format: LogFormat = "json",
        /// Least severity that is logged
        pub level: Level = "info",
        /// Log file, mode 0600; SIGHUP reopens it
        pub file: Option<PathBuf>: "stderr",
        /// With `file`: size at which the file is renamed to `FILE.1`, the one before to `FILE.2`, and so on
        pub rotate: Option<u64>: "never",
        /// With `rotate`: number of renamed files that are kept
        pub keep: Option<usize>[1..=1_000]: "7",
    }
}

impl Log {
    fn build(self, field: &Field) -> Option<Self> {
        for (key, is_usable, needs) in [
            ("rotate", self.file.is_some(), "file"),
            ("keep", self.rotate.is_some(), "rotate"),
        ] {
            if !is_usable {
                let what = format_args!("has no effect without log.{needs}; remove it");
                field.reject_key(key, what);
            }
        }
        if let Some(path) = &self.file {
            check_file(&field.at("file"), path)?;
        }
        Some(self)
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            level: Level::INFO,
            file: None,
            rotate: None,
            keep: None,
        }
    }
}

words! {
    /// Format of log records, from `log.format`.
    pub enum LogFormat {
        /// One line per record, with `key=value` pairs.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

section! {
    /// `limits`.
    #[derive(PartialEq, Eq)]
    pub struct Limits {
        /// Most sessions of all listeners together. A further client gets a refusal
        pub sessions: usize[1..=MOST] = "10000",
        /// Most sessions of one client address; IPv6 addresses count by /64
        pub sessions_per_client: usize[1..=MOST] = "1000",
        /// Longest time from the connection to the end of the login
        pub login_timeout: Duration[LEAST_LOGIN..=YEAR] = "60s",
        /// Longest time without an octet in either direction after the login; at least 30m if there is an IMAP listener
        pub idle_timeout: Duration = "35m",
        /// Longest time for each of connection, TLS, greeting and login upstream, and for a token request
        pub upstream_timeout: Duration = "20s",
        /// Time that open sessions have to end after SIGTERM, or after a reload that removed their account
        pub drain_timeout: Duration = "30s",
        /// Lockout of a client address (IPv6 by /64) for one login; answers are delayed from the third failure on
        pub lockout: Lockout = "{}",
    }
}

section! {
    /// `limits.lockout`: what happens to clients that guess.
    #[derive(PartialEq, Eq)]
    pub struct Lockout {
        /// Failures within `window` after which the login is locked
        pub failures: u32[1..=1_000_000] = "10",
        /// Time during which a failure counts
        pub window: Duration = "10m",
        /// Duration of a lock
        pub duration: Duration = "5m",
    }
}
