//! `proxy.yaml`: a [`Config`] that exists is valid.
//!
//! The file is composed into a tree whose nodes know their line and column (`tree`). Each key is
//! said once (`keys`), with the kind of its value (`value`); from there it is read, described to
//! editors and put into the README (`reference`). What contradicts what is found in `read`, one
//! file a section. Either every problem is reported at once or a `Config` comes out. Secrets are
//! resolved while reading (`source`, `pem`); a secret's value is never part of a [`Problem`].
//! Nothing here opens a socket.

mod account;
mod audit;
mod client;
mod field;
mod hash;
mod keys;
mod kind;
mod logins;
mod notify;
mod pem;
mod provider;
mod read;
mod reference;
mod registration;
mod smtp;
mod source;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;

use crate::secret::Secret;
use crate::tls::ServerCertificate;
use crate::wire::Protocol;
pub use account::{
    Account, CertificateName, LoginPattern, Mailbox, Password, PasswordCheck, Protocols,
};
pub use audit::{Audit, AuditPath, OnFull, Syslog, SyslogTransport};
pub use client::client_network;
use keys::words;
pub use keys::{Limits, Lockout, Log, SmtpPolicy};
pub use logins::Logins;
pub use notify::{Hook, HookTarget, NotifyEvent, ReloadMode};
pub use provider::{
    Egress, EgressKind, Endpoint, IpPreference, Mechanism, PresetCapabilities, Provider,
    RefreshTokens, Scopes, UpstreamTls,
};
pub use registration::{ClientCredential, Grant, Registration, ServiceAccount, SigningKey};
pub use smtp::{LineEnds, SmtpFrom, SmtpLimits, Unauthenticated};
use source::Sources;
pub use store::SharedStore;

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

impl Config {
    /// Reads the file at `path` and everything it points at.
    ///
    /// # Errors
    ///
    /// Every problem, in the order of the file. Never empty.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        read::load(path, Sources::new(path, Secrets::Read))
    }

    /// The same for a text that stands for the file at `path`.
    ///
    /// # Errors
    ///
    /// Every problem, in the order of the text. Never empty.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<Problem>> {
        read::parse(text, path, Sources::new(path, Secrets::Read))
    }

    /// The same without what sources of secrets hold: good for looking at, not for serving.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub fn parse_without_secrets(text: &str, path: &Path) -> Result<Self, Vec<Problem>> {
        read::parse(text, path, Sources::new(path, Secrets::Skip))
    }
}

/// Whether the sources that the file points at (environment, files, commands) are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// They are, and each must be there.
    Read,
    /// The file alone is looked at: good for checking it on another machine.
    Skip,
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

/// Finds every problem of the file at `path`, without a network.
///
/// # Errors
///
/// Every problem, in the order of the file. Never empty.
pub fn check(path: &Path, secrets: Secrets) -> Result<Checked, Vec<Problem>> {
    read::load(path, Sources::new(path, secrets).for_check()).map(Checked::of)
}

/// The same for a text that stands for the file at `path`.
///
/// # Errors
///
/// Every problem, in the order of the text. Never empty.
pub fn check_text(text: &str, path: &Path, secrets: Secrets) -> Result<Checked, Vec<Problem>> {
    read::parse(text, path, Sources::new(path, secrets).for_check()).map(Checked::of)
}

impl Checked {
    fn of(config: Config) -> Self {
        Self {
            listeners: config.listeners.len(),
            registrations: config.registrations.len(),
            accounts: config.accounts.len(),
            warnings: config.warnings,
        }
    }
}

/// The JSON Schema of `proxy.yaml`, for editors.
pub fn schema() -> serde_json::Value {
    reference::schema()
}

/// Mail services that need no configuration, by name.
pub fn presets() -> BTreeMap<String, Arc<Provider>> {
    read::presets()
}

/// The README's reference tables.
pub fn markdown() -> String {
    reference::markdown()
}

/// One thing that is wrong (or, as a warning, unwise) in the file.
///
/// Displayed as `path.to.key: what is wrong (line L, column C)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Key path, as in `accounts[0].password`; empty for the file as a whole.
    pub path: String,
    /// What is wrong and what to write instead; never a secret's value.
    pub message: String,
    /// Line and column, both from 1; absent where the file itself cannot be read.
    pub place: Option<(usize, usize)>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match self.place {
            Some((line, column)) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

/// `state`.
#[derive(Debug)]
pub struct State {
    /// Whether it is used: the file asks for it, or a grant keeps tokens there.
    pub wanted: bool,
    /// Where the tokens are, in files that nobody else may read.
    pub directory: PathBuf,
    /// What they are sealed with.
    pub key: StateKey,
    /// What several relays share, if they do.
    pub store: Option<Arc<SharedStore>>,
}

/// `state.key`.
#[derive(Debug)]
pub enum StateKey {
    /// A file, written on first start.
    File(PathBuf),
    /// From the environment or a command.
    Given(Secret),
}

/// `admin`.
#[derive(Debug)]
pub struct Admin {
    /// Where; port 0 lets the system pick.
    pub bind: SocketAddr,
    /// How browsers reach it, without a slash at the end.
    pub public_url: url::Url,
    /// HTTPS, if it is spoken.
    pub tls: Option<Arc<ServerCertificate>>,
    /// What administrators present.
    pub token: AdminToken,
    /// What opens whatever changes nothing, if anything does.
    pub viewer_token: Option<AdminToken>,
    /// Whether `/metrics` is open to everybody.
    pub metrics_public: bool,
}

/// `admin.token`.
#[derive(Debug, PartialEq, Eq)]
pub enum AdminToken {
    /// A file, written where it is absent.
    File(PathBuf),
    /// From the file itself, the environment or a command.
    Given(Secret),
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            level: tracing::Level::INFO,
            file: None,
            rotate: None,
            keep: None,
        }
    }
}

words! {
    /// `log.format`.
    pub enum LogFormat {
        /// One line a record, `key=value`.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

/// An address on which one protocol is spoken to clients.
#[derive(Debug)]
pub struct Listener {
    /// Unique; default `protocol-port`.
    pub name: String,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where; port 0 lets the system pick.
    pub bind: SocketAddr,
    /// Whose capabilities are shown before the login is known.
    pub provider: Arc<Provider>,
    /// Whether and how clients get TLS.
    pub tls: ListenerTls,
    /// With [`ListenerTls::StartTls`]: no credentials before TLS.
    pub require_tls: bool,
    /// Client networks; `None`: anyone (only on loopback and TLS binds).
    pub allow: Option<Vec<IpNet>>,
    /// Load balancers whose PROXY header is required and believed; empty: clients come themselves.
    pub proxy_protocol: Vec<IpNet>,
    /// Whom clients send for that do not log in (SMTP); never without `allow`.
    pub unauthenticated: Option<Unauthenticated>,
}

impl Listener {
    /// Whether only clients of this machine come: those that a load balancer passes on come from
    /// anywhere.
    pub fn is_loopback(&self) -> bool {
        self.bind.ip().is_loopback() && self.proxy_protocol.is_empty()
    }

    /// Whether `password: any` may open an account here: the bind is loopback or there is an
    /// `allow` list.
    pub fn accepts_any_password(&self) -> bool {
        self.is_loopback() || self.allow.is_some()
    }

    /// Whether clients must show a certificate.
    pub fn requires_client_certificate(&self) -> bool {
        let identity = self.tls.certificate();
        identity.is_some_and(|identity| identity.client_ca.is_some())
    }
}

/// `listeners[].tls`.
#[derive(Debug, Clone)]
pub enum ListenerTls {
    /// Cleartext.
    None,
    /// Cleartext that the client may upgrade.
    StartTls(Arc<ServerCertificate>),
    /// TLS from the first byte.
    Implicit(Arc<ServerCertificate>),
}

impl ListenerTls {
    /// What it shows, unless it is cleartext for good.
    pub fn certificate(&self) -> Option<&Arc<ServerCertificate>> {
        match self {
            Self::None => None,
            Self::StartTls(identity) | Self::Implicit(identity) => Some(identity),
        }
    }
}
