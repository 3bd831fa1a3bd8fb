//! Converts `sasl-xoauth2.conf` (JSON) and its token files: each token file becomes an account,
//! whose refresh token is moved.

use serde_json::{Map, Value, json};
use url::Url;

use super::draft::{Draft, Imported, MovedConsent, TokenFile};
use super::section::{Section, password_file, section};

use super::account;
use crate::secret::Secret;

/// Keys of either file that are known; others are reported.
const KEYS: [&str; 14] = [
    "client_id",
    "client_secret",
    "token_endpoint",
    "proxy",
    "ca_bundle_file",
    "scope",
    "user",
    "access_token",
    "refresh_token",
    "expiry",
    "refresh_window",
    "log_to_syslog_on_failure",
    "log_full_trace_on_failure",
    "always_log_to_syslog",
];

/// Default token endpoint of sasl-xoauth2.
const GOOGLE: &str = "https://accounts.google.com/o/oauth2/token";

pub(super) fn import(text: &str, tokens: &[TokenFile]) -> Result<Imported, String> {
    let read = |name: &str, text: &str| {
        super::json::object(text).map_err(|error| format!("{name}: {error}"))
    };
    let common = read("this is not a sasl-xoauth2.conf", text)?;
    if !common.contains_key("client_id") && !common.contains_key("token_endpoint") {
        return Err(
            "this is not a sasl-xoauth2.conf: it has neither client_id nor token_endpoint".into(),
        );
    }
    let mut draft = Draft::from("a sasl-xoauth2.conf");
    name_the_rest(&mut draft, "sasl-xoauth2.conf", &common);
    draft
        .listeners
        .push(json!({"protocol": "smtp", "bind": "127.0.0.1:1587"}));
    draft.note(
        "Postfix: set relayhost = [127.0.0.1]:1587, smtp_sasl_mechanism_filter = plain, smtp_tls_security_level = none for it, and write LOGIN:PASSWORD into sasl_passwd in place of LOGIN:TOKEN_FILE",
    );
    for (file, text) in tokens {
        match read(file, text) {
            Ok(token) => add(&mut draft, file, &common, &token),
            Err(why) => draft.note(format!("{why}; it is left out")),
        }
    }
    if tokens.is_empty() {
        draft.note("there are no token files: give their folder as well (authrelay import FILE --tokens FOLDER), or write the accounts yourself");
        let mut none = Map::new();
        none.insert("user".into(), "user@example.com".into());
        add(&mut draft, "user@example.com", &common, &none);
    }
    draft.finish()
}

fn name_the_rest(draft: &mut Draft, file: &str, keys: &Map<String, Value>) {
    for key in keys.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        draft.note(format!("{file}: {key} has no counterpart"));
    }
}

/// Adds the account of a token file, whose keys override the common ones.
fn add(draft: &mut Draft, file: &str, common: &Map<String, Value>, token: &Map<String, Value>) {
    name_the_rest(draft, file, token);
    let text = |key: &str| {
        let value = token.get(key).or_else(|| common.get(key));
        value
            .and_then(Value::as_str)
            .filter(|value| !value.is_empty())
    };
    let login = login_of(file, token);
    if draft.has_account(&login) {
        draft.note(format!(
            "{file}: another token file is of {login} as well; this one is left out"
        ));
        return;
    }
    let Ok(url) = Url::parse(text("token_endpoint").unwrap_or(GOOGLE)) else {
        draft.note(format!(
            "{file}: token_endpoint is not a URL; it is left out"
        ));
        return;
    };
    let keys = [
        ("token_url".into(), url.to_string()),
        ("oauth2_flow".into(), "authorization_code".into()),
    ];
    let keys = Section(keys.into());
    let (provider, tenant) = account::provider(draft, file, &url, &keys);
    let Some(client_id) = text("client_id") else {
        draft.note(format!("{file}: there is no client_id; it is left out"));
        return;
    };
    let scope = text("scope").map(|scope| scope.split_whitespace().collect::<Value>());
    let registration = section(json!({
        "provider": provider,
        "tenant": tenant,
        "grant": "authorization_code",
        "client_id": client_id,
        "client_secret": text("client_secret"),
        "scope": scope.or_else(|| account::missing_scope(draft, file, &provider)),
    }));
    overrides(draft, &provider, text("proxy"), text("ca_bundle_file"));
    let registration = account::named(draft, registration);
    draft.consents = true;
    draft.passwords = true;
    draft.accounts.push(json!({
        "login": login,
        "registration": registration,
        "protocols": ["smtp"],
        "password": password_file(&login),
    }));
    let refresh_token = token.get("refresh_token").and_then(Value::as_str);
    match refresh_token.filter(|token| !token.is_empty()) {
        Some(refresh_token) => draft.moved.push(MovedConsent {
            login,
            refresh_token: Secret::from(refresh_token),
        }),
        None => draft.note(format!("{file} has no refresh token")),
    }
}

/// Login of a token file: its user, or the file's name.
fn login_of(file: &str, token: &Map<String, Value>) -> String {
    let user = token.get("user").and_then(Value::as_str);
    user.unwrap_or(file).to_lowercase()
}

fn overrides(draft: &mut Draft, provider: &str, proxy: Option<&str>, ca: Option<&str>) {
    let egress = proxy.map(|proxy| match proxy.contains("://") {
        true => json!({"url": proxy}),
        false => json!({"url": format!("http://{proxy}")}),
    });
    draft.override_provider(provider, json!({"egress": egress, "ca": ca}));
}
