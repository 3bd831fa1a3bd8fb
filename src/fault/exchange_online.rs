//! Classifies a mail service's refusal of XOAUTH2.
//!
//! The table holds the terse texts of Exchange Online seen in the field. Any other text gets
//! general advice.

use super::model::{Fault, Kind};

/// Whether the upstream's protocol marks a refused login as temporary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Temporary by the protocol: an SMTP 4xx, `[UNAVAILABLE]`, `[SYS/TEMP]` or `BYE`.
    Temporary,
    /// Any other failure: repeating the login does not help.
    Final,
}

struct Known {
    /// Part of the upstream's text, lower case.
    says: &'static str,
    kind: Kind,
    /// Whether another token might be accepted.
    token_suspect: bool,
    remedy: &'static str,
}

const WAIT: &str =
    "the mail service is throttling this mailbox; let the application poll less often";

/// Another token might be accepted.
const ANOTHER: bool = true;
/// No token of this application would be accepted.
const SAME: bool = false;

/// Creates the rows `"says" kind SAME or ANOTHER => remedy;`.
macro_rules! known {
    ($($says:literal $kind:ident $token:ident => $remedy:expr;)+) => {
        &[$(Known {
            says: $says,
            kind: Kind::$kind,
            token_suspect: $token,
            remedy: $remedy,
        }),+]
    };
}

const KNOWN: &[Known] = known! {
    "throttled" Busy SAME => WAIT;
    "suggested backoff time" Busy SAME => WAIT;
    "server unavailable" Busy SAME => "the mail service has a problem; wait";
    "connection is closed" Busy SAME => "the mail service has a problem or is dropping connections; wait";
    "too many" Busy SAME => WAIT;
    // Replies of High Volume Email.
    "5.7.142" Refused ANOTHER =>
        "High Volume Email rejects tokens that expire soon: set the provider's token_margin to 20m or more";
    "5.7.143" Refused ANOTHER =>
        "the token had expired: set this machine's clock (NTP), and the provider's token_margin to 20m or more";
    "5.7.144" Refused ANOTHER =>
        "the token lacks the permission: in Entra add Office 365 Exchange Online, application permission Mail.Send, \
         with admin consent, and leave scope out or set it to https://outlook.office.com/.default";
    "5.7.240" Refused SAME =>
        "the application is not on the list of this High Volume Email account: Add-HVEAppAccess -Identity MAILBOX \
         -AppIds OBJECT_ID, with the object id of the enterprise application; it takes effect within 5 minutes";
    "5.5.12" Refused SAME =>
        "High Volume Email could not read the login: check that the account's mailbox is the High Volume Email \
         account's address, and that the provider's mechanism is xoauth2";
    "smtpclientauthentication is disabled for the tenant" Refused SAME =>
        "SMTP AUTH is off for the tenant, which stops OAuth too: \
         Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false, or for all \
         Set-TransportConfig -SmtpClientAuthenticationDisabled $false";
    "smtpclientauthentication is disabled" Refused SAME =>
        "SMTP AUTH is off for this mailbox, which stops OAuth too: \
         Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false";
    "security defaults" Refused SAME =>
        "the tenant's security defaults forbid this sign-in; use a Conditional Access policy \
         that admits the application instead";
    "5.7.30" Refused SAME =>
        "the service took this for basic authentication; check that the provider's mechanism is xoauth2";
    "did not meet the criteria" Refused ANOTHER =>
        "a Conditional Access or authentication policy refused the sign-in; look it up in \
         Entra's sign-in log";
    "unrecognized authentication type" Refused SAME =>
        "this host does not offer the mechanism; check the provider's host and mechanism";
};

/// Remedy for a text that is not in the table.
const GENERAL: &str = "check that the application has the protocol's permission with admin consent \
    (IMAP.AccessAsApp, POP.AccessAsApp, SMTP.SendAsApp), that New-ServicePrincipal was run with the \
    object id of the enterprise application, that Add-MailboxPermission gave it FullAccess to this \
    mailbox, and that the mailbox address is right; new permissions can take hours to take effect";

/// Builds the fault for an upstream's refusal of a login.
///
/// `text` holds all lines of the reply, without the token.
pub fn classify(text: &str, refusal: Refusal) -> Fault {
    let lower = text.to_ascii_lowercase();
    let said = format!("the mail service refused the login: {text}");
    if let Some(known) = KNOWN.iter().find(|known| lower.contains(known.says)) {
        let fault = Fault::new(known.kind, said).with_remedy(known.remedy);
        return if known.token_suspect {
            fault.with_token_retry()
        } else {
            fault
        };
    }
    match refusal {
        Refusal::Temporary => Fault::new(Kind::Busy, said)
            .with_remedy("temporary; the application should try again later"),
        Refusal::Final => Fault::new(Kind::Refused, said)
            .with_remedy(GENERAL)
            .with_token_retry(),
    }
}

/// Reads how long the mail service refuses its mailbox, in milliseconds, at most one hour.
/// Exchange sends `Suggested Backoff Time: 299961 milliseconds`; seconds are accepted too.
pub fn suggested_backoff(text: &str) -> Option<u64> {
    const HOUR: u64 = 3_600_000;
    let lower = text.to_ascii_lowercase();
    let (_, rest) = lower.split_once("suggested backoff time:")?;
    let rest = rest.trim_start();
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (number, unit) = rest.split_at_checked(digits)?;
    if number.is_empty() {
        return None;
    }
    // A number that overflows also means the longest time.
    let number: u64 = number.parse().unwrap_or(HOUR);
    let time = match unit.trim_start().starts_with('s') {
        true => number.saturating_mul(1000),
        false => number,
    };
    (time > 0).then_some(time.min(HOUR))
}
