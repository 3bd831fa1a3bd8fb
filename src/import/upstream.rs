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
    let protocol = Protocol::ALL
        .into_iter()
        .find(|other| other.name() == protocol)?;
    let endpoint = preset.endpoint(protocol)?;
    Some(Upstream {
        section: String::new(),
        host: endpoint.host.clone(),
        port: Some(endpoint.port),
        starttls: endpoint.tls == UpstreamTls::StartTls,
    })
}

/// Finds the preset of a mail service's host.
pub(super) fn preset_of_host(host: &str) -> Option<&'static str> {
    let host = host.to_lowercase();
    let of = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    if of("office365.us") {
        Some(if host.starts_with("outlook-dod") {
            "microsoft365-dod"
        } else {
            "microsoft365-us"
        })
    } else if of("outlook.cn") {
        Some("microsoft365-china")
    } else if host == "smtp-mail.outlook.com" {
        Some("outlook")
    } else if of("office365.com") || of("outlook.com") {
        Some("microsoft365")
    } else if of("gmail.com") {
        Some("google")
    } else if of("yahoo.com") || of("yahoo.co.uk") {
        Some("yahoo")
    } else if of("aol.com") {
        Some("aol")
    } else if of("fastmail.com") {
        Some("fastmail")
    } else {
        None
    }
}
