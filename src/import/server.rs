//! Converts `[IMAP-1993]` and similar sections to listeners.

use super::upstream::Upstream;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Map, Value, json};

use super::draft::{Draft, Section, is_true};

const KEYS: [&str; 9] = [
    "server_address",
    "server_port",
    "server_starttls",
    "starttls",
    "local_address",
    "local_starttls",
    "local_certificate_path",
    "local_key_path",
    "plugins",
];

/// Whether a section describes a server: `IMAP-1993`, `POP-1995`, `SMTP-1587`.
pub(super) fn is_server(name: &str) -> bool {
    protocol_and_port(name).is_some()
}

fn protocol_and_port(name: &str) -> Option<(&'static str, u16)> {
    let (protocol, port) = name.split_once('-')?;
    let protocol = match protocol.to_lowercase().as_str() {
        "imap" => "imap",
        "pop" => "pop3",
        "smtp" => "smtp",
        _ => return None,
    };
    Some((protocol, port.trim().parse().ok()?))
}

pub(super) fn add(draft: &mut Draft, name: &str, section: &Section) {
    let Some((protocol, port)) = protocol_and_port(name) else {
        return;
    };
    let name = name.to_uppercase();
    let value = |key: &str| section.get(key).filter(|value| !value.is_empty());
    let flag = |key: &str| value(key).is_some_and(|value| is_true(value));
    for key in section.keys().filter(|key| !KEYS.contains(&key.as_str())) {
        draft.note(format!("[{name}] {key} has no counterpart"));
    }
    if value("plugins").is_some() {
        draft.note(format!(
            "[{name}] plugins have no counterpart: authrelay changes nothing after login"
        ));
    }
    let mut listener = Map::new();
    listener.insert("protocol".into(), protocol.into());
    let encrypted = value("local_certificate_path").and(value("local_key_path"));
    listener.insert(
        "bind".into(),
        bind(
            draft,
            &name,
            value("local_address"),
            port,
            encrypted.is_some(),
        )
        .into(),
    );
    if let (Some(certificate), Some(key)) =
        (value("local_certificate_path"), value("local_key_path"))
    {
        let mode = if flag("local_starttls") {
            "starttls"
        } else {
            "implicit"
        };
        listener.insert(
            "tls".into(),
            json!({"mode": mode, "certificate": certificate, "key": key}),
        );
    }
    let Some(host) = value("server_address") else {
        draft.note(format!("[{name}] has no server_address"));
        draft.listeners.push(listener.into());
        return;
    };
    draft.upstreams.entry(protocol).or_default().push(Upstream {
        section: name.clone(),
        host: host.clone(),
        port: value("server_port").and_then(|port| port.parse().ok()),
        starttls: flag("server_starttls") || flag("starttls"),
    });
    listener.insert("upstream".into(), host.clone().into());
    draft.listeners.push(Value::from(listener));
}

/// Chooses the address of a listener. The other proxy listens on all interfaces by default; here
/// this requires TLS.
fn bind(
    draft: &mut Draft,
    name: &str,
    address: Option<&String>,
    port: u16,
    encrypted: bool,
) -> String {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ip = match address.map(String::as_str) {
        Some("localhost") => loopback,
        Some(text) => match text.trim_matches(['[', ']']).parse() {
            Ok(ip) => ip,
            Err(_) => {
                draft.note(format!(
                    "[{name}] local_address is a name; the listener is put on 127.0.0.1"
                ));
                loopback
            }
        },
        None if encrypted => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        None => loopback,
    };
    if (!ip.is_loopback() || address.is_none()) && !encrypted {
        draft.note(format!(
            "[{name}] listens on every interface there; the listener is put on 127.0.0.1. For a network set tls, or allow and allow_cleartext"
        ));
        return format!("127.0.0.1:{port}");
    }
    match ip {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}
