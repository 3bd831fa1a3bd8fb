//! Reads `accounts`: logins, mailboxes and passwords.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::account::{
    Account, AccountKeys, LoginPattern, Mailbox, Password, PasswordCheck, hash_cost,
};
use super::field::Field;
use super::key::Key;
use super::known::Known;
use super::provider::Provider;
use super::registration::{Grant, Registration};
use super::smtp_policy::{SmtpFrom, SmtpPolicy};
use super::value::Each;
use crate::wire::Protocol;
use crate::wire::address::{Pattern, is_address};

/// The valid accounts of a file.
#[derive(Debug, Default)]
pub(super) struct ReadAccounts {
    /// Accounts with their positions in the file.
    pub(super) placed: Vec<(Field, Arc<Account>)>,
    /// Whether other accounts were invalid, which was reported.
    pub(super) incomplete: bool,
}

impl ReadAccounts {
    /// Returns the valid accounts, in the order of the file.
    pub(super) fn into_all(self) -> Vec<Arc<Account>> {
        let placed = self.placed.into_iter();
        placed.map(|(_, account)| account).collect()
    }

    /// Finds the account of a lower-case login with its position. An exact pattern takes precedence
    /// over a wildcard.
    pub(super) fn find(&self, login: &str) -> Option<&(Field, Arc<Account>)> {
        let domain = login.rsplit_once('@').map(|(_, domain)| domain);
        let rank = |(_, account): &&(Field, Arc<Account>)| match &account.login {
            LoginPattern::Exact(own) if own == login => Some(0),
            LoginPattern::Domain(own) if domain == Some(own) => Some(1),
            LoginPattern::Any => Some(2),
            LoginPattern::Exact(_) | LoginPattern::Domain(_) => None,
        };
        let found = self.placed.iter().filter(|placed| rank(placed).is_some());
        found.min_by_key(rank)
    }
}

pub(super) fn accounts(
    keys: Key<Each<AccountKeys, 0>>,
    registrations: &Known<Registration>,
) -> ReadAccounts {
    let mut accounts = ReadAccounts::default();
    let items = match keys.optional() {
        Some(Some(Each(items))) => items,
        Some(None) => return accounts,
        None => {
            accounts.incomplete = true;
            return accounts;
        }
    };
    let mut lines = HashMap::new();
    for (field, keys) in items {
        let Some(account) = keys.and_then(|keys| account(&field, keys, registrations)) else {
            accounts.incomplete = true;
            continue;
        };
        if let Some(line) = lines.insert(account.login.clone(), field.place.0) {
            field.problem(format_args!(
                "another account has the same login (line {line}); give it further passwords instead"
            ));
        }
        accounts.placed.push((field, Arc::new(account)));
    }
    accounts
}

/// Warns about a file without accounts, which is good for a first look at the status page. Accounts
/// need registrations.
pub(super) fn check_presence(root: &Field, accounts: &ReadAccounts) {
    if !accounts.placed.is_empty() || accounts.incomplete {
        if !root.has_key("registrations") {
            root.missing("registrations", "the OAuth clients, by name");
        }
    } else {
        root.warn_at(
            "accounts",
            "there is no account, so that no client can log in: `authrelay init` writes a file with one",
        );
    }
}

fn account(
    field: &Field,
    keys: AccountKeys,
    registrations: &Known<Registration>,
) -> Option<Account> {
    let login = keys.login.required();
    let registration = keys.registration.given();
    let registration =
        registration.and_then(|name| registrations.named(&field.at("registration"), name));
    let passwords = match registration.as_ref().map(|known| &known.grant) {
        Some(grant) if grant.needs_client_password() => no_passwords(field, grant),
        // Whether a password is needed is not known.
        None if keys.password.is_absent() && keys.passwords.is_absent() => None,
        _ => passwords(field, keys.password, keys.passwords),
    };
    let all = || Protocol::ALL.to_vec();
    let protocols = keys
        .protocols
        .optional()
        .map(|given| given.unwrap_or_else(all));
    let mailbox = keys.mailbox.optional().map(Option::unwrap_or_default);
    let smtp = keys.smtp.optional();
    if let (Some(Some(policy)), Some(login), Some(mailbox)) = (&smtp, &login, &mailbox) {
        check_from(&field.at("smtp"), policy, login, mailbox);
    }
    if let (Some(smtp), Some(registration), Some(mailbox)) = (&smtp, &registration, &mailbox)
        && mailbox.smtp_is_sender
    {
        check_sender(&field.at("mailbox"), registration, smtp.as_ref());
    }
    let without_smtp = |protocols: &Vec<Protocol>| !protocols.contains(&Protocol::Smtp);
    if matches!(smtp, Some(Some(_))) && protocols.as_ref().is_some_and(without_smtp) {
        let what = "has no use, since the account's protocols do not include smtp";
        field.at("smtp").problem(what);
    }
    let (registration, protocols) = (registration?, protocols?);
    check_protocols(field, &registration.provider, &protocols);
    let (login, passwords) = (login?, passwords?);
    let any = |password: &Password| matches!(password.password, PasswordCheck::Any);
    if login == LoginPattern::Any && passwords.iter().any(any) {
        return field.reject(
            "must not have `password: any`: with login \"*\" every mailbox would be open to anyone who reaches the listener",
        );
    }
    Some(Account {
        login,
        registration,
        mailbox: mailbox?,
        passwords: passwords.into_iter().map(Arc::new).collect(),
        protocols,
        smtp: smtp?,
    })
}

/// Checks that the provider offers the protocols that the file names.
fn check_protocols(field: &Field, provider: &Provider, protocols: &[Protocol]) {
    for protocol in Protocol::ALL {
        let is_missing = protocols.contains(&protocol) && provider.endpoint(protocol).is_none();
        if field.has_key("protocols") && is_missing {
            let provider = &provider.name;
            field
                .at("protocols")
                .problem(format_args!("the provider {provider} has no {protocol}"));
        }
    }
}

fn passwords(
    field: &Field,
    one: Key<PasswordCheck>,
    several: Key<Each<Password>>,
) -> Option<Vec<Password>> {
    match (one, several) {
        (Key::Absent, Key::Absent) => {
            field.missing(
                "password",
                "a hash from `authrelay hash-password`, {file: PATH} or {env: NAME}",
            );
            None
        }
        (Key::Broken, _) | (_, Key::Broken) => None,
        (Key::Given(_), Key::Given(_)) => field
            .at("passwords")
            .reject("is given in addition to password; put that one into the list"),
        (Key::Given(password), Key::Absent) => Some(vec![Password {
            name: None,
            password,
            allow: None,
            protocols: Protocol::ALL.to_vec(),
            certificate: None,
        }]),
        (Key::Absent, Key::Given(Each(items))) => {
            let mut names = HashSet::new();
            let mut passwords = Vec::new();
            for (item, password) in items {
                if let Some(password) = &password
                    && !names.insert(password.name.clone())
                {
                    item.problem("another password of this account has the same name");
                }
                passwords.push(password);
            }
            passwords.into_iter().collect()
        }
    }
}

/// Rejects local passwords where the identity provider checks the client's.
fn no_passwords(field: &Field, grant: &Grant) -> Option<Vec<Password>> {
    let why = match grant {
        Grant::Password(_) => "the grant password",
        _ => "client_secret: {client: password}",
    };
    let mut none = Some(Vec::new());
    for key in ["password", "passwords"] {
        if field.has_key(key) {
            none = field.at(key).reject(format_args!(
                "has no use with {why}, where the identity provider checks what the client presents; remove it"
            ));
        }
    }
    none
}

/// Checks that with `from: mailbox` the mailbox is an address, since it is written into commands
/// and headers.
fn check_from(field: &Field, policy: &SmtpPolicy, login: &LoginPattern, mailbox: &Mailbox) {
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
fn check_sender(mailbox: &Field, registration: &Registration, policy: Option<&SmtpPolicy>) {
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

/// Warns about hashes of different cost: timing would reveal which logins exist.
pub(super) fn check_costs(accounts: &ReadAccounts) {
    let mut found: Vec<(String, usize, &Field)> = Vec::new();
    for (field, account) in &accounts.placed {
        for password in &account.passwords {
            let PasswordCheck::Hash(phc) = &password.password else {
                continue;
            };
            let Some(cost) = hash_cost(phc.expose()) else {
                continue;
            };
            match found.iter_mut().find(|(other, ..)| *other == cost) {
                Some((_, count, _)) => *count += 1,
                None => found.push((cost, 1, field)),
            }
        }
    }
    let most = found.iter().map(|(_, count, _)| *count).max();
    let usual = found.iter().position(|(_, count, _)| Some(*count) == most);
    let Some(usual) = usual.map(|index| found.swap_remove(index)) else {
        return;
    };
    for (cost, count, field) in found {
        field.warn(format_args!(
            "{count} argon2 hashes, here the first, have the parameters {cost} and others {}: time tells a guesser which logins exist; make them alike with `authrelay hash-password`",
            usual.0
        ));
    }
}
