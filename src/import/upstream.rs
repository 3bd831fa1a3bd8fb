//! Mail services named in other proxies' files, and their presets.

use super::section::section;
use crate::config::{Provider, UpstreamTls};
use crate::wire::Protocol;
use serde_json::{Value, json};

/// Upstream of a server section.
#[derive(Debug, Clone)]
pub(super) struct Upstream {
    /// Name of the server's section, for notes.
    pub(super) section: String,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) starttls: bool,
}

impl Upstream {
    /// Whether host, port and TLS are the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.host.eq_ignore_ascii_case(&other.host)
            && other.port.is_none_or(|port| self.port == Some(port))
            && self.starttls == other.starttls
    }

    /// Describes the upstream for notes.
    pub(super) fn described(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port} ({})", self.host, self.tls())
    }

    fn tls(&self) -> &'static str {
        match self.starttls {
            true => "starttls",
            false => "implicit",
        }
    }

    /// Converts the upstream to a provider's endpoint.
    pub(super) fn endpoint(&self) -> Value {
        section(json!({"host": self.host, "port": self.port, "tls": self.tls()})).into()
    }
}

/// Finds a preset's upstream for a protocol.
pub(super) fn endpoint(preset: &Provider, protocol: &str) -> Option<Upstream> {
    let endpoint = preset.endpoint(Protocol::from_name(protocol)?)?;
    Some(Upstream {
        section: String::new(),
        host: endpoint.host.clone(),
        port: Some(endpoint.port),
        starttls: endpoint.tls == UpstreamTls::StartTls,
    })
}

/// Domains of mail services, and their presets. The first that has a host decides.
const DOMAINS: [(&str, &str); 10] = [
    ("office365.us", "microsoft365-us"),
    ("outlook.cn", "microsoft365-china"),
    ("smtp-mail.outlook.com", "outlook"),
    ("office365.com", "microsoft365"),
    ("outlook.com", "microsoft365"),
    ("gmail.com", "google"),
    ("yahoo.com", "yahoo"),
    ("yahoo.co.uk", "yahoo"),
    ("aol.com", "aol"),
    ("fastmail.com", "fastmail"),
];

/// Finds the preset of a mail service's host.
pub(super) fn preset_of_host(host: &str) -> Option<&'static str> {
    let host = host.to_lowercase();
    let of = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    let (_, preset) = DOMAINS.iter().find(|(domain, _)| of(domain))?;
    match *preset {
        "microsoft365-us" if host.starts_with("outlook-dod") => Some("microsoft365-dod"),
        preset => Some(preset),
    }
}
