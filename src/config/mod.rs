//! Configuration from `proxy.yaml`, checked as a whole: every [`Config`] is valid.
//!
//! The file is parsed into a tree whose nodes have their line and column (`tree`). Each section has
//! a file that declares its keys once: kind, default, range and meaning (`key`, `value`). Reading,
//! the schema for editors and the README's reference (`reference`) derive from that. `document`
//! reads the whole and checks contradictions between sections. The result is a `Config`, or every
//! problem at once. Secrets are resolved while reading (`source`, `pem`); a [`Problem`] never
//! contains a secret's value. This module opens no sockets.

mod account;
mod accounts;
mod admin;
mod audit;
mod client;
mod document;
mod field;
mod grants;
mod key;
mod kind;
mod known;
mod listener;
mod logins;
mod notify;
mod pem;
mod problem;
mod provider;
mod reference;
mod registration;
mod registrations;
mod root;
mod smtp_policy;
mod source;
mod sources;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod users;
mod value;
mod writable;

pub use account::{Account, CertificateName, LoginPattern, Mailbox, Password, PasswordCheck};
pub use admin::Admin;
pub use audit::{Audit, AuditHttp, AuditPath, HeadKey, OnFull, Syslog, SyslogTransport};
pub use client::client_network;
pub use field::is_name;
pub use listener::{Listener, ListenerTls, Unauthenticated};
pub use logins::Logins;
pub use notify::{Hook, HookTarget, NotifyEvent, ReloadMode};
pub use problem::Problem;
pub use provider::{
    ByProtocol, Egress, EgressKind, Endpoint, IpPreference, Mechanism, Preset, Provider,
    RefreshTokens, Scopes, SmtpLimits, UpstreamTls, presets,
};
pub use reference::{markdown, schema};
pub use registration::{ClientCredential, Grant, Registration, ServiceAccount, SigningKey};
pub use root::{Config, Limits, Lockout, Log, LogFormat};
pub use smtp_policy::{LineEnds, SmtpFrom, SmtpPolicy};
pub use source::GeneratedSecret;
pub use sources::LoadMode;
pub use state::State;
pub use store::SharedStore;
pub use users::{AddressClaim, Member, Users};
pub use value::{Certificates, Headers, HostPort, Program, is_loopback};

/// Version of this build; one with the feature `fips` says so.
pub const VERSION: &str = match cfg!(feature = "fips") {
    true => concat!(env!("CARGO_PKG_VERSION"), "+fips"),
    false => env!("CARGO_PKG_VERSION"),
};
