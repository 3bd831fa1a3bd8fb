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
