//! Reads `registrations`: OAuth clients.

use super::field::{Field, is_name};
use super::grants::{grant, workload_identity};
use super::key::Key;
use super::known::Known;
use super::pem;
use super::provider::Provider;
use super::registration::{ClientCredential, Grant, Registration, RegistrationKeys};
use super::value::{Day, Named, Scope, https};
use crate::wire::Protocol;

/// Base URL of Entra's endpoints, unless the environment sets another.
const ENTRA: &str = "https://login.microsoftonline.com";

/// Exact form of Google's scope for mail.
const GOOGLE_MAIL: &str = "https://mail.google.com/";

/// Endings of delegated scopes, which Entra refuses for client credentials (AADSTS1002012).
const DELEGATED: [&str; 4] = [
    "accessasuser.all",
    "smtp.send",
    "offline_access",
    "mail.send",
];

pub(super) fn registrations(
    keys: Key<Named<RegistrationKeys>>,
    providers: &Known<Provider>,
) -> Known<Registration> {
    let mut known = Known::new("registration", "describe it under registrations");
    for (name, field, keys) in keys.required().map_or_else(Vec::new, |Named(all)| all) {
        let registration = keys.and_then(|keys| registration(&name, &field, keys, providers));
        known.insert(name, registration);
    }
    known
}

/// Completes the keys of a registration, and checks them against each other and its provider.
fn registration(
    name: &str,
    field: &Field,
    mut keys: RegistrationKeys,
    providers: &Known<Provider>,
) -> Option<Registration> {
    let provider = keys.provider.given();
    let provider = provider.and_then(|name| providers.named(&field.at("provider"), name));
    let grant = grant(field, &keys);
    let client_id = client_id(field, grant.as_ref(), &keys);
    let expires = keys.client_secret_expires.take().optional();
    if let Some(Some(Day(end))) = expires {
        pem::warn_of_end(&field.at("client_secret_expires"), "client secret", end);
    }
    let (provider, grant) = (provider?, grant?);
    let tenant = tenant(field, &provider, &grant, keys.tenant.take())?;
    let url = |template: &str| {
        let url = https(template, &tenant);
        field.accept(url.map_err(|why| format!("the provider's URL {why}")))
    };
    let token_url = url(&token_template(field, &provider, &grant));
    let consent_url = |wanted: bool, template: &Option<String>, key: &str| match template {
        _ if !wanted => Some(None),
        Some(template) => url(template).map(Some),
        None => field.reject(format_args!(
            "the provider {} has no {key}, which the grant {} needs",
            provider.name,
            grant.name()
        )),
    };
    let by_code = matches!(grant, Grant::AuthorizationCode(_));
    let by_device = matches!(grant, Grant::DeviceCode(_));
    let authorize_url = consent_url(by_code, &provider.authorize_url, "authorize_url");
    let device_url = consent_url(by_device, &provider.device_url, "device_url");
    let bare = |scopes: Vec<Scope>| Some(scopes.into_iter().map(|Scope(scope)| scope).collect());
    let scope: Option<Vec<String>> = keys.scope.take().convert(bare)?;
    check_scope(field, &grant, &provider, scope.as_deref())?;
    let credential_expires = match grant.credential() {
        Some(ClientCredential::Certificate(key)) => key.expires,
        _ => expires?.map(|Day(end)| end),
    };
    keys.tenant = Key::Given(tenant);
    keys.client_id = Key::Given(client_id?);
    Some(Registration {
        name: name.to_owned(),
        authorize_url: authorize_url?,
        device_url: device_url?,
        credential_expires,
        ..keys.finish(provider, grant, scope, token_url?)?
    })
}

/// Returns the token endpoint with `{tenant}` in it; for workload identities that of their own
/// cloud.
fn token_template(field: &Field, provider: &Provider, grant: &Grant) -> String {
    if !is_federated(grant) || !provider.token_url.starts_with(ENTRA) {
        return provider.token_url.clone();
    }
    // Set by the Kubernetes webhook: the cloud of the workload.
    let host = workload_identity(field, "AZURE_AUTHORITY_HOST");
    let host = host.filter(|host| host.starts_with("https://"));
    let host = host.as_deref().unwrap_or(ENTRA).trim_end_matches('/');
    provider.token_url.replacen(ENTRA, host, 1)
}

fn client_id(field: &Field, grant: Option<&Grant>, keys: &RegistrationKeys) -> Option<String> {
    let given = keys.client_id.clone();
    match (grant, given) {
        // The error of the grant was reported.
        (None, _) | (_, Key::Broken) => None,
        // A managed identity's id belongs to its grant; the other grants have none.
        (Some(Grant::ManagedIdentity { .. }), _)
        | (Some(Grant::ServiceAccount(_) | Grant::Command(_)), Key::Absent) => Some(String::new()),
        (Some(Grant::ServiceAccount(_) | Grant::Command(_)), Key::Given(_)) => field
            .at("client_id")
            .reject("has no effect with this grant; remove it"),
        (Some(_), Key::Given(id)) => Some(id),
        (Some(grant), Key::Absent) => {
            let id = workload_identity(field, "AZURE_CLIENT_ID");
            let id = id.filter(|_| is_federated(grant));
            if id.is_none() {
                field.missing("client_id", "the application (client) id");
            }
            id
        }
    }
}

/// Returns the value of `{tenant}`; empty if the provider's URLs do not contain it.
fn tenant(field: &Field, provider: &Provider, grant: &Grant, key: Key<String>) -> Option<String> {
    let Some(tenant) = key.optional()? else {
        let needed = provider.token_url.contains("{tenant}")
            && !matches!(grant, Grant::ManagedIdentity { .. } | Grant::Command(_));
        return match workload_identity(field, "AZURE_TENANT_ID") {
            _ if !needed => Some(String::new()),
            Some(tenant) if is_federated(grant) => Some(tenant),
            _ => field.reject(
                "tenant is missing; write the tenant's domain or id, as in contoso.onmicrosoft.com",
            ),
        };
    };
    let field = field.at("tenant");
    if !is_name(&tenant) {
        return field.reject("must be the tenant's domain or id");
    }
    let own = !matches!(grant, Grant::AuthorizationCode(_) | Grant::DeviceCode(_));
    // AADSTS50194 and 9001023; `organizations` works for passwords.
    let password = matches!(grant, Grant::Password(_));
    let shared = ["common", "consumers"].contains(&tenant.as_str())
        || (tenant == "organizations" && !password);
    if own && shared && provider.token_url.contains("{tenant}") {
        return field.reject(format_args!(
            "the grant {} requires the tenant's own domain or id, as in contoso.onmicrosoft.com",
            grant.name()
        ));
    }
    Some(tenant)
}

/// Checks that there is a scope, or a default, and warns about those that identity providers refuse.
fn check_scope(
    field: &Field,
    grant: &Grant,
    provider: &Provider,
    scopes: Option<&[String]>,
) -> Option<()> {
    let Some(scopes) = scopes else {
        let default = grant.default_scope(&provider.preset.scopes, &Protocol::ALL);
        // A command chooses the scope itself.
        if matches!(grant, Grant::Command(_)) || !default.is_empty() {
            return Some(());
        }
        return field.reject(format_args!(
            "scope is missing, and the provider {} has none for the grant {}; write what the identity provider calls access to the mail service",
            provider.name,
            grant.name()
        ));
    };
    let field = field.at("scope");
    let acts_for_a_person = |scope: &&String| {
        let scope = scope.to_lowercase();
        DELEGATED.iter().any(|word| scope.ends_with(word))
    };
    if matches!(grant, Grant::ClientCredentials(_))
        && let Some(scope) = scopes.iter().find(acts_for_a_person)
    {
        field.warn(format_args!(
            "{scope} is a permission that acts for a person, and the grant client_credentials has none: leave scope out, or write {}",
            provider.preset.scopes.application.first().map_or("RESOURCE/.default", String::as_str)
        ));
    }
    let at_google = provider.token_url.contains("googleapis.com");
    let almost = |scope: &&String| {
        let bare = |text: &str| text.trim_end_matches('/').to_lowercase();
        scope.as_str() != GOOGLE_MAIL && bare(scope) == bare(GOOGLE_MAIL)
    };
    if at_google && scopes.iter().any(|scope| almost(&scope)) {
        field.warn(format_args!(
            "Google compares scopes to the letter: write {GOOGLE_MAIL}, with its trailing slash"
        ));
    }
    Some(())
}

fn is_federated(grant: &Grant) -> bool {
    matches!(grant.credential(), Some(ClientCredential::Federated(_)))
}
