//! Converts `davmail.properties`: DavMail's listeners, its proxy, and the users whose tokens it
//! keeps.

use serde_json::json;

use super::account::NO_CLIENT_ID;
use super::draft::{Draft, Imported};
use super::properties::Properties;
use super::section::{Section, password_file, section};

/// Client id of DavMail's own application, which has permissions for EWS and Graph, but not for
/// IMAP, POP and SMTP.
const DAVMAILS_OWN: &str = "facd6cff-a294-4415-b59f-c5b01937d7bd";

/// Protocols and the keys of their ports.
const PROTOCOLS: [(&str, &str); 3] = [
    ("imap", "davmail.imapport"),
    ("pop3", "davmail.popport"),
    ("smtp", "davmail.smtpport"),
];

pub(super) fn is_davmail(text: &str) -> bool {
    text.lines()
        .any(|line| line.trim_start().to_lowercase().starts_with("davmail."))
}

/// Decodes a `davmail.properties` in ISO 8859-1, which Java programs write; `None` if the file is
/// another.
pub fn decode(octets: &[u8]) -> Option<String> {
    let text: String = octets.iter().copied().map(char::from).collect();
    is_davmail(&text).then_some(text)
}

/// Keys that are converted, or that name what those need, in lower case.
const KEYS: [&str; 21] = [
    "davmail.mode",
    "davmail.url",
    "davmail.tld",
    "davmail.server",
    "davmail.allowremote",
    "davmail.bindaddress",
    "davmail.imapport",
    "davmail.popport",
    "davmail.smtpport",
    "davmail.caldavport",
    "davmail.ldapport",
    "davmail.enableproxy",
    "davmail.proxyhost",
    "davmail.proxyport",
    "davmail.proxyuser",
    "davmail.proxypassword",
    "davmail.oauth.clientid",
    "davmail.oauth.tenantid",
    "davmail.oauth.redirecturi",
    "davmail.oauth.persisttoken",
    "davmail.ssl.keystorefile",
];

/// Adds one note for all keys without counterpart that are set.
fn name_the_rest(draft: &mut Draft, properties: &Properties) {
    let rest: Vec<&str> = properties
        .iter()
        .filter(|(key, value)| {
            let key = key.to_lowercase();
            let of_keystore = [
                "davmail.ssl.keystore",
                "davmail.ssl.key",
                "davmail.ssl.nosecure",
            ];
            let is_known = KEYS.contains(&key.as_str())
                || user(&key).is_some()
                || of_keystore.iter().any(|known| key.starts_with(known));
            !is_known && !["", "false"].contains(&value.to_lowercase().as_str())
        })
        .map(|(key, _)| key.as_str())
        .collect();
    if !rest.is_empty() {
        draft.note(format!("{}: without a counterpart", rest.join(", ")));
    }
}

pub(super) fn import(text: &str) -> Result<Imported, String> {
    let mut draft = Draft::from("a davmail.properties");
    let properties = super::properties::parse(text);
    let lower = |(key, value): (&String, &String)| (key.to_lowercase(), value.clone());
    let keys = Section(properties.iter().map(lower).collect());
    listeners(&mut draft, &keys);
    accounts(&mut draft, &keys);
    for (key, port) in [("caldavPort", "calendars"), ("ldapPort", "address books")] {
        let value = keys.get(&format!("davmail.{}", key.to_lowercase()));
        if value.is_some_and(|value| value != "0") {
            draft.note(format!(
                "davmail.{key}: {port} have no counterpart, authrelay relays mail"
            ));
        }
    }
    name_the_rest(&mut draft, &properties);
    draft.finish()
}

fn listeners(draft: &mut Draft, keys: &Section) {
    let keystore = keys.get("davmail.ssl.keystorefile");
    let remote = keys.is_set("davmail.allowremote");
    if let Some(keystore) = keystore {
        draft.note(format!(
            "davmail.ssl.keystoreFile {keystore}: write its certificate and key as PEM, for a PKCS12 store: openssl pkcs12 -in {keystore} -nodes -nokeys -out certs/server.pem; openssl pkcs12 -in {keystore} -nodes -nocerts -out certs/server.key"
        ));
    }
    let bind = keys.get("davmail.bindaddress");
    let address = match bind {
        Some("localhost") => Some(std::net::Ipv4Addr::LOCALHOST.into()),
        text => text.and_then(|text| text.parse::<std::net::IpAddr>().ok()),
    };
    if let Some(text) = bind.filter(|_| address.is_none()) {
        draft.note(format!(
            "davmail.bindAddress {text} is a name: write its address into the listeners"
        ));
    }
    for (protocol, key) in PROTOCOLS {
        let Some(text) = keys.get(key).filter(|port| *port != "0") else {
            continue;
        };
        let Some(port) = text.parse::<u16>().ok().filter(|port| *port > 0) else {
            draft.note(format!(
                "{key} {text} is not a port: there is no {protocol} listener"
            ));
            continue;
        };
        let secure = !keys.is_set(&format!(
            "davmail.ssl.nosecure{}",
            protocol.trim_end_matches('3')
        ));
        let encrypted = keystore.is_some() && secure;
        let address = match address {
            Some(address) if encrypted || address.is_loopback() => address,
            None if encrypted && remote => std::net::Ipv6Addr::UNSPECIFIED.into(),
            _ => std::net::Ipv4Addr::LOCALHOST.into(),
        };
        if remote && address.is_loopback() {
            draft.note(format!(
                "davmail.allowRemote: the {protocol} listener is put on {address}, since passwords would cross the network in clear. For a network set tls, or allow and allow_cleartext"
            ));
        }
        let bind = std::net::SocketAddr::new(address, port);
        let tls = json!({"mode": "implicit", "certificate": "certs/server.pem", "key": "certs/server.key"});
        let listener = section(json!({
            "protocol": protocol,
            "bind": bind.to_string(),
            "tls": encrypted.then_some(tls),
        }));
        draft.listeners.push(listener.into());
    }
}

/// Chooses the preset for DavMail's Exchange server.
fn provider(draft: &mut Draft, keys: &Section) -> &'static str {
    let url = keys.get("davmail.url").unwrap_or_default();
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    let tld = keys.get("davmail.tld").unwrap_or_default();
    let host = host.unwrap_or_default();
    match (host.as_str(), tld) {
        (_, "us") => "microsoft365-us",
        (_, "cn") => "microsoft365-china",
        ("", _) => "microsoft365",
        (host, _) => super::upstream::preset_of_host(host).unwrap_or_else(|| {
            draft.note(format!(
                "davmail.url {url}: an Exchange Server of one's own, over EWS. authrelay speaks IMAP, POP3 and SMTP to mail services that take OAuth 2.0; this file leads to Microsoft 365 instead"
            ));
            "microsoft365"
        }),
    }
}

/// Chooses the grant for DavMail's mode.
fn grant(draft: &mut Draft, keys: &Section) -> &'static str {
    let mode = keys.get("davmail.mode").unwrap_or("o365interactive");
    let mode = mode.to_lowercase();
    match mode.as_str() {
        "o365devicecode" => "device_code",
        "o365" | "o365ropc" => "password",
        "ews" | "webdav" | "caldav" => {
            draft.note(format!(
                "davmail.mode {mode} presents the user's password to Exchange itself; here the mailbox's owner consents once (authorization_code)"
            ));
            "authorization_code"
        }
        _ => "authorization_code",
    }
}

fn accounts(draft: &mut Draft, keys: &Section) {
    let grant = grant(draft, keys);
    let provider = provider(draft, keys);
    let client_id = match keys.get("davmail.oauth.clientid") {
        Some(id) if id != DAVMAILS_OWN => id.to_owned(),
        _ => {
            draft.note("davmail.oauth.clientId is DavMail's own application, which has permissions for EWS only: register one of your own (`authrelay entra LOGIN` says how) and write its id in place of the zeros");
            NO_CLIENT_ID.to_owned()
        }
    };
    let tenant = keys.get("davmail.oauth.tenantid").unwrap_or("common");
    let mut users: Vec<_> = keys.keys().filter_map(user).collect();
    let named = users.first().cloned().unwrap_or_default();
    let tenant = super::account::own_tenant(draft, &named, grant, tenant.to_owned());
    let registration = json!({
        "provider": provider,
        "tenant": tenant,
        "client_id": client_id,
        "grant": grant,
    });
    draft.registrations.insert("davmail".into(), registration);
    if keys.is_set("davmail.enableproxy") {
        proxy(draft, keys, provider);
    }
    if let Some(uri) = keys.get("davmail.oauth.redirecturi") {
        draft.note(format!("davmail.oauth.redirectUri {uri}: the redirect URI is now admin.public_url followed by /oauth/callback; register that with the application"));
    }
    if users.is_empty() {
        draft.note("DavMail lets everyone of the tenant in and names no one: write an account for each person in place of user@example.com");
        users.push("user@example.com".into());
    }
    draft.consents = grant != "password";
    for user in users {
        draft.passwords |= draft.consents;
        let password = draft.consents.then(|| password_file(&user));
        let account = json!({"login": user, "registration": "davmail", "password": password});
        draft.accounts.push(section(account).into());
    }
}

fn proxy(draft: &mut Draft, keys: &Section, provider: &str) {
    let Some(host) = keys.get("davmail.proxyhost") else {
        draft.note("davmail.enableProxy without davmail.proxyHost: set the provider's egress");
        return;
    };
    let port = keys.get("davmail.proxyport").unwrap_or("8080");
    let password = keys.get("davmail.proxypassword");
    let user = keys.get("davmail.proxyuser").filter(|_| password.is_some());
    if user.is_some() {
        draft.note("davmail.proxyPassword: write it into secrets/egress");
    }
    let egress = section(json!({
        "url": format!("http://{host}:{port}"),
        "username": user,
        "password": user.map(|_| json!({"file": "secrets/egress"})),
    }));
    draft.override_provider(provider, json!({"egress": egress}));
}

/// Login of the user whose refresh token a key contains.
fn user(key: &str) -> Option<String> {
    let name = key
        .strip_prefix("davmail.oauth.")?
        .strip_suffix(".refreshtoken")?;
    Some(name.to_owned())
}
