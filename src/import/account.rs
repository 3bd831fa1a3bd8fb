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
    registration.extend(client(draft, name, keys, grant, secret_is_password));
    let scope = scope(draft, name, keys, grant, &provider);
    registration.extend(scope.map(|scope| ("scope".to_owned(), scope)));
    if let (Some(uri), "authorization_code") = (keys.get("redirect_uri"), grant) {
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

/// Client authentication of a registration: a service account's key, or an id and a credential.
fn client(
    draft: &mut Draft,
    name: &str,
    keys: &Section,
    grant: &str,
    secret_is_password: bool,
) -> Map<String, Value> {
    if grant == "service_account" {
        let key = match (keys.get("client_id"), keys.get("client_secret")) {
            (Some("file"), Some(path)) => json!({"file": path}),
            (_, Some(json)) => json.into(),
            (_, None) => json!({"file": "service-account.json"}),
        };
        return section(json!({"key": key}));
    }
    let client_id = keys.get("client_id").unwrap_or_else(|| {
        draft.note(format!(
            "[{name}] has no client_id: write it in place of the zeros"
        ));
        NO_CLIENT_ID
    });
    let files = keys
        .get("jwt_certificate_path")
        .zip(keys.get("jwt_key_path"));
    if let Some((certificate, key)) = files {
        let certificate = json!({"certificate": certificate, "key": key});
        return section(json!({"client_id": client_id, "certificate": certificate}));
    }
    let secret_file = json!({"file": format!("secrets/{name}")});
    let (secret, note) = if let Some(secret) = keys.get("client_secret") {
        (secret.into(), None)
    } else if keys.get("client_secret_encrypted").is_some() {
        (
            secret_file,
            Some(
                "client_secret_encrypted is sealed with the client's password: write the secret itself where client_secret says",
            ),
        )
    } else if grant != "client_credentials" {
        (Value::Null, None)
    } else if secret_is_password {
        (
            json!({"client": "password"}),
            Some(
                "the password of the application is the client secret, as there (client_secret: {client: password})",
            ),
        )
    } else {
        (
            secret_file,
            Some("has no client secret: write it into the file that client_secret names"),
        )
    };
    if let Some(note) = note {
        draft.note(format!("[{name}] {note}"));
    }
    section(json!({"client_id": client_id, "client_secret": secret}))
}

/// Finds the preset and tenant of a token endpoint, or creates a provider for it.
pub(super) fn provider(
    draft: &mut Draft,
    name: &str,
    token_url: &Url,
    keys: &Section,
) -> (String, Option<String>) {
    let host = token_url.host_str().unwrap_or_default();
    let mut segments = token_url.path().trim_start_matches('/').split('/');
    let tenant = segments.next().filter(|tenant| !tenant.is_empty());
    let preset = match host {
        "login.microsoftonline.com" if tenant == Some("consumers") => "outlook",
        "login.microsoftonline.com" => "microsoft365",
        "login.microsoftonline.us" => {
            let mut upstreams = draft.upstreams.values().flatten();
            match upstreams.any(|upstream| upstream.host.starts_with("outlook-dod")) {
                true => "microsoft365-dod",
                false => "microsoft365-us",
            }
        }
        "login.partner.microsoftonline.cn" | "login.chinacloudapi.cn" => "microsoft365-china",
        "oauth2.googleapis.com" | "accounts.google.com" | "www.googleapis.com" => "google",
        "api.login.yahoo.com" => "yahoo",
        "api.login.aol.com" => "aol",
        "api.fastmail.com" => "fastmail",
        _ => return (super::own_provider::find(draft, name, host, keys), None),
    };
    let is_entra = preset.starts_with("microsoft365");
    if is_entra && segments.nth(1) != Some("v2.0") {
        draft.note(format!(
            "[{name}] uses Entra's v1 endpoint; the preset {preset} asks v2.0. If only v1 works for you, override the provider's token_url"
        ));
    }
    (
        preset.to_owned(),
        tenant.filter(|_| is_entra).map(str::to_owned),
    )
}

/// Scope of a registration; `None` if the preset has the same.
fn scope(
    draft: &mut Draft,
    name: &str,
    keys: &Section,
    grant: &str,
    provider: &str,
) -> Option<Value> {
    if let Some(resource) = keys.get("oauth2_resource") {
        draft.note(format!(
            "[{name}] oauth2_resource is v1's word: {resource}/.default is asked for instead"
        ));
        return Some(json!([format!("{resource}/.default")]));
    }
    let Some(scope) = keys.get("oauth2_scope") else {
        return missing_scope(draft, name, provider);
    };
    let scopes: Vec<_> = scope.split_whitespace().collect();
    let is_application = scopes.iter().all(|scope| scope.ends_with("/.default"));
    if grant == "client_credentials" && provider.starts_with("microsoft365") && !is_application {
        draft.note(format!(
            "[{name}] oauth2_scope {} is what a person delegates, which an application cannot ask for by client_credentials: the provider's default scope is asked for instead",
            scopes.join(" ")
        ));
        return None;
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
    (!usual && !scopes.is_empty()).then(|| json!(scopes))
}

/// Scope to be replaced, for a registration without one whose provider has no default.
pub(super) fn missing_scope(draft: &mut Draft, name: &str, provider: &str) -> Option<Value> {
    draft.providers.get(provider)?.get("token_url")?;
    draft.note(format!(
        "[{name}] has no oauth2_scope: write what {provider} calls access to mail in place of the scope mail"
    ));
    Some(json!(["mail"]))
}
