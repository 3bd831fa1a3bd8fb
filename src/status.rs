//! Status of accounts for administrators: `accounts`, `GET /api/accounts` and the status page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::{Account, LoginPattern, Logins};
use crate::fault::{Fault, Kind, shell_argument};
use crate::session::Service;
use crate::token::store::{Owner, StoredConsent};
use crate::token::{TokenSource, TokenState, now};
use crate::wire::Protocol;

/// Seconds from 1970 to 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

/// Status of an account, or of one login of a wildcard account.
#[derive(Debug, Clone, Serialize)]
pub struct AccountStatus {
    /// Login as configured; a wildcard account is followed by its known logins.
    pub login: String,
    /// Mailbox of the login.
    pub mailbox: String,
    /// Registration whose tokens open the mailbox.
    pub registration: String,
    /// Name of the registration's provider.
    pub provider: String,
    /// Name of the registration's grant.
    pub grant: &'static str,
    /// Protocols that clients may use.
    pub protocols: Vec<&'static str>,
    /// Status of the account's token.
    pub token: TokenStatus,
    /// `needed`, `given`, `attention` (refused, but not for good), or `none` if no consent is
    /// needed.
    pub consent: &'static str,
    /// Time of the last login: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_login: Option<String>,
    /// Last fault, unless a login succeeded since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<LastFault>,
}

impl AccountStatus {
    /// Whether this is a stored consent that no account uses.
    pub fn is_unused(&self) -> bool {
        self.registration.is_empty()
    }

    /// Explanation of the consent's state.
    pub fn consent_means(&self) -> &'static str {
        match self.consent {
            "needed" => "the mailbox's owner must consent: Authorize",
            "attention" => {
                "the identity provider refuses it for now; it is kept and tried again, and will work once the cause below is gone"
            }
            _ => "",
        }
    }
}

/// Status of a token for administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenStatus {
    /// `none`, `valid`, `expired` or `refused`.
    pub state: &'static str,
    /// End of validity: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

/// Last fault of a login.
#[derive(Debug, Clone, Serialize)]
pub struct LastFault {
    /// Time of the fault: RFC 3339.
    pub time: String,
    /// Side that is to blame.
    pub side: &'static str,
    /// Kind of the fault, by name.
    pub kind: &'static str,
    /// Detail of the fault, as in the log.
    pub detail: String,
    /// Remedy for the operator, if one is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Collects the status of every account, followed by stored consents that no account uses. Reads
/// the store, which may block briefly.
pub fn accounts(service: &Service) -> Vec<AccountStatus> {
    let (accounts, store) = (&service.accounts, service.token_source.store());
    let consented = store.map(|store| store.logins()).unwrap_or_default();
    let mut seen = service.state.history.logins();
    seen.extend(consented.iter().cloned());
    seen.sort();
    seen.dedup();
    let mut rows = Vec::new();
    for (account, logins) in known_logins(accounts, &seen) {
        let row = |login: &str| row(service, account, login);
        if account.login.is_wildcard() {
            rows.push(row(&account.login.to_string()));
        }
        rows.extend(logins.into_iter().map(row));
    }
    rows.extend(unused(accounts, &consented));
    rows
}

/// Status of stored consents that no account uses.
pub fn unused(accounts: &[Arc<Account>], consented: &[String]) -> Vec<AccountStatus> {
    let logins = Logins::new(accounts);
    let is_used = |login: &&String| {
        let account = logins.find(login);
        account.is_some_and(|account| account.registration.grant.needs_consent())
    };
    let unused = consented.iter().filter(|login| !is_used(login));
    unused.map(|login| orphan(login)).collect()
}

/// Status of a stored consent that no account uses.
fn orphan(login: &str) -> AccountStatus {
    let detail = "tokens are stored for this login, and no account uses them";
    let fault = Fault::new(Kind::GrantRefused, detail).with_remedy(format!(
        "`authrelay forget {}` deletes them",
        shell_argument(login)
    ));
    AccountStatus {
        login: login.to_owned(),
        mailbox: String::new(),
        registration: String::new(),
        provider: String::new(),
        grant: "none",
        protocols: Vec::new(),
        token: TokenStatus {
            state: "none",
            expires: None,
        },
        consent: "none",
        last_login: None,
        last_fault: Some(last_fault(SystemTime::now(), &fault)),
    }
}

/// Numbers of a registration's consents that provide no token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConsentStates {
    /// Accounts whose owner has to consent.
    pub needed: usize,
    /// Consents that are refused, but not for good.
    pub attention: usize,
}

/// Counts consents by registration. For wildcard accounts only logins with a consent count, since
/// others are not known.
pub fn consents(
    accounts: &[Arc<Account>],
    token_source: &TokenSource,
) -> BTreeMap<String, ConsentStates> {
    let mut counts = BTreeMap::<String, ConsentStates>::new();
    let needs_consent = |account: &&Arc<Account>| account.registration.grant.needs_consent();
    let consented = match token_source.store() {
        Some(store) if accounts.iter().any(|account| needs_consent(&account)) => store.logins(),
        _ => Vec::new(),
    };
    for (account, logins) in known_logins(accounts, &consented) {
        for login in logins.into_iter().filter(|_| needs_consent(&account)) {
            let count = counts.entry(account.registration.name.clone()).or_default();
            let record = stored(account, login, token_source).ok().flatten();
            match consent(true, record.as_ref()) {
                "needed" => count.needed += 1,
                "attention" => count.attention += 1,
                _ => {}
            }
        }
    }
    counts
}

/// Lists the logins of each account: its own, or those of `logins` that a wildcard covers.
fn known_logins<'l>(
    accounts: &'l [Arc<Account>],
    logins: &'l [String],
) -> impl Iterator<Item = (&'l Arc<Account>, Vec<&'l str>)> {
    let resolved = Logins::new(accounts);
    accounts.iter().map(move |account| {
        let is_covered = |login: &&str| {
            let found = resolved.find(login);
            found.is_some_and(|found| Arc::ptr_eq(found, account))
        };
        let logins = match &account.login {
            LoginPattern::Exact(login) => vec![login.as_str()],
            LoginPattern::Domain(_) | LoginPattern::Any => {
                let logins = logins.iter().map(String::as_str);
                logins.filter(is_covered).collect()
            }
        };
        (account, logins)
    })
}

fn row(service: &Service, account: &Account, login: &str) -> AccountStatus {
    let token_source = &service.token_source;
    let registration = &account.registration;
    let entry = service.state.history.entry(login);
    let (record, unreadable) = match stored(account, login, token_source) {
        Ok(record) => (record, None),
        Err(fault) => (None, Some(fault)),
    };
    // Protocols may have different mailboxes, each with its own token.
    let mailboxes_served = account
        .served()
        .map(|protocol| account.mailbox_of(protocol, login));
    let state = mailboxes_served
        .map(|mailbox| token_source.token_state(account, login, &mailbox))
        .find(|state| *state != TokenState::None)
        .unwrap_or(TokenState::None);
    let refusal = record
        .as_ref()
        .and_then(|record| record.refused.as_ref().or(record.attention.as_ref()));
    let unreadable = unreadable.map(|fault| (SystemTime::now(), fault));
    let last_fault = match (entry.last_fault.or(unreadable), refusal) {
        (Some((time, fault)), _) => Some(last_fault(time, &fault)),
        (None, Some(refusal)) => {
            let kind = Kind::GrantRefused;
            Some(LastFault {
                time: at_seconds(refusal.time),
                side: kind.side().name(),
                kind: kind.name(),
                detail: refusal.detail.clone(),
                remedy: refusal.remedy.clone(),
            })
        }
        (None, None) => None,
    };
    AccountStatus {
        token: token(&state, record.as_ref()),
        login: login.to_owned(),
        mailbox: mailboxes(account, login),
        registration: registration.name.clone(),
        provider: registration.provider.name.clone(),
        grant: registration.grant.name(),
        protocols: account.served().map(Protocol::name).collect(),
        consent: consent(registration.grant.needs_consent(), record.as_ref()),
        last_login: entry.last_login.map(rfc3339),
        last_fault,
    }
}

/// State of a login's consent for administrators.
fn consent(is_needed: bool, record: Option<&StoredConsent>) -> &'static str {
    match (is_needed, record) {
        (false, _) => "none",
        (true, Some(record)) if record.refused.is_some() => "needed",
        (true, Some(record)) if record.attention.is_some() => "attention",
        (true, Some(_)) => "given",
        (true, None) => "needed",
    }
}

/// Describes the mailboxes of a login, by protocol if they differ.
fn mailboxes(account: &Account, login: &str) -> String {
    let of = |protocol| match (protocol, account.mailbox.smtp_is_sender) {
        (Protocol::Smtp, true) => "sender".to_owned(),
        _ => account.mailbox_of(protocol, login),
    };
    let [imap, pop3, smtp] = Protocol::ALL.map(of);
    if imap == pop3 && pop3 == smtp {
        return imap;
    }
    let part = |protocol| format!("{protocol}: {}", of(protocol));
    account.served().map(part).collect::<Vec<_>>().join(", ")
}

fn stored(
    account: &Account,
    login: &str,
    token_source: &TokenSource,
) -> Result<Option<StoredConsent>, Fault> {
    match token_source.store() {
        Some(store) if account.registration.grant.needs_consent() => store
            .read(login)
            .map(|record| record.and_then(|record| record.of(&Owner::of(&account.registration))))
            .map_err(|error| Fault::new(Kind::Internal, error.to_string())),
        _ => Ok(None),
    }
}

fn token(token: &TokenState, record: Option<&StoredConsent>) -> TokenStatus {
    let state = |state| TokenStatus {
        state,
        expires: None,
    };
    let until = |seconds: u64| {
        let valid = seconds > now();
        TokenStatus {
            state: if valid { "valid" } else { "expired" },
            expires: Some(at_seconds(seconds)),
        }
    };
    match (token, record) {
        (TokenState::Valid(left), _) => until(now().saturating_add(left.as_secs())),
        (_, Some(record)) if record.refused.is_some() => state("refused"),
        (TokenState::Refused, _) => state("refused"),
        (_, Some(record)) => match record.expires() {
            Some(expires) => until(expires),
            None => state("none"),
        },
        (TokenState::Expired, None) => state("expired"),
        (TokenState::None, None) => state("none"),
    }
}

fn last_fault(time: SystemTime, fault: &Fault) -> LastFault {
    LastFault {
        time: rfc3339(time),
        side: fault.kind().side().name(),
        kind: fault.kind().name(),
        detail: fault.detail().to_owned(),
        remedy: fault.remedy().map(str::to_owned),
    }
}

/// Formats a time such as `2026-11-25T08:46:32Z`.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    at_seconds(since.map_or(0, |since| since.as_secs()))
}

/// Formats seconds since 1970. Values beyond the year 9999, which RFC 3339 cannot express, are
/// clamped to its end.
pub fn at_seconds(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX).min(LAST_SECOND);
    let time = OffsetDateTime::from_unix_timestamp(seconds);
    time.ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_seconds_is_too_large() {
        assert_eq!(at_seconds(0), "1970-01-01T00:00:00Z");
        // Milliseconds, as some issuers send.
        for seconds in [1_700_000_000_000, u64::MAX] {
            assert_eq!(at_seconds(seconds), "9999-12-31T23:59:59Z");
        }
    }
}
