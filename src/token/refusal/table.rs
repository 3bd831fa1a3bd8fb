//! Tables of Entra's codes and OAuth's error names, and the registrations to which a row applies.

use super::super::failure::Class::{self, Attention, Client, Ended};
use crate::config::{ClientCredential, Grant, Registration};

pub(super) const LATER: Class = Class::Later { throttled: false };
pub(super) const LESS: Class = Class::Later { throttled: true };

/// Row of a table: what the endpoint answers, to whose request, and what it means.
pub(super) struct Row<Answer: 'static> {
    /// Entra's codes, or names in lower case, with `_`.
    pub(super) answers: &'static [Answer],
    pub(super) about: For,
    pub(super) class: Class,
    pub(super) remedy: &'static str,
}

/// Registrations to which a row applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::token) enum For {
    Anyone,
    /// App-only tokens: no user signs in.
    Application,
    /// The identity provider checks the client's password.
    Password,
    /// The client's password is the client secret.
    Secret,
    /// A certificate signs the request.
    Certificate,
    /// Another issuer's token authenticates the client.
    Federated,
    ServiceAccount,
    ManagedIdentity,
    /// A user's consent at Google.
    GoogleConsent,
}

impl For {
    pub(in crate::token) fn is(self, registration: &Registration) -> bool {
        let grant = &registration.grant;
        match self {
            Self::Anyone => true,
            Self::Application => grant.is_app_only(),
            Self::Password => matches!(grant, Grant::Password(_)),
            Self::Secret => {
                matches!(grant.credential(), Some(ClientCredential::ClientPassword))
            }
            Self::Certificate => {
                matches!(grant.credential(), Some(ClientCredential::Certificate(_)))
            }
            Self::Federated => matches!(grant.credential(), Some(ClientCredential::Federated(_))),
            Self::ServiceAccount => matches!(grant, Grant::ServiceAccount(_)),
            Self::ManagedIdentity => matches!(grant, Grant::ManagedIdentity { .. }),
            Self::GoogleConsent => {
                grant.needs_consent()
                    && registration
                        .token_url
                        .host_str()
                        .is_some_and(|host| host.ends_with("googleapis.com"))
            }
        }
    }
}

/// Creates the rows `[answers] registrations class => remedy;`.
macro_rules! rows {
    ($([$($answer:literal),+] $about:ident $class:ident => $remedy:expr;)+) => {
        &[$(Row {
            answers: &[$($answer),+],
            about: For::$about,
            class: $class,
            remedy: $remedy,
        }),+]
    };
}

/// Remedy for throttling.
pub(in crate::token) const THROTTLED: &str =
    "the identity provider throttles this client; no request is made for a while";

pub(super) const TROUBLE: &str = "the identity provider has a problem; wait";

const WRONG_PASSWORD: &str = "the identity provider does not know this user and password: give the application the mailbox's own";

const WRONG_SECRET: &str = "the password that the application presents is not the registration's client secret: give it the secret's value, not its ID";

const ADMINISTRATOR: &str = "an administrator of the tenant must consent: grant admin consent under API permissions; users may not consent to mail permissions in most tenants";

/// Entra's codes. The first row with the code that applies to the registration counts.
pub(super) const CODES: &[Row<u64>] = rows! {
    [50196, 90055] Anyone LESS => THROTTLED;
    [90033, 90006, 90012, 90024, 50033, 90090, 50087, 50088, 50166, 50000] Anyone LATER => TROUBLE;
    [70008, 700_082, 70043, 50173, 50132, 50133, 700_084] Anyone Ended =>
        "the consent has expired or was revoked: authorize the account again";
    [50126, 50034] Password Client => WRONG_PASSWORD;
    [7_000_215] Secret Client => WRONG_SECRET;
    [50034] Anyone Attention =>
        "the user does not exist in this tenant (any more): restore it in Entra, or check tenant and login";
    [50126] Anyone Attention =>
        "the user's password is wrong or was changed at its identity provider: correct the user, then authorize the account again if that does not help";
    [7_000_215] Anyone Attention =>
        "the client secret is wrong: client_secret needs the secret's value, not its ID";
    [7_000_222] Anyone Attention =>
        "the client secret has expired: make a new one under Certificates & secrets and put it into client_secret";
    [700_016] Anyone Attention =>
        "the application is not known in this tenant: check client_id and tenant";
    [7_000_112] Anyone Attention =>
        "the application is disabled: enable it under Enterprise applications";
    [7_000_229] Anyone Attention =>
        "the application has no service principal in this tenant: add it there as an Enterprise application (New-MgServicePrincipal -AppId with the client_id, or grant admin consent)";
    [700_027] Anyone Attention =>
        "the certificate is not registered with the application: upload it under Certificates & secrets";
    [700_024, 50012, 500_133] Federated Attention =>
        "the federated token is outside its time or its issuer, subject or audience is not the federated credential's: see that federated.file is replaced before it ends, and that this machine's clock is right";
    [700_024, 50012, 500_133] Certificate Attention =>
        "the signed assertion is outside its time or cannot be verified: set this machine's clock (NTP), and check that the certificate uploaded to the application is this one";
    [700_024, 50012, 500_133] Anyone Attention =>
        "an assertion is outside its time or cannot be verified: set this machine's clock (NTP)";
    [7_000_218] Anyone Attention =>
        "the application needs a client secret or certificate, or 'Allow public client flows'";
    [700_025] Anyone Attention =>
        "the application is a public client: remove client_secret";
    [90002, 90038, 900_439, 900_023] Anyone Attention =>
        "wrong tenant or cloud: check tenant and the provider's token_url";
    [50194, 9_002_332, 9_001_023] Anyone Attention =>
        "the tenant does not fit the application's account types: give the tenant's own name or id";
    [50020, 500_200] Anyone Attention =>
        "a guest or a personal account signed in: use an account of the tenant, or the provider outlook for a personal one";
    [50053] Anyone Attention =>
        "the user is locked after too many sign-ins: wait, or unlock it in Entra";
    [50055, 50144] Anyone Attention =>
        "the user's password has expired: set a new one";
    [50057] Anyone Attention =>
        "the user is disabled: enable it in Entra";
    [50105] Anyone Attention =>
        "the user is not assigned to the application: add it under Enterprise applications > Users and groups, or turn off Assignment required";
    [53003, 53000, 53001, 53002, 53004, 53011, 530_003, 530_031, 530_032, 530_034, 530_035] Application Attention =>
        "a Conditional Access policy for workload identities blocks this application from this address: make the relay's egress address a named location that the policy excludes";
    [50076, 50079, 50072, 50074, 50158] Application Attention =>
        "multi-factor authentication is required, but no one signs in: exclude the application in the Conditional Access policy";
    [50076, 50079, 50072, 50074, 50158, 53000, 53001, 53003, 530_035] Password Attention =>
        "multi-factor authentication or Conditional Access stops this sign-in, and the grant password cannot use a second factor: exclude the user in the policy, or use another grant";
    [50076, 50079, 50072, 50074, 50158, 53000, 53001, 53002, 53003, 53004, 53011, 530_003,
     530_031, 530_032, 530_034, 530_035, 50097, 500_571, 500_212] Anyone Attention =>
        "multi-factor authentication or Conditional Access stops this sign-in: sign in interactively (authorize the account again), or exclude the application in the policy";
    [700_003] Anyone Attention =>
        "the device that signed in is gone from the tenant: authorize the account again from a device that the tenant knows";
    [65001] Application Attention =>
        "consent is missing: grant admin consent under API permissions";
    [65001, 90094, 90095] Anyone Attention => ADMINISTRATOR;
    [65004] Anyone Attention =>
        "the person declined: start again, and let the mailbox's owner accept";
    [650_057] Anyone Attention =>
        "the permission is not declared by the application: add it under API permissions (Office 365 Exchange Online)";
    [500_011] Anyone Attention =>
        "the resource does not exist in this tenant: check scope, and that the tenant has Exchange Online";
    [70011, 28002, 700_022, 1_002_012] Application Attention =>
        "the scope is wrong: app-only tokens need https://outlook.office365.com/.default and nothing else";
    [70011, 28002, 700_022, 1_002_012] Anyone Attention =>
        "the scope is wrong: leave it out, or name scopes of one resource only (https://outlook.office.com/IMAP.AccessAsUser.All and its like, with offline_access)";
    [70000] Anyone Attention =>
        "the refresh token belongs to another application: give back the client_id that the consent was given to, or authorize the account again";
    [54005, 501_481, 70018, 70019] Anyone Attention =>
        "the code was used already, is wrong or too old: start the consent again";
    [70016] Anyone LATER =>
        "the person has not entered the code yet";
    [50011] Anyone Attention =>
        "the redirect URI is not registered with the application: add it under Authentication";
    [9_002_313, 900_144, 90014] Anyone Attention =>
        "the request is malformed: check tenant, client_id and scope for stray characters";
};

/// OAuth's error names and those of particular providers, ignoring case. Names count if no code is
/// known.
pub(super) const NAMES: &[Row<&str>] = rows! {
    ["rate_limit_exceeded", "rate_limited", "too_many_requests", "throttled", "quota_exceeded",
     "slow_down"] Anyone LESS =>
        THROTTLED;
    ["temporarily_unavailable", "server_error", "internal_failure", "internal_error",
     "internal_server_error", "service_unavailable", "backend_error", "timeout"] Anyone LATER =>
        TROUBLE;
    ["authorization_pending"] Anyone LATER =>
        "the person has not entered the code yet";
    ["invalid_grant"] ServiceAccount Attention =>
        "set this machine's clock (NTP) if the answer speaks of iat and exp; else check that the mailbox exists in the Workspace domain, and that the key is not revoked";
    ["unauthorized_client"] ServiceAccount Attention =>
        "in the Google Admin console, Security > API controls > Domain-wide delegation, add the service account's numeric client id with the scope https://mail.google.com/, exactly as written, with its trailing slash";
    ["access_denied", "invalid_scope"] ServiceAccount Attention =>
        "the scope must be exactly https://mail.google.com/, as in the domain-wide delegation of the service account";
    ["invalid_grant"] Password Client => WRONG_PASSWORD;
    ["invalid_client"] Secret Client => WRONG_SECRET;
    ["invalid_grant"] Application Attention =>
        "the identity provider refuses the application: check the registration's tenant, client_id, and client_secret or certificate";
    ["invalid_request"] ManagedIdentity Attention =>
        "assign the managed identity to this machine, and check the registration's client_id and scope";
    ["invalid_grant", "invalid_refresh_token"] GoogleConsent Ended =>
        "the consent has expired or was revoked: authorize the account again; while the project's OAuth consent screen has the status Testing, Google ends every consent after 7 days: publish it";
    ["invalid_grant", "invalid_refresh_token"] Anyone Ended =>
        "the consent has expired or was revoked: authorize the account again";
    ["invalid_client"] Certificate Attention =>
        "check client_id, that this certificate is registered with the application, and this machine's clock";
    ["invalid_client"] Federated Attention =>
        "check client_id, the application's federated credential (issuer, subject, audience), and that federated.file is fresh";
    ["invalid_client"] Anyone Attention =>
        "check the registration's client_id and client_secret";
    ["unauthorized_client"] Anyone Attention =>
        "the application may not use this grant: allow it at the identity provider";
    ["invalid_scope"] Anyone Attention =>
        "check the registration's scope";
    ["consent_required"] Anyone Attention => ADMINISTRATOR;
    ["interaction_required", "login_required"] Anyone Attention =>
        "a policy of the identity provider requires the person to sign in: authorize the account again, or have the policy changed";
    ["access_denied", "authorization_declined"] Anyone Attention =>
        "the person or a policy declined: start again, and let the mailbox's owner accept";
    ["expired_token", "code_expired", "bad_verification_code"] Anyone Attention =>
        "the code was not entered in time: start the consent again";
};

pub(super) const UNKNOWN: &str =
    "look the error up at the identity provider, and check the registration and its policies";
