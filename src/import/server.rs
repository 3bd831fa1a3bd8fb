//! Converts `[IMAP-1993]` and similar sections to listeners.

use super::upstream::Upstream;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::json;

use super::draft::Draft;
use super::section::{Section, section};

pub(super) const KEYS: [&str; 9] = [
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

pub(super) fn add(draft: &mut Draft, name: &str, keys: &Section) {
    let Some((protocol, port)) = protocol_and_port(name) else {
        return;
    };
    let name = name.to_uppercase();
    for key in keys.keys().filter(|key| !KEYS.contains(key)) {
        draft.note(format!("[{name}] {key} has no counterpart"));
    }
    if keys.get("plugins").is_some() {
        draft.note(format!(
            "[{name}] plugins have no counterpart: authrelay changes nothing after login"
        ));
    }
    let tls = keys
        .get("local_certificate_path")
        .zip(keys.get("local_key_path"))
        .map(|(certificate, key)| {
            let mode = match keys.is_set("local_starttls") {
                true => "starttls",
                false => "implicit",
            };
            json!({"mode": mode, "certificate": certificate, "key": key})
        });
    let bind = bind(draft, &name, keys.get("local_address"), port, tls.is_some());
    let host = keys.get("server_address");
    match host {
        Some(host) => draft.upstreams.entry(protocol).or_default().push(Upstream {
            section: name.clone(),
            host: host.to_owned(),
            port: keys.get("server_port").and_then(|port| port.parse().ok()),
            starttls: keys.is_set("server_starttls") || keys.is_set("starttls"),
        }),
        None => draft.note(format!("[{name}] has no server_address")),
    }
    let listener = json!({"protocol": protocol, "bind": bind, "tls": tls, "upstream": host});
    draft.listeners.push(section(listener).into());
}

/// Chooses the address of a listener. The other proxy listens on all interfaces by default; here
/// this requires TLS.
fn bind(
    draft: &mut Draft,
    name: &str,
    address: Option<&str>,
    port: u16,
    encrypted: bool,
) -> String {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let ip = match address {
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
            "[{name}] listens on {} there; the listener is put on 127.0.0.1. For a network set tls, or allow and allow_cleartext",
            address.unwrap_or("every interface")
        ));
        return format!("127.0.0.1:{port}");
    }
    SocketAddr::new(ip, port).to_string()
}
