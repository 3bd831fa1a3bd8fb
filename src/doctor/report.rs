//! Input and result of a connection test.

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
    /// Steps up to the first that failed.
    pub steps: Vec<Step>,
}

/// Result of one step of the test.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// `store` (with several relays), `dns`, `tcp`, `tls`, `token`, `claims`, `auth` or `mailbox`.
    pub name: &'static str,
    /// Whether the step succeeded. No later step runs otherwise, except after `store`.
    pub ok: bool,
    /// Duration in milliseconds.
    pub ms: u64,
    /// Findings of the step, for people.
    pub detail: String,
    /// Cause of the failure; `None` if the step succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Remedy for the failure, or advice despite success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Whether the mail service refuses the login or the mailbox, and not only for now.
    #[serde(skip)]
    pub is_refusal: bool,
}

/// Login, account and protocol to test.
#[derive(Debug, Clone)]
pub struct TestTarget {
    /// Account to which the login belongs.
    pub account: Arc<Account>,
    /// The login, lower case.
    pub login: String,
    /// Protocol of the test.
    pub protocol: Protocol,
    /// The user's password, for the grant `password`.
    pub password: Option<Secret>,
}

impl TestTarget {
    /// Creates the target for one protocol, or those for all that the account serves.
    pub fn of(
        account: &Arc<Account>,
        login: &str,
        protocol: Option<Protocol>,
        password: Option<&Secret>,
    ) -> Vec<Self> {
        let target = |protocol| Self {
            account: account.clone(),
            login: login.to_owned(),
            protocol,
            password: password.cloned(),
        };
        match protocol {
            Some(protocol) => vec![target(protocol)],
            None => account.served().map(target).collect(),
        }
    }
}
