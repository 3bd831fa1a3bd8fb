//! Reads `accounts`: logins, mailboxes and passwords.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::account::{
    Account, AccountKeys, LoginPattern, Mailbox, Password, PasswordCheck, hash_cost,
};
use super::field::Field;
use super::key::Key;
use super::known::Known;
use super::logins::Logins;
use super::provider::Provider;
use super::registration::{Grant, Registration};
use super::smtp_policy::{SmtpFrom, SmtpPolicy};
use super::value::Each;
use crate::wire::Protocol;
use crate::wire::address::{Pattern, is_address};

/// The valid accounts of a file.
#[derive(Debug)]
pub(super) struct ReadAccounts {
    /// Accounts with their positions in the file.
    pub(super) placed: Vec<(Field, Arc<Account>)>,
    /// Whether other accounts were invalid, which was reported.
    pub(super) incomplete: bool,
}

impl ReadAccounts {
    /// Returns the valid accounts, in the order of the file.
    pub(super) fn all(&self) -> Vec<Arc<Account>> {
        let placed = self.placed.iter();
        placed.map(|(_, account)| account.clone()).collect()
    }

    /// Finds the account that covers a lower-case login, with its position.
    pub(super) fn covering(&self, login: &str) -> Option<&(Field, Arc<Account>)> {
        let logins = Logins::new(&self.all());
        let account = logins.covering(login)?;
        let mut placed = self.placed.iter();
        placed.find(|(_, other)| Arc::ptr_eq(other, account))
    }
}

pub(super) fn accounts(
    keys: Key<Each<AccountKeys, 0>>,
    registrations: &Known<Registration>,
) -> ReadAccounts {
    let mut accounts = ReadAccounts {
        placed: Vec::new(),
        incomplete: matches!(keys, Key::Broken),
    };
    let items = keys.required().map(|Each(items)| items).unwrap_or_default();
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
        root.named_at("accounts").warn(
            "there is no account, so no client can log in: `authrelay init` writes a file with one",
        );
    }
}

/// Completes the keys of an account, and checks them against each other and its registration.
fn account(
    field: &Field,
    mut keys: AccountKeys,
    registrations: &Known<Registration>,
) -> Option<Account> {
    let name = keys.registration.given();
    let registration = name.and_then(|name| registrations.named(&field.at("registration"), name));
    let passwords = match registration.as_ref().map(|known| &known.grant) {
        Some(grant) if grant.needs_client_password() => no_passwords(field, grant),
        // Whether a password is needed is not known.
        None if keys.password.is_absent() && keys.passwords.is_absent() => None,
        _ => passwords(field, keys.password.take(), keys.passwords.take()),
    };
    keys.mailbox.default_from(|| Some(Mailbox::default()));
    keys.protocols.default_from(|| Some(Protocol::ALL.to_vec()));
    check_smtp(field, &keys, registration.as_deref());
    let registration = registration?;
    if let Some(protocols) = keys.protocols.given() {
        check_protocols(field, &registration.provider, protocols);
    }
    let passwords = passwords?;
    let any = |password: &Arc<Password>| matches!(password.password, PasswordCheck::Any);
    if matches!(keys.login.given(), Some(LoginPattern::Any)) && passwords.iter().any(any) {
        return field.reject(
            "must not have `password: any`: with login \"*\" every mailbox would be open to anyone who reaches the listener",
        );
    }
    keys.finish(registration, passwords)
}

/// Checks the policy for messages against the account's other keys.
fn check_smtp(field: &Field, keys: &AccountKeys, registration: Option<&Registration>) {
    let (policy, mailbox) = (keys.smtp.given(), keys.mailbox.given());
    if let (Some(policy), Some(login), Some(mailbox)) = (policy, keys.login.given(), mailbox) {
        check_from(&field.at("smtp"), policy, login, mailbox);
    }
    if let (Some(mailbox), Some(registration)) = (mailbox, registration)
        && mailbox.smtp_is_sender
        && !matches!(keys.smtp, Key::Broken)
    {
        check_sender(&field.at("mailbox"), registration, policy);
    }
    let protocols = keys.protocols.given();
    if policy.is_some() && protocols.is_some_and(|given| !given.contains(&Protocol::Smtp)) {
        let what = "has no effect, since the account's protocols do not include smtp";
        field.at("smtp").problem(what);
    }
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

/// Reads the local passwords, from `password` or `passwords`.
fn passwords(
    field: &Field,
    one: Key<PasswordCheck>,
    several: Key<Each<Password>>,
) -> Option<Vec<Arc<Password>>> {
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
        (Key::Given(password), Key::Absent) => Some(vec![Arc::new(Password {
            name: None,
            password,
            allow: None,
            protocols: Protocol::ALL.to_vec(),
            certificate: None,
        })]),
        (Key::Absent, Key::Given(Each(items))) => {
            let mut names = HashSet::new();
            let each = items.into_iter().map(|(item, password)| {
                let password = password?;
                if !names.insert(password.name.clone()) {
                    item.problem("another password of this account has the same name");
                }
                Some(Arc::new(password))
            });
            // All are read before one that is wrong makes the list wrong.
            let passwords: Vec<_> = each.collect();
            passwords.into_iter().collect()
        }
    }
}

/// Rejects local passwords where the identity provider checks the client's.
fn no_passwords(field: &Field, grant: &Grant) -> Option<Vec<Arc<Password>>> {
    let why = match grant {
        Grant::Password(_) => "the grant password",
        _ => "client_secret: {client: password}",
    };
    let mut none = Some(Vec::new());
    for key in ["password", "passwords"] {
        if field.has_key(key) {
            none = field.at(key).reject(format_args!(
                "has no effect with {why}, where the identity provider checks what the client presents; remove it"
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
        let passwords = account.passwords.iter();
        let costs = passwords.filter_map(|password| match &password.password {
            PasswordCheck::Hash(phc) => hash_cost(phc.expose()),
            PasswordCheck::Plain(_) | PasswordCheck::Any => None,
        });
        for cost in costs {
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
