//! Inspects a token's claims. Nothing is verified, since the token came from its issuer and others
//! decide about it; the claims predict Exchange's unexplained refusals.

use serde_json::Value;

use super::advice::{Advice, TokenClaims};
use super::report::TestTarget;
use crate::token::claims;
use crate::wire::Protocol;

/// Resources that Exchange's mail protocols accept; the last is Exchange Online's application id.
const EXCHANGE: [&str; 3] = [
    "outlook.",
    "ps.outlook.com",
    "00000002-0000-0ff1-ce00-000000000000",
];

/// Result of inspecting a token's claims.
pub(super) struct ClaimsReport {
    pub(super) detail: String,
    pub(super) claims: TokenClaims,
    /// Cause and remedy of claims that cannot work.
    pub(super) wrong: Option<Advice>,
}

/// Inspects the claims of an access token.
pub(super) fn inspect(target: &TestTarget, token: &str, mailbox: &str) -> ClaimsReport {
    let Some(payload) = claims(token) else {
        return ClaimsReport {
            detail: "the token is opaque: only the mail service can read it".into(),
            claims: TokenClaims::default(),
            wrong: None,
        };
    };
    let text = |name: &str| {
        let value = payload.get(name).and_then(Value::as_str);
        value.map(str::to_owned)
    };
    let roles: Vec<_> = payload
        .get("roles")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    let claims = TokenClaims {
        audience: text("aud"),
        application: text("appid").or_else(|| text("azp")),
        object: text("oid"),
        tenant: text("tid"),
        user: text("upn")
            .or_else(|| text("unique_name"))
            .or_else(|| text("preferred_username")),
        scopes: text("scp")
            .map(|scp| scp.split(' ').map(str::to_owned).collect())
            .unwrap_or_default(),
        roles,
        known: true,
    };
    let shown =
        |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={value}"));
    let list = |name: &str, values: &[String]| {
        (!values.is_empty()).then(|| format!("{name}={}", values.join(",")))
    };
    let exp = payload
        .get("exp")
        .and_then(Value::as_u64)
        .map(|exp| format!("exp={}", crate::status::at_seconds(exp)));
    let parts = [
        shown("aud", &claims.audience),
        list("roles", &claims.roles),
        list("scp", &claims.scopes),
        shown("appid", &claims.application),
        shown("oid", &claims.object),
        shown("tid", &claims.tenant),
        shown("upn", &claims.user),
        exp,
    ];
    let detail: Vec<_> = parts.into_iter().flatten().collect();
    ClaimsReport {
        detail: crate::fault::sanitize(&detail.join(" ")),
        wrong: wrong(target, &claims, mailbox),
        claims,
    }
}

/// Finds claims that cannot work whatever the mail service says. Covers Microsoft's tokens only.
fn wrong(target: &TestTarget, claims: &TokenClaims, mailbox: &str) -> Option<Advice> {
    let account = &target.account;
    let registration = &account.registration;
    let scope = account.scope().join(" ");
    if !registration.provider.name.starts_with("microsoft365") && !scope.contains("outlook") {
        return None;
    }
    if let Some(audience) = &claims.audience
        && !EXCHANGE.iter().any(|known| audience.contains(known))
    {
        let right = match registration.grant.is_app_only() {
            true => "https://outlook.office365.com/.default",
            false => "https://outlook.office.com/IMAP.AccessAsUser.All and its like",
        };
        return Some(Advice::new(
            format!("the token is for {audience}, not for Exchange"),
            format!("set the registration's scope to {right}, or leave it out"),
        ));
    }
    let is_id = |text: &str| text.len() == 36 && text.matches('-').count() == 4;
    if let Some(tenant) = &claims.tenant
        && is_id(&registration.tenant)
        && !tenant.eq_ignore_ascii_case(&registration.tenant)
    {
        return Some(Advice::new(
            format!(
                "the token is from the tenant {tenant}, not from {}",
                registration.tenant
            ),
            "check the registration's tenant: it must be the one that has the mailbox",
        ));
    }
    lacking(target, claims, mailbox)
}

/// Finds the role or permission that the token lacks.
fn lacking(target: &TestTarget, claims: &TokenClaims, mailbox: &str) -> Option<Advice> {
    let registration = &target.account.registration;
    let (role, permission) = match target.protocol {
        Protocol::Imap => ("IMAP.AccessAsApp", "IMAP.AccessAsUser.All"),
        Protocol::Pop3 => ("POP.AccessAsApp", "POP.AccessAsUser.All"),
        Protocol::Smtp => ("SMTP.SendAsApp", "SMTP.Send"),
    };
    let has = |list: &[String], name: &str| list.iter().any(|item| item.eq_ignore_ascii_case(name));
    match registration.grant.is_app_only() {
        // RBAC for applications allows SMTP without a role, so the mail service decides.
        true if target.protocol == Protocol::Smtp => None,
        true if !has(&claims.roles, role) => Some(Advice::new(
            match claims.roles.is_empty() {
                true => "the token carries no roles: the application has no permission with admin consent".to_owned(),
                false => format!("the token's roles lack {role}"),
            },
            format!(
                "in Entra, API permissions of the application {}: add Office 365 Exchange Online, application permission {role}, and grant admin consent",
                registration.client_id
            ),
        )),
        false if !claims.scopes.is_empty() && !has(&claims.scopes, permission) => Some(Advice::new(
            format!("the token's permissions lack {permission}"),
            format!(
                "in Entra, API permissions of the application {}: add the delegated permission {permission}, then authorize {mailbox} again",
                registration.client_id
            ),
        )),
        _ => None,
    }
}
