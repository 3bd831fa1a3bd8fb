//! Checks `accounts[].smtp` and `accounts[].mailbox` against each other.

use super::account::{LoginPattern, Mailbox};
use super::field::Field;
use super::registration::{Grant, Registration};
use super::smtp_policy::{SmtpFrom, SmtpPolicy};
use crate::wire::Protocol;
use crate::wire::address::{Pattern, is_address};

/// Checks that with `from: mailbox` the mailbox is an address, since it is written into commands
/// and headers.
pub(super) fn check_from(
    field: &Field,
    policy: &SmtpPolicy,
    login: &LoginPattern,
    mailbox: &Mailbox,
) {
    let name = match (mailbox.of(Protocol::Smtp), login) {
        (Some(mailbox), _) => mailbox,
        (None, LoginPattern::Exact(login)) => login,
        // Wildcards match only addresses.
        (None, LoginPattern::Domain(_) | LoginPattern::Any) => return,
    };
    let complete = is_address(name) && name.contains('@');
    if policy.from == SmtpFrom::Mailbox && !complete {
        field.problem(
            "has from: mailbox, so that the account's mailbox must be an address; write it as mailbox",
        );
    }
}

/// Checks `mailbox: {smtp: sender}`: it requires an app-only token, and senders that the file
/// names.
pub(super) fn check_sender(
    mailbox: &Field,
    registration: &Registration,
    policy: Option<&SmtpPolicy>,
) {
    if !matches!(registration.grant, Grant::ClientCredentials(_)) {
        mailbox.problem(format_args!(
            "smtp: sender logs in as the address of MAIL, which takes the grant client_credentials, not {}",
            registration.grant.name()
        ));
    }
    match policy.and_then(|policy| policy.senders.as_ref()) {
        None => mailbox.problem(
            "smtp: sender logs in as the address of MAIL: name the addresses that may be one in smtp.senders",
        ),
        Some(senders) if senders.contains(&Pattern::Any) => mailbox.problem(
            "smtp: sender logs in as the address of MAIL: smtp.senders must not have \"*\"; name addresses or domains",
        ),
        Some(_) => {}
    }
    if policy.is_some_and(|policy| policy.from == SmtpFrom::Mailbox) {
        mailbox.problem("smtp: sender has the sender for its mailbox: remove smtp.from: mailbox");
    }
}
