//! Entra's error codes: cause and remedy.
//!
//! The answer's `error` decides where it is clear; Microsoft says that codes are for hints. Codes
//! that contradict it in practice are known here: 50196 arrives as `invalid_grant`, yet it is
//! throttling.

use crate::fault::{Fault, Kind};

/// Codes that say "later", whatever `error` says.
const TRANSIENT: &[u64] = &[90033, 90006, 90012, 90024, 50033, 90090];

/// Codes that say "less often".
const THROTTLED: &[u64] = &[50196, 90055];

/// Codes that say that a refresh token is dead: only a new consent makes another.
const CONSENT_ENDED: &[u64] = &[70008, 700_082, 70043, 50173, 50132, 50133, 700_084];

/// Causes that are for good, and what to do about them.
const REMEDIES: &[(&[u64], &str)] = &[
    (
        &[7_000_215],
        "the client secret is wrong: client_secret wants the secret's value, not its ID",
    ),
    (
        &[7_000_222],
        "the client secret has expired: make a new one under Certificates & secrets and put it into client_secret",
    ),
    (
        &[700_016],
        "the application is not known in this tenant: check client_id and tenant",
    ),
    (
        &[7_000_112],
        "the application is disabled: enable it under Enterprise applications",
    ),
    (
        &[700_027],
        "the certificate is not registered with the application: upload it under Certificates & secrets",
    ),
    (
        &[7_000_218],
        "the application needs a client secret or certificate, or 'Allow public client flows'",
    ),
    (
        &[700_025],
        "the application is a public client: it takes no client secret",
    ),
    (
        &[90002, 90038, 900_439],
        "wrong tenant or cloud: check tenant and the provider's token_url",
    ),
    (
        &[50194, 9_002_332, 9_001_023],
        "the tenant does not fit the application's account types: give the tenant's own name or id",
    ),
    (&[50053], "the user is locked after too many sign-ins"),
    (&[50055], "the user's password has expired"),
    (&[50057], "the user is disabled"),
    (
        &[
            50076, 50079, 50072, 50074, 50158, 53000, 53001, 53003, 530_035,
        ],
        "multi-factor authentication or Conditional Access stops this sign-in: sign in interactively or exclude the application in the policy",
    ),
    (
        &[65001, 90094],
        "consent is missing: grant admin consent under API permissions",
    ),
    (
        &[650_057],
        "the permission is not declared by the application: add it under API permissions (Office 365 Exchange Online)",
    ),
    (
        &[500_011],
        "the resource does not exist in this tenant: check scope, and that the tenant has Exchange Online",
    ),
    (
        &[70011, 28002, 700_022],
        "the scope is wrong: app-only tokens want https://outlook.office365.com/.default alone",
    ),
    (
        CONSENT_ENDED,
        "the consent has expired or was revoked: authorize the account again",
    ),
    (
        &[54005, 501_481],
        "the code was used already or is too old: begin the consent anew",
    ),
    (
        &[50011],
        "the redirect URI is not registered with the application: add it under Authentication",
    ),
    (
        &[9_002_313, 900_144, 90014],
        "the request is malformed: check tenant, client_id and scope for stray characters",
    ),
];

/// Codes that say that the client's own password is wrong: it is the client's fault.
const CREDENTIALS: &[u64] = &[50126, 50034];

/// What an error answer means.
pub(super) struct Classified {
    pub(super) fault: Fault,
    /// What the request presented (a refresh token) will never be taken again: only a new consent
    /// helps, and asking again does not.
    pub(super) consent_ended: bool,
    /// The identity provider wants to be asked less often.
    pub(super) throttled: bool,
}

impl From<Fault> for Classified {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            consent_ended: false,
            throttled: false,
        }
    }
}

/// What an error answer means.
pub(super) fn classify(status: u16, error: &str, description: &str, codes: &[u64]) -> Classified {
    // The description's first line says it; the rest are ids of the request.
    let summary = description.lines().next().unwrap_or_default();
    let mut codes = codes.to_vec();
    codes.extend(in_description(summary));
    let detail = match summary {
        "" => format!("the identity provider answers {error}"),
        summary => format!("the identity provider answers {error}: {summary}"),
    };
    let known = |list: &[u64]| codes.iter().any(|code| list.contains(code));
    if known(THROTTLED) || status == 429 {
        let fault = Fault::new(Kind::Unavailable, detail);
        return Classified {
            throttled: true,
            ..Classified::from(fault.remedy_is(super::THROTTLED))
        };
    }
    let transient = matches!(
        error,
        "temporarily_unavailable" | "server_error" | "slow_down"
    );
    if known(TRANSIENT) || transient || status >= 500 {
        let fault = Fault::new(Kind::Unavailable, detail);
        return Classified::from(fault.remedy_is("the identity provider has trouble; wait"));
    }
    if known(CREDENTIALS) {
        let fault = Fault::new(Kind::Credentials, detail);
        return Classified::from(fault.remedy_is(
            "the identity provider does not know this user and password: give the application the mailbox's own",
        ));
    }
    let cause = REMEDIES.iter().find(|(list, _)| known(list));
    let remedy = cause.map_or(
        match error {
            "invalid_client" => "check the registration's client_id and client_secret",
            "unauthorized_client" => {
                "the application may not use this grant: allow it at the identity provider"
            }
            "invalid_scope" => "check the registration's scope",
            "invalid_grant" => "what the registration presents is expired or revoked",
            _ => "look the error up at the identity provider, and check the registration",
        },
        |(_, remedy)| *remedy,
    );
    let wants_person = matches!(
        error,
        "invalid_grant" | "interaction_required" | "consent_required" | "login_required"
    );
    Classified {
        fault: Fault::new(Kind::GrantRefused, detail).remedy_is(remedy),
        // A locked user, a policy: what is cured elsewhere leaves the consent as it is.
        consent_ended: known(CONSENT_ENDED) || (cause.is_none() && wants_person),
        throttled: false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A consent outlives what is cured elsewhere: nobody has to agree again once a policy is
    /// mended or a user is let in.
    #[test]
    fn only_a_dead_refresh_token_ends_a_consent() {
        let ended = |code: u64| {
            let description = format!("AADSTS{code}: something");
            classify(400, "invalid_grant", &description, &[code]).consent_ended
        };
        for code in [70008, 700_082, 50173] {
            assert!(ended(code), "{code}");
        }
        for code in [50053, 50055, 50057, 50076, 53003, 50196] {
            assert!(!ended(code), "{code}");
        }
        // A code that nobody knows: the OAuth error decides.
        assert!(ended(999_999));
        assert!(classify(400, "invalid_grant", "", &[]).consent_ended);
        assert!(!classify(400, "invalid_client", "", &[]).consent_ended);
    }
}
