//! `accounts[].smtp` and `listeners[].unauthenticated`.

use ipnet::IpNet;

use super::super::field::Field;
use super::super::keys::Key;
use super::super::logins::is_wildcard_address;
use super::super::{
    Grant, LoginPattern, Mailbox, Registration, SmtpFrom, SmtpPolicy, Unauthenticated,
};
use super::accounts::ReadAccounts;
use crate::wire::Protocol;
use crate::wire::address::{Pattern, is_address};

/// `from: mailbox` writes the mailbox into commands and headers: it has to be an address.
pub(super) fn check_from(
    field: &Field,
    policy: &SmtpPolicy,
    login: &LoginPattern,
    mailbox: &Mailbox,
) {
    let name = match (mailbox.of(Protocol::Smtp), login) {
        (Some(mailbox), _) => mailbox,
        (None, LoginPattern::Exact(login)) => login,
        // Addresses alone are let in.
        (None, LoginPattern::Domain(_) | LoginPattern::Any) => return,
    };
    let complete = is_address(name) && name.contains('@');
    if policy.from == SmtpFrom::Mailbox && !complete {
        field.problem(
            "has from: mailbox, so that the account's mailbox must be an address; write it as mailbox",
        );
    }
}

/// `mailbox: {smtp: sender}`: only an application's own token opens the mailboxes of others, and
/// only those that the file names.
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

/// `listeners[].unauthenticated`: the account, and what it must have so that a printer is no open
/// relay.
pub(super) fn unauthenticated(
    field: &Field,
    login: &str,
    protocol: Option<Protocol>,
    allow: &Key<Vec<IpNet>>,
    accounts: &ReadAccounts,
) -> Option<Unauthenticated> {
    if protocol.is_some_and(|protocol| protocol != Protocol::Smtp) {
        return field.reject("is for SMTP alone: there is nothing to read without a login");
    }
    if allow.is_absent() {
        return field.reject(
            "needs allow: name the devices' networks, since nobody else proves anything here",
        );
    }
    let login = login.to_lowercase();
    let Some((place, account)) = accounts.find(&login) else {
        return match accounts.incomplete {
            // It may be the one that is wrong, which was said.
            true => None,
            false => field.reject("no account has this login"),
        };
    };
    if !account.protocols.contain(Protocol::Smtp) {
        return field.reject("names an account whose protocols do not include smtp");
    }
    if account.registration.grant.needs_client_password() {
        return field.reject(
            "names an account whose password the identity provider checks (grant password, or client_secret: {client: password}): nobody presents one here",
        );
    }
    if account.login.is_wildcard() && !is_wildcard_address(&login) {
        return field.reject("must be a well-formed address that the account's login covers");
    }
    let missing = |key: &str| {
        place.problem(format_args!(
            "must have smtp.{key}, since the listener lets devices send as it without a login (line {})",
            field.place.0
        ));
    };
    let policy = account.smtp.as_ref();
    let mut good = policy.is_some_and(|policy| policy.senders.is_some());
    if !good {
        missing("senders");
    }
    match policy.and_then(|policy| policy.recipients.as_ref()) {
        None => {
            missing("recipients");
            good = false;
        }
        Some(recipients) if recipients.contains(&Pattern::Any) => {
            place.problem(format_args!(
                "must not have \"*\" in smtp.recipients, since the listener lets devices send as it without a login (line {}); name domains",
                field.place.0
            ));
            good = false;
        }
        Some(_) => {}
    }
    good.then(|| Unauthenticated {
        account: account.clone(),
        login,
    })
}
