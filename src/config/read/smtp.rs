//! `accounts[].smtp`, `providers.*.smtp_limits` and `listeners[].unauthenticated`.

use ipnet::IpNet;

use super::super::field::Field;
use super::super::logins::is_wildcard_address;
use super::super::{
    Grant, LineEnds, LoginPattern, Mailbox, Registration, SmtpFrom, SmtpLimits, SmtpPolicy,
    Unauthenticated,
};
use super::accounts::Accounts;
use crate::wire::Protocol;
use crate::wire::address::{Pattern, is_address};

/// More messages a minute than anybody sends from one mailbox.
const MOST_MESSAGES: usize = 100_000;

/// More sessions of one mailbox than anybody grants.
const MOST_CONNECTIONS: usize = 10_000;

/// `accounts[].smtp`.
pub(super) fn policy(field: &Field<'_>) -> Option<SmtpPolicy> {
    let mut section = field.section()?;
    let senders = section.take("senders").map(|field| patterns(&field));
    let recipients = section.take("recipients").map(|field| patterns(&field));
    let max_size = section.take("max_size").map(|field| field.size());
    let rate = section
        .take("messages_per_minute")
        .map(|field| field.number(1..=MOST_MESSAGES));
    let from = section.take("from").map_or(Some(SmtpFrom::Keep), |field| {
        field.one_of(&[("keep", SmtpFrom::Keep), ("mailbox", SmtpFrom::Mailbox)])
    });
    let line_ends = section
        .take("line_ends")
        .map_or(Some(LineEnds::Keep), |field| {
            field.one_of(&[("keep", LineEnds::Keep), ("crlf", LineEnds::Crlf)])
        });
    section.finish();
    Some(SmtpPolicy {
        senders: all(senders)?,
        recipients: all(recipients)?,
        max_size: all(max_size)?,
        messages_per_minute: all(rate)?,
        from: from?,
        line_ends: line_ends?,
    })
}

/// What is absent is good.
fn all<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(value) => value.map(Some),
        None => Some(None),
    }
}

fn patterns(field: &Field<'_>) -> Option<Vec<Pattern>> {
    let items = field.list();
    if items.is_empty() {
        return field.wrong("lets nobody through; name addresses or remove the key");
    }
    let read = |item: &Field<'_>| match Pattern::parse(item.text()?) {
        Ok(pattern) => Some(pattern),
        Err(why) => item.wrong(why),
    };
    // Every one is read before the first that is wrong counts.
    let patterns: Vec<_> = items.iter().map(read).collect();
    patterns.into_iter().collect()
}

/// `from: mailbox` writes the mailbox into commands and headers: it has to be an address.
pub(super) fn check_from(
    field: &Field<'_>,
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
    mailbox: &Field<'_>,
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

/// `providers.*.smtp_limits`; what is left out is the preset's, or Exchange's.
pub(super) fn limits(field: &Field<'_>, preset: Option<SmtpLimits>) -> Option<SmtpLimits> {
    let mut section = field.section()?;
    let mut limits = preset.unwrap_or(SmtpLimits::EXCHANGE);
    let mut good = true;
    for (key, most, limit) in [
        ("connections", MOST_CONNECTIONS, &mut limits.connections),
        (
            "messages_per_minute",
            MOST_MESSAGES,
            &mut limits.messages_per_minute,
        ),
    ] {
        if let Some(field) = section.take(key) {
            match field.number(1..=most) {
                Some(number) => *limit = number,
                None => good = false,
            }
        }
    }
    if let Some(field) = section.take("wait") {
        match field.duration() {
            Some(wait) => limits.wait = wait,
            None => good = false,
        }
    }
    section.finish();
    good.then_some(limits)
}

/// `listeners[].unauthenticated`: the account, and what it must have so that a printer is no open
/// relay.
pub(super) fn unauthenticated(
    field: &Field<'_>,
    protocol: Option<Protocol>,
    allow: Option<&Vec<IpNet>>,
    accounts: &Accounts<'_>,
) -> Option<Unauthenticated> {
    if protocol.is_some_and(|protocol| protocol != Protocol::Smtp) {
        return field.wrong("is for SMTP alone: there is nothing to read without a login");
    }
    if allow.is_none_or(Vec::is_empty) {
        return field.wrong(
            "needs allow: name the devices' networks, since nobody else proves anything here",
        );
    }
    let login = field.word()?.to_lowercase();
    let Some((place, account)) = accounts.find(&login) else {
        return match accounts.incomplete {
            // It may be the one that is wrong, which was said.
            true => None,
            false => field.wrong("no account has this login"),
        };
    };
    if !account.protocols.contain(Protocol::Smtp) {
        return field.wrong("names an account whose protocols do not include smtp");
    }
    if account.registration.grant.needs_client_password() {
        return field.wrong(
            "names an account whose password the identity provider checks (grant password, or client_secret: {client: password}): nobody presents one here",
        );
    }
    if account.login.is_wildcard() && !is_wildcard_address(&login) {
        return field.wrong("must be a well-formed address that the account's login covers");
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
