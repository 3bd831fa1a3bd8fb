//! What a test of a connection takes and gives, and why a consent's first use failed.

use std::sync::Arc;

use serde::Serialize;

use crate::config::Account;
use crate::secret::Secret;
use crate::wire::Protocol;

/// Result of testing one protocol.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The login that was tested.
    pub login: String,
    /// The protocol that was tested.
    pub protocol: &'static str,
    /// Whether every step succeeded; advice may remain.
    pub ok: bool,
    /// Up to the first that failed.
    pub steps: Vec<Step>,
}

/// Result of one step of the test.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// `store` (where several relays share one), `dns`, `tcp`, `tls`, `token`, `claims`, `auth` or `mailbox`.
    pub name: &'static str,
    /// Whether this step succeeded; later ones are not run otherwise.
    pub ok: bool,
    /// Time for which it took.
    pub ms: u64,
    /// Findings of the step, for people.
    pub detail: String,
    /// Cause of the failure; `None` where the step succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Remedy for the failure, where one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Login, account and protocol that are tested.
#[derive(Debug, Clone)]
pub struct TestTarget {
    /// Account to which the login belongs.
    pub account: Arc<Account>,
    /// The login, in lower case.
    pub login: String,
    /// Protocol over which the test runs.
    pub protocol: Protocol,
    /// The user's password, for the grant `password`.
    pub password: Option<Secret>,
}
