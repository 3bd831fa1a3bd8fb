//! The keys of `proxy.yaml`, each said once: a `section!` declares its keys with kind, range,
//! default and meaning, and the struct that they are read into. Reading, the JSON Schema and the
//! README's reference tables come from that.
//!
//! Here stands what a key means by itself. Contradictions between keys are found in `read`.

mod accounts;
mod general;
mod listeners;
mod providers;
mod registrations;
pub(super) mod smtp_policy;

pub(super) use accounts::{AccountKeys, PasswordKeys};
pub(super) use general::{
    AdminKeys, AuditHttpKeys, AuditKeys, NotifyKeys, Root, SharedStoreKeys, StateKeys, Store,
    SyslogKeys, TlsFiles, Transport, UsersKeys,
};
pub use general::{Limits, Lockout, Log, LogFormat};
pub(super) use listeners::{ListenerKeys, ListenerTlsKeys, Mode};
pub(super) use providers::{EgressKeys, EndpointKeys, PresetKeys, ProviderKeys, SmtpLimitKeys};
pub(super) use registrations::{CertificateKeys, FederatedKeys, GrantName, RegistrationKeys};
pub use smtp_policy::{LineEnds, SmtpFrom, SmtpPolicy};
