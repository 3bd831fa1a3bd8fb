//! Converts `[user@example.com]` and `[@example.com]` to registrations and accounts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use url::Url;

use super::draft::Draft;
use super::section::{Section, password_file, section};

/// Keys that are converted. All others are reported.
const KEYS: [&str; 13] = [
    "permission_url",
    "token_url",
    "oauth2_scope",
    "oauth2_resource",
    "oauth2_flow",
    "redirect_uri",
    "redirect_listen_address",
    "client_id",
    "client_secret",
    "client_secret_encrypted",
    "use_pkce",
    "jwt_certificate_path",
    "jwt_key_path",
];

/// Stands in a registration for the client id that the operator still has to write.
pub(super) const NO_CLIENT_ID: &str = "00000000-0000-0000-0000-000000000000";

/// Keys that the other proxy writes itself.
const STORED: [&str; 6] = [
    "token_salt",
    "token_iterations",
    "access_token",
    "access_token_expiry",
    "refresh_token",
    "last_activity",
];

/// Completes an account's section from the catch-all sections: `[@domain]`, then `[@]`.
fn inherited(sections: &BTreeMap<String, Section>, name: &str, catch_all: bool) -> Section {
    let mut section = sections.get(name).cloned().unwrap_or_default();
    section.0.retain(|_, value| !value.is_empty());
    if !catch_all {
        return section;
    }
    let domain = name
        .rsplit_once('@')
        .map(|(_, domain)| format!("@{domain}"));
    for parent in domain.iter().map(String::as_str).chain(["@"]) {
        for (key, value) in sections.get(parent).iter().flat_map(|parent| &parent.0) {
            if !value.is_empty() && !STORED.contains(&key.as_str()) {
                let own = section.0.entry(key.clone());
                own.or_insert_with(|| value.clone());
            }
        }
    }
    section
}

pub(super) fn add(
    draft: &mut Draft,
    name: &str,
    sections: &BTreeMap<String, Section>,
    global: &Section,
) {
    let catch_all = global.is_set("allow_catch_all_accounts");
    if name.starts_with('@') && !catch_all {
        draft.note(format!(
            "[{name}] is not in use there (allow_catch_all_accounts); it is left out"
        ));
        return;
    }
    let keys = &inherited(sections, name, catch_all);
    let login = match name.strip_prefix('@') {
        Some("") => "*".to_owned(),
        Some(domain) => format!("*@{domain}"),
        None => name.to_owned(),
    };
    for key in keys.keys() {
        if !KEYS.contains(&key) && !STORED.contains(&key) {
            draft.note(format!("[{name}] {key} has no counterpart"));
        }
    }
    if name.starts_with('@') && keys.get("client_id").is_none() {
        draft.note(format!(
            "[{name}] has no client_id: it only completes other accounts, and is none of its own"
        ));
        return;
    }
    let secret_is_password = global.is_set("use_login_password_as_client_credentials_secret");
    let Some(registration) = registration(draft, name, keys, secret_is_password) else {
        return;
    };
    let registration = named(draft, registration);
    enter(draft, &login, registration);
}

/// Adds an account for the registration, with a password if it needs one.
fn enter(draft: &mut Draft, login: &str, registration: String) {
    let key = |key: &str| draft.registrations.get(&registration)?.get(key);
    let grant = key("grant").cloned().unwrap_or_default();
    // The identity provider checks the password that the client presents.
    let by_provider =
        grant == "password" || key("client_secret").is_some_and(|it| it.get("client").is_some());
    draft.passwords |= !by_provider;
    draft.consents |= matches!(grant.as_str(), Some("authorization_code" | "device_code"));
    let file = match login {
        "*" => "any".to_owned(),
        login => login.replace("*@", "any-at-"),
    };
    let account = section(json!({
        "login": login,
        "registration": registration,
        "password": (!by_provider).then(|| password_file(&file)),
    }));
    draft.accounts.push(account.into());
}

/// Replaces a shared tenant by the domain of the mailbox if the grant requires the mailbox's own
/// tenant.
pub(super) fn own_tenant(draft: &mut Draft, name: &str, grant: &str, tenant: String) -> String {
    let shared = ["common", "organizations", "consumers"].contains(&tenant.as_str());
    if !shared || !["client_credentials", "password"].contains(&grant) {
        return tenant;
    }
    let domain = name.rsplit_once('@').map(|(_, domain)| domain);
    let domain = domain
        .filter(|domain| domain.contains('.'))
        .unwrap_or("example.onmicrosoft.com");
    draft.note(format!(
        "[{name}] uses {grant} with the tenant {tenant}: the tenant {domain} is written in its place; correct it where that is not your tenant's own domain or id"
    ));
    domain.to_owned()
}

/// Adds a registration, and returns its name. Equal registrations are shared.
pub(super) fn named(draft: &mut Draft, registration: Map<String, Value>) -> String {
    let same = draft
        .registrations
        .iter()
        .find(|(_, other)| other.as_object() == Some(&registration));
    if let Some((name, _)) = same {
        return name.clone();
    }
    let provider = registration.get("provider").and_then(Value::as_str);
    let base = provider.unwrap_or("registration").to_owned();
    let taken = |name: &str| draft.registrations.contains_key(name);
    let name = match taken(&base) {
        false => base,
        true => (2..)
            .map(|number| format!("{base}-{number}"))
            .find(|name| !taken(name))
            .unwrap_or(base),
    };
    draft
        .registrations
        .insert(name.clone(), registration.into());
    name
}

fn registration(
    draft: &mut Draft,
    name: &str,
    keys: &Section,
    secret_is_password: bool,
) -> Option<Map<String, Value>> {
    let Some(token_url) = keys.get("token_url").and_then(|url| Url::parse(url).ok()) else {
        draft.note(format!(
            "[{name}] has no token_url that could be read; it is left out"
        ));
        return None;
    };
    let grant = grant(draft, name, keys)?;
    let (provider, tenant) = provider(draft, name, &token_url, keys);
    let tenant = tenant.map(|tenant| own_tenant(draft, name, grant, tenant));
    let mut registration = section(json!({"provider": provider, "tenant": tenant, "grant": grant}));
    client(draft, name, keys, secret_is_password, &mut registration);
    scope(draft, name, keys, grant, &provider, &mut registration);
    if let Some(uri) = keys
        .get("redirect_uri")
        .filter(|_| grant == "authorization_code")
    {
        let uri = uri.trim_end_matches('/');
        draft.note(format!(
            "[{name}] redirect_uri {uri}: the redirect URI is now admin.public_url followed by /oauth/callback; register that with the application (http://localhost:8025/oauth/callback unless you change it)"
        ));
    }
    if keys.get("redirect_listen_address").is_some() {
        draft.note(format!(
            "[{name}] redirect_listen_address is admin.bind here"
        ));
    }
    Some(registration)
}

/// Chooses the grant in the same way as email-oauth2-proxy.
fn grant(draft: &mut Draft, name: &str, keys: &Section) -> Option<&'static str> {
    let flow = keys.get("oauth2_flow");
    // As in email-oauth2-proxy, a permission_url takes precedence over the flow's name.
    Some(match (flow, keys.get("permission_url")) {
        (Some("device"), _) => "device_code",
        (Some("service_account"), _) => "service_account",
        (None | Some("authorization_code"), Some(_)) => "authorization_code",
        (Some(flow @ ("client_credentials" | "password")), Some(_)) => {
            draft.note(format!(
                "[{name}] has a permission_url beside oauth2_flow {flow}: as there, the mailbox's owner consents (authorization_code)"
            ));
            "authorization_code"
        }
        (None | Some("client_credentials"), None) => "client_credentials",
        (Some("password"), None) => "password",
        (Some("authorization_code"), None) => "authorization_code",
        (Some(other), _) => {
            draft.note(format!(
                "[{name}] oauth2_flow {other} has no counterpart; the account is left out"
            ));
            return None;
        }
    })
}

fn is_grant(registration: &Map<String, Value>, name: &str) -> bool {
    registration.get("grant").is_some_and(|grant| grant == name)
}

/// Writes the client authentication: a service account's key, or an id and a credential.
fn client(
    draft: &mut Draft,
    name: &str,
    keys: &Section,
    secret_is_password: bool,
    registration: &mut Map<String, Value>,
) {
    if is_grant(registration, "service_account") {
        let key = match (keys.get("client_id"), keys.get("client_secret")) {
            (Some("file"), Some(path)) => json!({"file": path}),
            (_, Some(json)) => json.into(),
            (_, None) => json!({"file": "service-account.json"}),
        };
        registration.insert("key".into(), key);
    } else {
        match keys.get("client_id") {
            Some(id) => {
                registration.insert("client_id".into(), id.into());
            }
            None => {
                draft.note(format!(
                    "[{name}] has no client_id: write it in place of the zeros"
                ));
                registration.insert("client_id".into(), NO_CLIENT_ID.into());
            }
        }
        credential(draft, name, keys, registration);
        let is_app_only = is_grant(registration, "client_credentials");
        let has_credential =
            registration.contains_key("client_secret") || registration.contains_key("certificate");
        if is_app_only && !has_credential && secret_is_password {
            draft.note(format!(
                "[{name}] the password of the application is the client secret, as there (client_secret: {{client: password}})"
            ));
            registration.insert("client_secret".into(), json!({"client": "password"}));
        } else if is_app_only && !has_credential {
            draft.note(format!(
                "[{name}] has no client secret: write it into the file that client_secret names"
            ));
            registration.insert("client_secret".into(), secret_file(name));
        }
    }
}

fn secret_file(name: &str) -> Value {
    json!({"file": format!("secrets/{name}")})
}

fn credential(
    draft: &mut Draft,
    name: &str,
    keys: &Section,
    registration: &mut Map<String, Value>,
) {
    if let (Some(certificate), Some(key)) =
        (keys.get("jwt_certificate_path"), keys.get("jwt_key_path"))
    {
        registration.insert(
            "certificate".into(),
            json!({"certificate": certificate, "key": key}),
        );
    } else if let Some(secret) = keys.get("client_secret") {
        registration.insert("client_secret".into(), secret.into());
    } else if keys.get("client_secret_encrypted").is_some() {
        draft.note(format!("[{name}] client_secret_encrypted is sealed with the client's password: write the secret itself where client_secret says"));
        registration.insert("client_secret".into(), secret_file(name));
    }
}

/// Finds the preset and tenant of a token endpoint, or creates a provider for it.
pub(super) fn provider(
    draft: &mut Draft,
    name: &str,
    token_url: &Url,
    keys: &Section,
) -> (String, Option<String>) {
    let host = token_url.host_str().unwrap_or_default();
    let segments: Vec<_> = token_url
        .path()
        .trim_start_matches('/')
        .split('/')
        .collect();
    let tenant = segments.first().filter(|tenant| !tenant.is_empty());
    let entra = |preset: &str| {
        let v1 = segments.get(2) != Some(&"v2.0");
        (
            preset.to_owned(),
            tenant.map(|tenant| (*tenant).to_owned()),
            v1,
        )
    };
    let (preset, tenant, v1) = match host {
        "login.microsoftonline.com" if tenant == Some(&"consumers") => {
            return ("outlook".into(), None);
        }
        "login.microsoftonline.com" => entra("microsoft365"),
        "login.microsoftonline.us" => {
            let dod = draft
                .upstreams
                .values()
                .flatten()
                .any(|upstream| upstream.host.starts_with("outlook-dod"));
            entra(if dod {
                "microsoft365-dod"
            } else {
                "microsoft365-us"
            })
        }
        "login.partner.microsoftonline.cn" | "login.chinacloudapi.cn" => {
            entra("microsoft365-china")
        }
        "oauth2.googleapis.com" | "accounts.google.com" | "www.googleapis.com" => {
            return ("google".into(), None);
        }
        "api.login.yahoo.com" => return ("yahoo".into(), None),
        "api.login.aol.com" => return ("aol".into(), None),
        "api.fastmail.com" => return ("fastmail".into(), None),
        _ => return (super::own_provider::find(draft, name, host, keys), None),
    };
    if v1 {
        draft.note(format!(
            "[{name}] uses Entra's v1 endpoint; the preset {preset} asks v2.0. If only v1 works for you, override the provider's token_url"
        ));
    }
    (preset, tenant)
}

/// Writes the scope, unless the preset has the same.
fn scope(
    draft: &mut Draft,
    name: &str,
    keys: &Section,
    grant: &str,
    provider: &str,
    registration: &mut Map<String, Value>,
) {
    if let Some(resource) = keys.get("oauth2_resource") {
        draft.note(format!(
            "[{name}] oauth2_resource is v1's word: {resource}/.default is asked for instead"
        ));
        registration.insert("scope".into(), json!([format!("{resource}/.default")]));
        return;
    }
    let Some(scope) = keys.get("oauth2_scope") else {
        needs_scope(draft, name, provider, registration);
        return;
    };
    let scopes: Vec<_> = scope.split_whitespace().collect();
    let is_application = scopes.iter().all(|scope| scope.ends_with("/.default"));
    if grant == "client_credentials" && provider.starts_with("microsoft365") && !is_application {
        draft.note(format!(
            "[{name}] oauth2_scope {} is what a person delegates, which an application cannot ask for by client_credentials: the provider's default scope is asked for instead",
            scopes.join(" ")
        ));
        return;
    }
    let usual = match (provider, grant) {
        ("microsoft365", "client_credentials") => {
            scopes == ["https://outlook.office365.com/.default"]
        }
        ("microsoft365" | "outlook", _) => {
            scopes.len() == 4
                && scopes.contains(&"offline_access")
                && scopes
                    .iter()
                    .filter(|scope| scope.starts_with("https://outlook.office"))
                    .count()
                    == 3
        }
        ("google", _) => scopes == ["https://mail.google.com/"],
        ("yahoo" | "aol", _) => scopes == ["mail-w"],
        _ => false,
    };
    if !usual && !scopes.is_empty() {
        registration.insert("scope".into(), json!(scopes));
    }
}

/// Writes a scope to be replaced if the provider has no default and the registration has none.
pub(super) fn needs_scope(
    draft: &mut Draft,
    name: &str,
    provider: &str,
    registration: &mut Map<String, Value>,
) {
    let is_own = |provider: &Value| provider.get("token_url").is_some();
    if draft.providers.get(provider).is_some_and(is_own) && !registration.contains_key("scope") {
        draft.note(format!(
            "[{name}] has no oauth2_scope: write what {provider} calls access to mail in place of the scope mail"
        ));
        registration.insert("scope".into(), json!(["mail"]));
    }
}
