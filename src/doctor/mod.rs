//! "Test connection": one step after the other on the way to a mailbox, each with its time; at the
//! first that fails one cause and one advice.
//!
//! It walks the same code as a session (dialling, TLS, tokens, the login dialogues), so that what
//! works here works there. It sends nothing and changes nothing: SELECT, STAT, or MAIL FROM and
//! RSET.

mod advice;
mod certificate;
mod claims;
mod mailbox;
mod steps;

use std::sync::Arc;

use serde::Serialize;

use crate::config::Account;
use crate::secret::Secret;
use crate::session::Service;
use crate::wire::Protocol;
pub use certificate::listeners_ends;

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
    /// `dns`, `tcp`, `tls`, `token`, `claims`, `auth` or `mailbox`.
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

/// Tests one protocol; `on_step` sees each step as it ends.
pub async fn test_connection(
    service: &Service,
    patient: &TestTarget,
    mut on_step: impl FnMut(&Step) + Send,
) -> Report {
    let mut steps = Vec::new();
    steps::run(service, patient, &mut |step| {
        on_step(&step);
        steps.push(step);
    })
    .await;
    Report {
        login: patient.login.clone(),
        protocol: patient.protocol.name(),
        ok: steps.iter().all(|step| step.ok),
        steps,
    }
}

/// What the mail service itself says of a consent whose token does not tell who gave it: `None`,
/// it lets the mailbox be opened; else why not, and what to do.
pub async fn explain_failure(
    service: &Service,
    account: &Arc<Account>,
    login: &str,
) -> Option<String> {
    let protocol = Protocol::ALL.into_iter().find(|protocol| {
        account.protocols.contain(*protocol)
            && account.registration.provider.endpoint(*protocol).is_some()
    })?;
    let patient = TestTarget {
        account: account.clone(),
        login: login.to_owned(),
        protocol,
        password: None,
    };
    let report = test_connection(service, &patient, |_| {}).await;
    let failed = report.steps.into_iter().find(|step| !step.ok)?;
    // An outage or a limit says nothing of the consent.
    let passes = failed
        .cause
        .as_deref()
        .is_some_and(|cause| cause.contains("for now"));
    let is_refused = ["auth", "mailbox"].contains(&failed.name) && !passes;
    let back = match is_refused
        && service
            .token_source()
            .take_back_consent(account, login)
            .await
    {
        true => " The consent that was there before was good, and is in force again.",
        false => "",
    };
    Some(format!(
        "the mailbox could not be opened with this consent: {}. {}{back}",
        failed.cause.unwrap_or(failed.detail),
        failed.remedy.unwrap_or_default()
    ))
}
