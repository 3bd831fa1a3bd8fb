//! What a test of a connection takes and gives, and why a consent's first use failed.

use std::sync::Arc;

use serde::Serialize;

use crate::config::Account;
use crate::secret::Secret;
use crate::wire::Protocol;

/// What came of testing one protocol.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The login that was tested.
    pub login: String,
    /// The protocol that was tested.
    pub protocol: &'static str,
    /// Every step succeeded.
    pub ok: bool,
    /// Up to the first that failed.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// `store` (where several relays share one), `dns`, `tcp`, `tls`, `token`, `claims`, `auth` or `mailbox`.
    pub name: &'static str,
    /// Whether it succeeded.
    pub ok: bool,
    /// How long it took.
    pub ms: u64,
    /// What was found.
    pub detail: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What is tested.
#[derive(Debug, Clone)]
pub struct TestTarget {
    /// Its account.
    pub account: Arc<Account>,
    /// The login, in lower case.
    pub login: String,
    /// By which protocol.
    pub protocol: Protocol,
    /// The user's password, for the grant `password`.
    pub password: Option<Secret>,
}
