//! Configuration from `proxy.yaml`, checked as a whole: every [`Config`] is valid.
//!
//! The file is parsed into a tree whose nodes have their line and column (`tree`). Each key is
//! declared once (`keys`), with the kind of its value (`value`); reading, the schema for editors
//! and the README's reference (`reference`) derive from that. `read` checks contradictions between
//! keys, with one file per section. The result is a `Config`, or every problem at once. Secrets are
//! resolved while reading (`source`, `pem`); a [`Problem`] never contains a secret's value. This
//! module opens no sockets.

mod account;
mod audit;
mod client;
mod field;
mod hash;
mod key;
mod keys;
mod kind;
mod load;
mod logins;
mod model;
mod notify;
mod pem;
mod problem;
mod provider;
mod read;
mod reference;
mod registration;
mod secrets;
mod sections;
mod source;
mod sources;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod unauthenticated;
mod users;
mod value;

pub use account::{
    Account, CertificateName, LoginPattern, Mailbox, Password, PasswordCheck, Protocols,
};
pub use audit::{Audit, AuditHttp, AuditPath, OnFull, Syslog, SyslogTransport};
pub use client::client_network;
pub use keys::{Limits, LineEnds, Lockout, Log, LogFormat, SmtpFrom, SmtpPolicy};
pub use load::{check, check_text, markdown, presets, schema};
pub use logins::Logins;
pub use model::{Checked, Config};
pub use notify::{Hook, HookTarget, NotifyEvent, ReloadMode};
pub use problem::Problem;
pub use provider::SmtpLimits;
pub use provider::{
    Egress, EgressKind, Endpoint, IpPreference, Mechanism, PresetCapabilities, Provider,
    RefreshTokens, Scopes, UpstreamTls,
};
pub use registration::{ClientCredential, Grant, Registration, ServiceAccount, SigningKey};
pub use secrets::Secrets;
pub use sections::{Admin, AdminToken, Listener, ListenerTls, State, StateKey};
pub use store::SharedStore;
pub use unauthenticated::Unauthenticated;
pub use users::{AddressClaim, Member, Users};

/// Version of this build; one with the feature `fips` says so.
pub const VERSION: &str = match cfg!(feature = "fips") {
    true => concat!(env!("CARGO_PKG_VERSION"), "+fips"),
    false => env!("CARGO_PKG_VERSION"),
};
