//! Tables of Entra's codes and OAuth's error names.

use super::super::failure::Class::{self, Attention, Client, Ended};
use super::subject::For;

pub(super) const LATER: Class = Class::Later { throttled: false };
pub(super) const LESS: Class = Class::Later { throttled: true };

/// Row of the table of codes.
pub(super) struct Row {
    pub(super) codes: &'static [u64],
    pub(super) about: For,
    pub(super) class: Class,
    pub(super) remedy: &'static str,
}

const fn row(codes: &'static [u64], about: For, class: Class, remedy: &'static str) -> Row {
    Row {
        codes,
        about,
        class,
        remedy,
    }
}

/// Remedy for throttling.
pub(in crate::token) const THROTTLED: &str =
    "the identity provider throttles this client; no request is made for a while";

pub(super) const TROUBLE: &str = "the identity provider has trouble; wait";

const WRONG_PASSWORD: &str = "the identity provider does not know this user and password: give the application the mailbox's own";

const WRONG_SECRET: &str = "the password that the application presents is not the registration's client secret: give it the secret's value, not its ID";

const ADMINISTRATOR: &str = "an administrator of the tenant must consent: grant admin consent under API permissions; users may not consent to mail permissions in most tenants";

/// Entra's codes. The first row with the code that applies to the registration counts.
pub(super) const CODES: &[Row] = &[
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
        "the user's password is wrong or was changed at its identity provider: correct the user, then authorize the account again if that does not help",
    ),
    row(
        &[7_000_215],
        For::Anyone,
        Attention,
        "the client secret is wrong: client_secret needs the secret's value, not its ID",
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
        &[700_024, 50012, 500_133],
        For::Federated,
        Attention,
        "the federated token is outside its time or its issuer, subject or audience is not the federated credential's: see that federated.file is replaced before it ends, and that this machine's clock is right",
    ),
    row(
        &[700_024, 50012, 500_133],
        For::Certificate,
        Attention,
        "the signed assertion is outside its time or cannot be verified: set this machine's clock (NTP), and check that the certificate uploaded to the application is this one",
    ),
    row(
        &[700_024, 50012, 500_133],
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
        "multi-factor authentication is required, but no one signs in: exclude the application in the Conditional Access policy",
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
        "the person declined: start again, and let the mailbox's owner accept",
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
        "the scope is wrong: app-only tokens need https://outlook.office365.com/.default and nothing else",
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
        "the code was used already, is wrong or too old: start the consent again",
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

/// Row of the table of names.
pub(super) struct Name {
    /// Names in lower case, with `_`.
    pub(super) names: &'static [&'static str],
    pub(super) about: For,
    pub(super) class: Class,
    pub(super) remedy: &'static str,
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

/// OAuth's error names and those of particular providers, ignoring case. Names count if no code is
/// known.
pub(super) const NAMES: &[Name] = &[
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
        &["invalid_grant"],
        For::Application,
        Attention,
        "the identity provider refuses the application: check the registration's tenant, client_id, and client_secret or certificate",
    ),
    name(
        &["invalid_request"],
        For::ManagedIdentity,
        Attention,
        "assign the managed identity to this machine, and check the registration's client_id and scope",
    ),
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
        "a policy of the identity provider requires the person to sign in: authorize the account again, or have the policy changed",
    ),
    name(
        &["access_denied", "authorization_declined"],
        For::Anyone,
        Attention,
        "the person or a policy declined: start again, and let the mailbox's owner accept",
    ),
    name(
        &["expired_token", "code_expired", "bad_verification_code"],
        For::Anyone,
        Attention,
        "the code was not entered in time: start the consent again",
    ),
];

pub(super) const UNKNOWN: &str =
    "look the error up at the identity provider, and check the registration and its policies";
