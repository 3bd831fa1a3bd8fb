//! `proxy.yaml`: a [`Config`] that exists is valid.
//!
//! The file is composed into a tree whose nodes know their line and column (`tree`), read key by
//! key (`field`, and in `read` one file a section), and either every problem is reported at once
//! or a `Config` comes out. Secrets are resolved while reading (`source`); a secret's value is
//! never part of a [`Problem`]. Nothing here opens a socket.

mod field;
mod preset;
mod read;
mod schema;
mod source;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::secret::Secret;
use crate::wire::Protocol;
pub use crate::wire::sasl::Mechanism;

/// Everything `proxy.yaml` says, checked.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// How to log.
    pub log: Log,
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
        read::load(path, Secrets::Read)
    }

    /// The same for a text that stands for the file at `path`.
    ///
    /// # Errors
    ///
    /// Every problem, in the order of the text. Never empty.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<Problem>> {
        read::parse(text, path, Secrets::Read)
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
    let config = read::load(path, secrets)?;
    Ok(Checked {
        listeners: config.listeners.len(),
        registrations: config.registrations.len(),
        accounts: config.accounts.len(),
        warnings: config.warnings,
    })
}

/// The JSON Schema of `proxy.yaml`, for editors.
pub fn schema() -> serde_json::Value {
    schema::schema()
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

/// `log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Text for people, JSON for machines.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: tracing::Level,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line a record, `key=value`.
    Text,
    /// One JSON object a line.
    Json,
}

/// `limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sessions on all listeners together.
    pub sessions: usize,
    /// Sessions of one client address.
    pub sessions_per_client: usize,
    /// From accept to the end of login, whole.
    pub login_timeout: Duration,
    /// Relay phase, no byte either way.
    pub idle_timeout: Duration,
    /// Each of: dial, TLS, greeting, authentication; and a token request.
    pub upstream_timeout: Duration,
    /// From SIGTERM to the hard stop.
    pub drain_timeout: Duration,
    /// What happens to clients that guess.
    pub lockout: Lockout,
}

/// `limits.lockout`: per (client address, login).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lockout {
    /// So many failures within `window` lock.
    pub failures: u32,
    /// How long a failure counts.
    pub window: Duration,
    /// How long a lock holds.
    pub duration: Duration,
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
}

impl Listener {
    /// Whether `password: any` may open an account here: the bind is loopback or there is an
    /// `allow` list.
    pub fn takes_any_password(&self) -> bool {
        self.bind.ip().is_loopback() || self.allow.is_some()
    }
}

/// `listeners[].tls`.
#[derive(Debug, Clone)]
pub enum ListenerTls {
    /// Cleartext.
    None,
    /// Cleartext that the client may upgrade.
    StartTls(Arc<Identity>),
    /// TLS from the first byte.
    Implicit(Arc<Identity>),
}

/// A certificate chain and its private key, read and found to belong together.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

/// Hosts, endpoints and habits of one mail service.
#[derive(Debug)]
pub struct Provider {
    /// Its key under `providers`.
    pub name: String,
    /// Where IMAP is, if the service has it.
    pub imap: Option<Endpoint>,
    /// Where POP3 is, if the service has it.
    pub pop3: Option<Endpoint>,
    /// Where submission is, if the service has it.
    pub smtp: Option<Endpoint>,
    /// May contain `{tenant}`.
    pub token_url: String,
    /// How a token is presented to the mail service.
    pub mechanism: Mechanism,
    /// Trusted in addition to the public roots, upstream and for the token endpoint.
    pub ca: Vec<CertificateDer<'static>>,
    /// Which addresses of a name are dialled.
    pub ip: IpPreference,
    /// Default scope of app-only tokens, as in `https://outlook.office365.com/.default`.
    pub app_scope: Vec<String>,
    /// What a listener shows before anything was learned from the upstream.
    pub capabilities: PresetCapabilities,
}

impl Provider {
    /// Where `protocol` is spoken, if this provider has it.
    pub fn endpoint(&self, protocol: Protocol) -> Option<&Endpoint> {
        match protocol {
            Protocol::Imap => self.imap.as_ref(),
            Protocol::Pop3 => self.pop3.as_ref(),
            Protocol::Smtp => self.smtp.as_ref(),
        }
    }
}

/// Capabilities as the upstream itself would list them after TLS and before login, one entry an
/// IMAP atom, a CAPA line or an EHLO line (without `250-`).
#[derive(Debug, Clone, Default)]
pub struct PresetCapabilities {
    /// IMAP atoms.
    pub imap: Vec<String>,
    /// CAPA lines.
    pub pop3: Vec<String>,
    /// EHLO lines, greeting excepted.
    pub smtp: Vec<String>,
}

impl PresetCapabilities {
    /// Those of one protocol.
    pub fn of(&self, protocol: Protocol) -> &[String] {
        match protocol {
            Protocol::Imap => &self.imap,
            Protocol::Pop3 => &self.pop3,
            Protocol::Smtp => &self.smtp,
        }
    }
}

/// One upstream service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name (or address) that is dialled and that the certificate must bear.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How TLS begins; there is no cleartext.
    pub tls: UpstreamTls,
}

/// `providers.*.{imap,pop3,smtp}.tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamTls {
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS or STLS, always.
    StartTls,
}

/// `providers.*.ip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpPreference {
    /// Both families, RFC 8305.
    Any,
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
}

impl IpPreference {
    /// Whether `address` may be dialled.
    pub fn admits(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// One OAuth client at a provider.
#[derive(Debug)]
pub struct Registration {
    /// Its key under `registrations`.
    pub name: String,
    /// Where its tokens open mailboxes.
    pub provider: Arc<Provider>,
    /// The provider's `token_url` with `{tenant}` filled in: https, or http to loopback.
    pub token_url: url::Url,
    /// OAuth `client_id`.
    pub client_id: String,
    /// How tokens are obtained.
    pub grant: Grant,
    /// What is asked for; never empty.
    pub scope: Vec<String>,
}

/// `registrations.*.grant` with what it needs.
#[derive(Debug)]
pub enum Grant {
    /// RFC 6749 §4.4.
    ClientCredentials {
        /// The application's own secret.
        client_secret: Secret,
    },
}

/// A login that clients may use and the mailbox it opens.
#[derive(Debug)]
pub struct Account {
    /// Who it is for.
    pub login: LoginPattern,
    /// Whose tokens open it.
    pub registration: Arc<Registration>,
    /// The mailbox by protocol; a wildcard account without one opens the login as presented.
    pub mailbox: Mailbox,
    /// At least one.
    pub passwords: Vec<Password>,
    /// What clients may speak.
    pub protocols: Protocols,
}

/// `accounts[].login`, lower-cased.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LoginPattern {
    /// One login.
    Exact(String),
    /// `*@domain`: every well-formed address of that domain (the domain is kept without `*@`).
    Domain(String),
}

/// `accounts[].mailbox`; `None` means the login itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mailbox {
    /// Over IMAP.
    pub imap: Option<String>,
    /// Over POP3.
    pub pop3: Option<String>,
    /// Over SMTP.
    pub smtp: Option<String>,
}

impl Mailbox {
    /// What is configured for `protocol`.
    pub fn of(&self, protocol: Protocol) -> Option<&str> {
        match protocol {
            Protocol::Imap => self.imap.as_deref(),
            Protocol::Pop3 => self.pop3.as_deref(),
            Protocol::Smtp => self.smtp.as_deref(),
        }
    }
}

/// One local password of an account.
#[derive(Debug, Clone)]
pub struct Password {
    /// The application it was given to; appears in logs as `credential`.
    pub name: Option<String>,
    /// What the client must present.
    pub check: PasswordCheck,
    /// From where; `None`: anywhere the listener lets in.
    pub allow: Option<Vec<IpNet>>,
    /// For what.
    pub protocols: Protocols,
}

/// How a presented password is compared.
#[derive(Debug, Clone)]
pub enum PasswordCheck {
    /// An argon2 PHC string.
    Hash(Secret),
    /// The password itself.
    Plain(Secret),
    /// Whatever the client presents, on listeners that [`Listener::takes_any_password`].
    Any,
}

/// A set of protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// Contains IMAP.
    pub imap: bool,
    /// Contains POP3.
    pub pop3: bool,
    /// Contains SMTP.
    pub smtp: bool,
}

impl Protocols {
    /// All three.
    pub const ALL: Self = Self {
        imap: true,
        pop3: true,
        smtp: true,
    };

    /// Whether `protocol` is one of them.
    pub fn contain(self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Imap => self.imap,
            Protocol::Pop3 => self.pop3,
            Protocol::Smtp => self.smtp,
        }
    }
}

impl Default for Protocols {
    fn default() -> Self {
        Self::ALL
    }
}
