//! `providers`: the presets and what the file adds to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use url::{Host, Url};

use super::super::field::{Field, Section, either, is_name};
use super::super::{
    Egress, EgressKind, Endpoint, IpPreference, Mechanism, Provider, UpstreamTls, preset,
};
use super::{Reader, smtp};
use crate::wire::Protocol;

/// No token of a mail service lives longer.
const MOST_MARGIN: Duration = Duration::from_secs(86_400);

/// The providers that are good, and the names of those that are not: what refers to them is not
/// to blame.
#[derive(Debug, Default)]
pub(super) struct Providers {
    pub(super) known: BTreeMap<String, Arc<Provider>>,
    broken: BTreeSet<String>,
}

impl Providers {
    /// The provider that a field names.
    pub(super) fn named(&self, field: &Field<'_>) -> Option<Arc<Provider>> {
        let name = field.word()?;
        if let Some(provider) = self.known.get(name) {
            return Some(provider.clone());
        }
        if !self.broken.contains(name) {
            let names: Vec<_> = self.known.keys().map(String::as_str).collect();
            field.problem(format_args!(
                "there is no such provider; write {}, or describe yours under providers",
                either(&names)
            ));
        }
        None
    }
}

impl Reader<'_> {
    pub(super) fn providers(&self, field: Option<Field<'_>>) -> Providers {
        let mut providers = Providers::default();
        for name in preset::names() {
            if let Some(provider) = preset::named(name) {
                providers.known.insert(name.into(), Arc::new(provider));
            }
        }
        let Some(section) = field.and_then(|field| field.section()) else {
            return providers;
        };
        for (name, field) in section.named() {
            match self.provider(name, &field) {
                Some(provider) => {
                    providers.known.insert(name.to_owned(), Arc::new(provider));
                }
                None => {
                    providers.known.remove(name);
                    providers.broken.insert(name.to_owned());
                }
            }
        }
        providers
    }

    fn provider(&self, name: &str, field: &Field<'_>) -> Option<Provider> {
        if !is_name(name) {
            return field.wrong("a provider's name has letters, digits, \".\", \"_\" and \"-\"");
        }
        let preset = preset::named(name);
        let is_new = preset.is_none();
        let mut provider = preset.unwrap_or_else(|| preset::unknown(name));
        let mut section = field.section()?;
        let mut good = true;
        for (key, protocol, endpoint) in [
            ("imap", Protocol::Imap, &mut provider.imap),
            ("pop3", Protocol::Pop3, &mut provider.pop3),
            ("smtp", Protocol::Smtp, &mut provider.smtp),
        ] {
            if let Some(field) = section.take(key) {
                *endpoint = endpoint_of(&field, protocol, endpoint.take());
                good &= endpoint.is_some();
            }
        }
        good &= urls(&mut section, &mut provider, is_new);
        if let Some(field) = section.take("mechanism") {
            let words = [
                ("xoauth2", Mechanism::Xoauth2),
                ("oauthbearer", Mechanism::Oauthbearer),
            ];
            provider.mechanism = field.one_of(&words).unwrap_or(provider.mechanism);
        }
        if let Some(field) = section.take("ca") {
            for field in field.list() {
                match self.sources.certificates(&field) {
                    Some(certificates) => provider.ca.extend(certificates),
                    None => good = false,
                }
            }
            if let Err(error) = crate::net::tls::client(&provider.ca) {
                good = false;
                field.problem(format_args!("cannot be used as an authority: {error}"));
            }
        }
        if let Some(field) = section.take("ip") {
            let words = [
                ("any", IpPreference::Any),
                ("v4", IpPreference::V4),
                ("v6", IpPreference::V6),
            ];
            provider.ip = field.one_of(&words).unwrap_or(provider.ip);
        }
        if let Some(field) = section.take("egress") {
            provider.egress = self.egress(&field);
            good &= provider.egress.is_some();
        }
        if let Some(field) = section.take("smtp_limits") {
            provider.smtp_limits = smtp::limits(&field, provider.smtp_limits);
            good &= provider.smtp_limits.is_some();
        }
        if let Some(field) = section.take("token_margin") {
            match field.duration() {
                Some(margin) if margin <= MOST_MARGIN => provider.token_margin = margin,
                Some(_) => good = field.wrong("must be at most 24h").unwrap_or(false),
                None => good = false,
            }
        }
        section.finish();
        if is_new && provider.imap.is_none() && provider.pop3.is_none() && provider.smtp.is_none() {
            return field.wrong("must have at least one of imap, pop3 and smtp");
        }
        good.then_some(provider)
    }
}

impl Reader<'_> {
    /// `{url, username, password}`.
    fn egress(&self, field: &Field<'_>) -> Option<Egress> {
        let mut section = field.section()?;
        let url = section.require("url", "http://HOST:PORT or socks5://HOST:PORT");
        let username = section.take("username");
        let password = section.take("password");
        section.finish();
        let credentials = match (&username, &password) {
            (None, None) => None,
            (Some(username), Some(password)) => {
                Some((username.word()?.to_owned(), self.sources.secret(password)?))
            }
            _ => return field.wrong("must have both username and password, or neither"),
        };
        let field = url?;
        let Ok(url) = Url::parse(field.word()?) else {
            return field.wrong("must be http://HOST:PORT or socks5://HOST:PORT");
        };
        if !url.username().is_empty() || url.password().is_some() {
            return field
                .wrong("must not contain a password; write username and password beside it");
        }
        let (kind, usual) = match url.scheme() {
            "http" => (EgressKind::Connect, 80),
            "socks5" | "socks5h" => (EgressKind::Socks5, 1080),
            _ => return field.wrong("must begin with http:// or socks5://"),
        };
        let Some(host) = url.host_str() else {
            return field.wrong("must name the proxy's host");
        };
        Some(Egress {
            kind,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(usual),
            credentials,
        })
    }
}

/// `{host, port, tls}`, what is left out taken from the preset.
fn endpoint_of(
    field: &Field<'_>,
    protocol: Protocol,
    preset: Option<Endpoint>,
) -> Option<Endpoint> {
    let mut section = field.section()?;
    let host = match (section.take("host"), &preset) {
        (Some(field), _) => host(&field),
        (None, Some(preset)) => Some(preset.host.clone()),
        (None, None) => section
            .require("host", "the mail service's host name")
            .and_then(|field| host(&field)),
    };
    let port = section.take("port").map(|field| {
        let port = field.number(1..=65_535)?;
        u16::try_from(port).ok()
    });
    let words = [
        ("implicit", UpstreamTls::Implicit),
        ("starttls", UpstreamTls::StartTls),
    ];
    let tls = section.take("tls").map(|field| match field.text()? {
        "none" => {
            field.wrong("must be implicit or starttls: there is no way to the upstream without TLS")
        }
        _ => field.one_of(&words),
    });
    section.finish();
    let port = match port {
        Some(port) => Some(port?),
        None => preset.as_ref().map(|preset| preset.port),
    };
    let tls = match tls {
        Some(tls) => tls?,
        None => match (&preset, port) {
            (Some(preset), _) => preset.tls,
            (None, Some(143 | 110 | 25 | 587)) => UpstreamTls::StartTls,
            (None, _) => UpstreamTls::Implicit,
        },
    };
    Some(Endpoint {
        host: host?,
        port: port.unwrap_or(usual_port(protocol, tls)),
        tls,
    })
}

/// RFC 8314 §7.
fn usual_port(protocol: Protocol, tls: UpstreamTls) -> u16 {
    match (protocol, tls) {
        (Protocol::Imap, UpstreamTls::Implicit) => 993,
        (Protocol::Imap, UpstreamTls::StartTls) => 143,
        (Protocol::Pop3, UpstreamTls::Implicit) => 995,
        (Protocol::Pop3, UpstreamTls::StartTls) => 110,
        (Protocol::Smtp, UpstreamTls::Implicit) => 465,
        (Protocol::Smtp, UpstreamTls::StartTls) => 587,
    }
}

fn host(field: &Field<'_>) -> Option<String> {
    let host = field.word()?;
    if rustls_pki_types::ServerName::try_from(host).is_err() {
        return field.wrong("must be a host name or an address alone, as in outlook.office365.com");
    }
    Some(host.to_owned())
}

/// The OAuth endpoints.
fn urls(section: &mut Section<'_>, provider: &mut Provider, is_new: bool) -> bool {
    let mut good = true;
    for (key, url) in [
        ("authorize_url", &mut provider.authorize_url),
        ("device_url", &mut provider.device_url),
    ] {
        if let Some(field) = section.take(key) {
            *url = oauth_url(&field);
            good &= url.is_some();
        }
    }
    let token = if is_new {
        section.require(
            "token_url",
            "where tokens are asked for, as in https://login.example.com/token",
        )
    } else {
        section.take("token_url")
    };
    if let Some(field) = token {
        match oauth_url(&field) {
            Some(url) => provider.token_url = url,
            None => good = false,
        }
    }
    good && !provider.token_url.is_empty()
}

/// A URL that may contain `{tenant}`.
fn oauth_url(field: &Field<'_>) -> Option<String> {
    let text = field.word()?;
    match url(text, "tenant") {
        Ok(_) => Some(text.to_owned()),
        Err(why) => field.wrong(why),
    }
}

/// An endpoint's URL with its tenant: https, or http to a loopback address.
pub(super) fn url(template: &str, tenant: &str) -> Result<Url, &'static str> {
    let url = Url::parse(&template.replace("{tenant}", tenant))
        .map_err(|_| "is no URL; write https://host/path")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password");
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => return Err("is no URL; write https://host/path"),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => Err("must begin with https:// (http:// is for loopback addresses alone)"),
    }
}

/// Where Azure's instance metadata service is: link-local, so without TLS.
const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// The metadata service's URL.
pub(super) fn metadata_url(field: Option<&Field<'_>>) -> Option<Url> {
    let Some(field) = field else {
        return Url::parse(METADATA).ok();
    };
    let text = field.word()?;
    if text.starts_with("http://169.254.169.254/") {
        return Url::parse(text).ok();
    }
    match url(text, "") {
        Ok(url) => Some(url),
        Err(why) => field.wrong(why),
    }
}
