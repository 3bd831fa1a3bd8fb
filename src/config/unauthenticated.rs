//! Reads `listeners[].unauthenticated`: the account of clients that cannot log in.

use std::sync::Arc;

use ipnet::IpNet;

use super::account::Account;
use super::accounts::ReadAccounts;
use super::field::Field;
use super::key::Key;
use super::logins::is_wildcard_address;
use crate::wire::Protocol;
use crate::wire::address::Pattern;

/// Account of devices that cannot log in, from `listeners[].unauthenticated`.
#[derive(Debug, Clone)]
pub struct Unauthenticated {
    /// Account whose mailbox sends for the clients.
    pub account: Arc<Account>,
    /// Login as configured, lower case.
    pub login: String,
}

/// Reads the account and checks its restrictions, without which a device would be an open relay.
pub(super) fn unauthenticated(
    field: &Field,
    login: &str,
    protocol: Option<Protocol>,
    allow: &Key<Vec<IpNet>>,
    accounts: &ReadAccounts,
) -> Option<Unauthenticated> {
    if protocol.is_some_and(|protocol| protocol != Protocol::Smtp) {
        return field.reject("is for SMTP only: there is nothing to read without a login");
    }
    if allow.is_absent() {
        return field.reject(
            "requires allow: name the devices' networks, since clients prove nothing else here",
        );
    }
    let login = login.to_lowercase();
    let Some((place, account)) = accounts.find(&login) else {
        return match accounts.incomplete {
            // The login may belong to an invalid account, which was reported.
            true => None,
            false => field.reject("no account has this login"),
        };
    };
    if !account.protocols.contains(&Protocol::Smtp) {
        return field.reject("names an account whose protocols do not include smtp");
    }
    if account.registration.grant.needs_client_password() {
        return field.reject(
            "names an account whose password the identity provider checks (grant password, or client_secret: {client: password}): no client presents one here",
        );
    }
    if account.login.is_wildcard() && !is_wildcard_address(&login) {
        return field.reject("must be a well-formed address that the account's login covers");
    }
    is_restricted(field, place, account).then(|| Unauthenticated {
        account: account.clone(),
        login,
    })
}

/// Whether the account at `place` restricts senders and recipients; reports what is missing.
fn is_restricted(field: &Field, place: &Field, account: &Account) -> bool {
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
    good
}
