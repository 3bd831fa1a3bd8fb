//! What a token endpoint's refusal means: one table from Entra's codes, one from OAuth's error
//! names, each row with its class and its remedy.
//!
//! Codes come first: 50196 arrives as `invalid_grant`, yet it is throttling, and 53003 does, yet an
//! administrator cures it. A consent has ended only by a code that says so, by the suberrors
//! `bad_token` and `token_expired` beside an unknown code, or by a bare `invalid_grant`. Whatever is
//! not known leaves it as it is.

use std::borrow::Cow;

use super::failure::{Class, Failure};
use crate::config::{ClientCredential, Grant, Registration};

/// An error answer (RFC 6749 §5.2, with Entra's and Google's additions).
#[derive(Debug, Default)]
pub(super) struct Refusal<'a> {
    pub(super) status: u16,
    pub(super) error: &'a str,
    pub(super) description: &'a str,
    pub(super) codes: &'a [u64],
    pub(super) suberror: &'a str,
    /// Seconds by which our clock is ahead of the endpoint's.
    pub(super) skew: Option<i64>,
}

/// The registration that a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Anyone,
    /// An application's own token: nobody signs in.
    Application,
    /// The client's password is checked by the identity provider.
    Password,
    /// The client's password is the client secret.
    Secret,
    /// A certificate signs the request.
    Certificate,
    /// Another issuer's token proves the client.
    Federated,
    ServiceAccount,
    /// A person's consent at Google.
    GoogleConsent,
}

impl For {
    fn is(self, registration: &Registration) -> bool {
        let grant = &registration.grant;
        match self {
            Self::Anyone => true,
            Self::Application => grant.acts_for_itself(),
            Self::Password => matches!(grant, Grant::Password(_)),
            Self::Secret => {
                matches!(grant.credential(), Some(ClientCredential::ClientPassword))
            }
            Self::Certificate => {
                matches!(grant.credential(), Some(ClientCredential::Certificate(_)))
            }
            Self::Federated => matches!(grant.credential(), Some(ClientCredential::Federated(_))),
            Self::ServiceAccount => matches!(grant, Grant::ServiceAccount(_)),
            Self::GoogleConsent => {
                grant.wants_consent()
                    && registration
                        .token_url
                        .host_str()
                        .is_some_and(|host| host.ends_with("googleapis.com"))
            }
        }
    }
}

const LATER: Class = Class::Later { throttled: false };
const LESS: Class = Class::Later { throttled: true };
use Class::{Attention, Client, Ended};

struct Row {
    codes: &'static [u64],
    about: For,
    class: Class,
    remedy: &'static str,
}

const fn row(codes: &'static [u64], about: For, class: Class, remedy: &'static str) -> Row {
    Row {
        codes,
        about,
        class,
        remedy,
    }
}

/// The remedy that goes with throttling.
pub(super) const THROTTLED: &str =
    "the identity provider throttles this client; it is left alone for a while";

const TROUBLE: &str = "the identity provider has trouble; wait";

const WRONG_PASSWORD: &str = "the identity provider does not know this user and password: give the application the mailbox's own";

const WRONG_SECRET: &str = "the password that the application presents is not the registration's client secret: give it the secret's value, not its ID";

const ADMINISTRATOR: &str = "an administrator of the tenant must consent: grant admin consent under API permissions; users may not consent to mail permissions in most tenants";

/// Entra's codes. The first row that has the code and is about the registration counts.
const CODES: &[Row] = &[
    row(&[50196, 90055], For::Anyone, LESS, THROTTLED),
    row(
        &[
            90033, 90006, 90012, 90024, 50033, 90090, 50087, 50088, 50166, 50000,
        ],
        For::Anyone,
        LATER,
        TROUBLE,
    ),
    row(
        &[70008, 700_082, 70043, 50173, 50132, 50133, 700_084],
        For::Anyone,
        Ended,
        "the consent has expired or was revoked: authorize the account again",
    ),
    row(&[50126, 50034], For::Password, Client, WRONG_PASSWORD),
    row(&[7_000_215], For::Secret, Client, WRONG_SECRET),
    row(
        &[50034],
        For::Anyone,
        Attention,
        "the user does not exist in this tenant (any more): restore it in Entra, or check tenant and login",
    ),
    row(
        &[50126],
        For::Anyone,
        Attention,
        "the user's password is wrong or was changed at its identity provider: mend the user, then authorize the account again if that does not help",
    ),
    row(
        &[7_000_215],
        For::Anyone,
        Attention,
        "the client secret is wrong: client_secret wants the secret's value, not its ID",
    ),
    row(
        &[7_000_222],
        For::Anyone,
        Attention,
        "the client secret has expired: make a new one under Certificates & secrets and put it into client_secret",
    ),
    row(
        &[700_016],
        For::Anyone,
        Attention,
        "the application is not known in this tenant: check client_id and tenant",
    ),
    row(
        &[7_000_112],
        For::Anyone,
        Attention,
        "the application is disabled: enable it under Enterprise applications",
    ),
    row(
        &[7_000_229],
        For::Anyone,
        Attention,
        "the application has no service principal in this tenant: add it there as an Enterprise application (New-MgServicePrincipal -AppId with the client_id, or grant admin consent)",
    ),
    row(
        &[700_027],
        For::Anyone,
        Attention,
        "the certificate is not registered with the application: upload it under Certificates & secrets",
    ),
    row(
        &[700_024, 50012],
        For::Federated,
        Attention,
        "the federated token is outside its time or its issuer, subject or audience is not the federated credential's: see that federated.file is replaced before it ends, and that this machine's clock is right",
    ),
    row(
        &[700_024, 50012],
        For::Certificate,
        Attention,
        "the signed assertion is outside its time or cannot be verified: set this machine's clock (NTP), and check that the certificate uploaded to the application is this one",
    ),
    row(
        &[700_024, 50012],
        For::Anyone,
        Attention,
        "an assertion is outside its time or cannot be verified: set this machine's clock (NTP)",
    ),
    row(
        &[7_000_218],
        For::Anyone,
        Attention,
        "the application needs a client secret or certificate, or 'Allow public client flows'",
    ),
    row(
        &[700_025],
        For::Anyone,
        Attention,
        "the application is a public client: remove client_secret",
    ),
    row(
        &[90002, 90038, 900_439, 900_023],
        For::Anyone,
        Attention,
        "wrong tenant or cloud: check tenant and the provider's token_url",
    ),
    row(
        &[50194, 9_002_332, 9_001_023],
        For::Anyone,
        Attention,
        "the tenant does not fit the application's account types: give the tenant's own name or id",
    ),
    row(
        &[50020, 500_200],
        For::Anyone,
        Attention,
        "a guest or a personal account signed in: use an account of the tenant, or the provider outlook for a personal one",
    ),
    row(
        &[50053],
        For::Anyone,
        Attention,
        "the user is locked after too many sign-ins: wait, or unlock it in Entra",
    ),
    row(
        &[50055, 50144],
        For::Anyone,
        Attention,
        "the user's password has expired: set a new one",
    ),
    row(
        &[50057],
        For::Anyone,
        Attention,
        "the user is disabled: enable it in Entra",
    ),
    row(
        &[50105],
        For::Anyone,
        Attention,
        "the user is not assigned to the application: add it under Enterprise applications > Users and groups, or turn off Assignment required",
    ),
    row(
        &[
            53003, 53000, 53001, 53002, 53004, 53011, 530_003, 530_031, 530_032, 530_034, 530_035,
        ],
        For::Application,
        Attention,
        "a Conditional Access policy for workload identities blocks this application from this address: make the relay's egress address a named location that the policy excludes",
    ),
    row(
        &[50076, 50079, 50072, 50074, 50158],
        For::Application,
        Attention,
        "multi-factor authentication is required where nobody signs in: exclude the application in the Conditional Access policy",
    ),
    row(
        &[
            50076, 50079, 50072, 50074, 50158, 53000, 53001, 53003, 530_035,
        ],
        For::Password,
        Attention,
        "multi-factor authentication or Conditional Access stops this sign-in, and the grant password knows no second factor: exclude the user in the policy, or use another grant",
    ),
    row(
        &[
            50076, 50079, 50072, 50074, 50158, 53000, 53001, 53002, 53003, 53004, 53011, 530_003,
            530_031, 530_032, 530_034, 530_035, 50097, 500_571, 500_212,
        ],
        For::Anyone,
        Attention,
        "multi-factor authentication or Conditional Access stops this sign-in: sign in interactively (authorize the account again), or exclude the application in the policy",
    ),
    row(
        &[700_003],
        For::Anyone,
        Attention,
        "the device that signed in is gone from the tenant: authorize the account again from a device that the tenant knows",
    ),
    row(
        &[65001],
        For::Application,
        Attention,
        "consent is missing: grant admin consent under API permissions",
    ),
    row(
        &[65001, 90094, 90095],
        For::Anyone,
        Attention,
        ADMINISTRATOR,
    ),
    row(
        &[65004],
        For::Anyone,
        Attention,
        "the person declined: begin anew, and let the mailbox's owner agree",
    ),
    row(
        &[650_057],
        For::Anyone,
        Attention,
        "the permission is not declared by the application: add it under API permissions (Office 365 Exchange Online)",
    ),
    row(
        &[500_011],
        For::Anyone,
        Attention,
        "the resource does not exist in this tenant: check scope, and that the tenant has Exchange Online",
    ),
    row(
        &[70011, 28002, 700_022, 1_002_012],
        For::Application,
        Attention,
        "the scope is wrong: app-only tokens take https://outlook.office365.com/.default alone",
    ),
    row(
        &[70011, 28002, 700_022, 1_002_012],
        For::Anyone,
        Attention,
        "the scope is wrong: leave it out, or name scopes of one resource only (https://outlook.office.com/IMAP.AccessAsUser.All and its like, with offline_access)",
    ),
    row(
        &[70000],
        For::Anyone,
        Attention,
        "the refresh token belongs to another application: give back the client_id that the consent was given to, or authorize the account again",
    ),
    row(
        &[54005, 501_481, 70018, 70019],
        For::Anyone,
        Attention,
        "the code was used already, is wrong or too old: begin the consent anew",
    ),
    row(
        &[70016],
        For::Anyone,
        LATER,
        "the person has not entered the code yet",
    ),
    row(
        &[50011],
        For::Anyone,
        Attention,
        "the redirect URI is not registered with the application: add it under Authentication",
    ),
    row(
        &[9_002_313, 900_144, 90014],
        For::Anyone,
        Attention,
        "the request is malformed: check tenant, client_id and scope for stray characters",
    ),
];

struct Name {
    /// Lower case, with `_`.
    names: &'static [&'static str],
    about: For,
    class: Class,
    remedy: &'static str,
}

const fn name(
    names: &'static [&'static str],
    about: For,
    class: Class,
    remedy: &'static str,
) -> Name {
    Name {
        names,
        about,
        class,
        remedy,
    }
}

/// OAuth's error names, and those of providers that have their own, without regard to case. Names
/// count where no code is known.
const NAMES: &[Name] = &[
    name(
        &[
            "rate_limit_exceeded",
            "rate_limited",
            "too_many_requests",
            "throttled",
            "quota_exceeded",
            "slow_down",
        ],
        For::Anyone,
        LESS,
        THROTTLED,
    ),
    name(
        &[
            "temporarily_unavailable",
            "server_error",
            "internal_failure",
            "internal_error",
            "internal_server_error",
            "service_unavailable",
            "backend_error",
            "timeout",
        ],
        For::Anyone,
        LATER,
        TROUBLE,
    ),
    name(
        &["authorization_pending"],
        For::Anyone,
        LATER,
        "the person has not entered the code yet",
    ),
    name(
        &["invalid_grant"],
        For::ServiceAccount,
        Attention,
        "set this machine's clock (NTP) if the answer speaks of iat and exp; else check that the mailbox exists in the Workspace domain, and that the key is not revoked",
    ),
    name(
        &["unauthorized_client"],
        For::ServiceAccount,
        Attention,
        "in the Google Admin console, Security > API controls > Domain-wide delegation, add the service account's numeric client id with the scope https://mail.google.com/, exactly so, with its last slash",
    ),
    name(
        &["access_denied", "invalid_scope"],
        For::ServiceAccount,
        Attention,
        "the scope must be exactly https://mail.google.com/, as in the domain-wide delegation of the service account",
    ),
    name(&["invalid_grant"], For::Password, Client, WRONG_PASSWORD),
    name(&["invalid_client"], For::Secret, Client, WRONG_SECRET),
    name(
        &["invalid_grant", "invalid_refresh_token"],
        For::GoogleConsent,
        Ended,
        "the consent has expired or was revoked: authorize the account again; while the project's OAuth consent screen has the status Testing, Google ends every consent after 7 days: publish it",
    ),
    name(
        &["invalid_grant", "invalid_refresh_token"],
        For::Anyone,
        Ended,
        "the consent has expired or was revoked: authorize the account again",
    ),
    name(
        &["invalid_client"],
        For::Certificate,
        Attention,
        "check client_id, that this certificate is registered with the application, and this machine's clock",
    ),
    name(
        &["invalid_client"],
        For::Federated,
        Attention,
        "check client_id, the application's federated credential (issuer, subject, audience), and that federated.file is fresh",
    ),
    name(
        &["invalid_client"],
        For::Anyone,
        Attention,
        "check the registration's client_id and client_secret",
    ),
    name(
        &["unauthorized_client"],
        For::Anyone,
        Attention,
        "the application may not use this grant: allow it at the identity provider",
    ),
    name(
        &["invalid_scope"],
        For::Anyone,
        Attention,
        "check the registration's scope",
    ),
    name(&["consent_required"], For::Anyone, Attention, ADMINISTRATOR),
    name(
        &["interaction_required", "login_required"],
        For::Anyone,
        Attention,
        "a policy of the identity provider wants the person to sign in: authorize the account again, or have the policy changed",
    ),
    name(
        &["access_denied", "authorization_declined"],
        For::Anyone,
        Attention,
        "the person or a policy declined: begin anew, and let the mailbox's owner agree",
    ),
    name(
        &["expired_token", "code_expired", "bad_verification_code"],
        For::Anyone,
        Attention,
        "the code was not entered in time: begin the consent anew",
    ),
];

const UNKNOWN: &str =
    "look the error up at the identity provider, and check the registration and its policies";

/// Beyond it a clock is wrong, and not just the network slow.
const SKEW: i64 = 60;

/// Codes and words of assertions that are outside their time.
const TIMED: &[u64] = &[700_024, 50012];

/// What an error answer means for a registration.
pub(super) fn classify(registration: &Registration, refusal: &Refusal<'_>) -> Failure {
    // The description's first line says it; the rest are ids of the request.
    let summary = refusal.description.lines().next().unwrap_or_default();
    let mut codes = refusal.codes.to_vec();
    codes.extend(in_description(summary));
    let error = normal(refusal.error);
    let detail = match summary {
        "" => format!("the identity provider answers {}", refusal.error),
        summary => format!("the identity provider answers {}: {summary}", refusal.error),
    };
    let (class, remedy) = meaning(registration, refusal, &codes, &error);
    let class = match class {
        // Without a consent there is none to end.
        Ended if !registration.grant.wants_consent() => Attention,
        class => class,
    };
    let remedy = match clock(refusal, &codes, summary) {
        Some(clock) => Cow::Owned(format!("{clock}; {remedy}")),
        None => Cow::Borrowed(remedy),
    };
    Failure::new(class, detail).remedy(remedy).asked()
}

fn meaning(
    registration: &Registration,
    refusal: &Refusal<'_>,
    codes: &[u64],
    error: &str,
) -> (Class, &'static str) {
    let about = |row: &&Row| row.about.is(registration);
    let mut found = codes.iter().filter_map(|code| {
        let rows = CODES.iter().filter(|row| row.codes.contains(code));
        rows.clone().find(about)
    });
    // Where two codes are named, one that says "later" counts.
    let first = found.next();
    let known = match (
        first,
        found.find(|row| matches!(row.class, Class::Later { .. })),
    ) {
        (_, Some(later)) => Some(later),
        (first, None) => first,
    };
    let of_name = NAMES
        .iter()
        .find(|row| row.names.contains(&error) && row.about.is(registration));
    let is_later = |class| matches!(class, Class::Later { .. });
    match (known, of_name) {
        (Some(row), _) if is_later(row.class) => (row.class, row.remedy),
        _ if refusal.status == 429 => (LESS, THROTTLED),
        (_, Some(row)) if is_later(row.class) => (row.class, row.remedy),
        _ if refusal.status >= 500 => (LATER, TROUBLE),
        (Some(row), _) => (row.class, row.remedy),
        // Neither the code nor, for want of one, the name decides.
        (None, row) if !codes.is_empty() || !refusal.suberror.is_empty() => {
            match normal(refusal.suberror).as_str() {
                "bad_token" | "token_expired" => (
                    Ended,
                    "the consent has expired or was revoked: authorize the account again",
                ),
                _ => (
                    Attention,
                    row.filter(|row| row.class == Attention)
                        .map_or(UNKNOWN, |row| row.remedy),
                ),
            }
        }
        (None, Some(row)) => (row.class, row.remedy),
        (None, None) => (Attention, UNKNOWN),
    }
}

/// That the clock is to blame, where something signed is outside its time or the endpoint's clock
/// says so.
fn clock(refusal: &Refusal<'_>, codes: &[u64], summary: &str) -> Option<String> {
    let skew = refusal.skew.filter(|skew| skew.abs() > SKEW)?;
    let lower = summary.to_ascii_lowercase();
    let timed = codes.iter().any(|code| TIMED.contains(code))
        || [
            "invalid jwt",
            "iat",
            "expired",
            "not yet valid",
            "time range",
            "clock",
        ]
        .iter()
        .any(|word| lower.contains(word));
    timed.then(|| wrong_clock(skew))
}

/// `this machine's clock is 3600 s ahead of …`.
pub(super) fn wrong_clock(skew: i64) -> String {
    let (by, side) = match skew {
        0.. => (skew, "ahead of"),
        _ => (skew.saturating_neg(), "behind"),
    };
    format!("this machine's clock is {by} s {side} the identity provider's: set it (NTP)")
}

/// Lower case, with `_` where others have `-` or a space.
pub(super) fn normal(name: &str) -> String {
    name.trim().to_ascii_lowercase().replace(['-', ' '], "_")
}

/// `AADSTS7000215: …`, all of them: some answers name two, and the list may lack.
fn in_description(description: &str) -> Vec<u64> {
    description
        .split("AADSTS")
        .skip(1)
        .filter_map(|rest| {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(rest.len());
            rest.get(..digits)?.parse().ok()
        })
        .collect()
}

/// RFC 6749 §4.1.2.1: what came back to the redirect URI instead of a code.
pub(super) fn at_consent(registration: &Registration, error: &str, description: &str) -> Failure {
    let refusal = Refusal {
        status: 400,
        error,
        description,
        ..Refusal::default()
    };
    classify(registration, &refusal)
}

#[cfg(test)]
mod tests;
