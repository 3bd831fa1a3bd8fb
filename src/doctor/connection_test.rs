//! Connection test for one protocol, and its use after a new consent.

use super::report::{Report, Step, TestTarget};
use crate::config::Account;
use crate::session::Service;
use std::sync::Arc;

/// Tests one protocol; `on_step` gets each step as it ends.
pub async fn test_connection(
    service: &Service,
    target: &TestTarget,
    mut on_step: impl FnMut(&Step) + Send,
) -> Report {
    let steps = super::steps::run(service, target, &mut on_step).await;
    Report {
        login: target.login.clone(),
        protocol: target.protocol.name(),
        ok: steps.iter().all(|step| step.ok),
        steps,
    }
}

/// Tests a new consent whose token does not name the user. `None`: the mail service opens the
/// mailbox. Otherwise returns the reason and the remedy.
pub async fn explain_failure(
    service: &Service,
    account: &Arc<Account>,
    login: &str,
) -> Option<String> {
    let target = TestTarget {
        account: account.clone(),
        login: login.to_owned(),
        protocol: account.served().next()?,
        password: None,
    };
    let report = test_connection(service, &target, |_| {}).await;
    let is_mailboxs = |step: &Step| step.name != "store";
    let mut steps = report.steps.into_iter().filter(is_mailboxs);
    let failed = steps.find(|step| !step.ok)?;
    // An outage or a limit does not concern the consent.
    let taken_back =
        failed.is_refusal && service.token_source.take_back_consent(account, login).await;
    let back = match taken_back {
        true => " The previous consent was valid and is in force again.",
        false => "",
    };
    Some(format!(
        "the mailbox could not be opened with this consent: {}. {}{back}",
        failed.cause.unwrap_or(failed.detail),
        failed.remedy.unwrap_or_default()
    ))
}
