//! Reads `providers`: the presets and the file's additions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::super::field::{Context, Field, Problems, either};
use super::super::key::{Key, Value as _};
use super::super::keys::{EgressKeys, EndpointKeys, PresetKeys, ProviderKeys, SmtpLimitKeys};
use super::super::provider::SmtpLimits;
use super::super::provider::{
    Egress, EgressKind, Endpoint, IpPreference, Mechanism, PresetCapabilities, Provider,
    RefreshTokens, Scopes, UpstreamTls,
};
use super::super::secrets::Secrets;
use super::super::sources::Sources;
use super::super::tree;
use super::super::value::{EndpointUrl, HostName, Named, https};
use crate::wire::Protocol;

/// Presets, written like `providers` in the file.
const PRESETS: &str = include_str!("../presets.yaml");

/// Default of `token_margin`: Exchange ends sessions when their token expires, so a new session
/// needs a fresh one.
const TOKEN_MARGIN: Duration = Duration::from_secs(5 * 60);

/// Valid providers, and the names of invalid ones, so that references to those are not reported
/// too.
#[derive(Debug, Default)]
pub(super) struct Providers {
    pub(super) known: BTreeMap<String, Arc<Provider>>,
    broken: BTreeSet<String>,
}

impl Providers {
    /// Finds the provider that a field names.
    pub(super) fn named(&self, field: &Field, name: &str) -> Option<Arc<Provider>> {
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

pub(super) fn providers(keys: Key<Named<ProviderKeys>>) -> Providers {
    let mut providers = Providers {
        known: presets(),
        broken: BTreeSet::new(),
    };
    for (name, field, keys) in keys.required().map_or_else(Vec::new, |Named(all)| all) {
        let preset = providers.known.remove(&name);
        match keys.and_then(|keys| provider(&name, &field, keys, preset.as_deref())) {
            Some(provider) => {
                providers.known.insert(name, Arc::new(provider));
            }
            None => {
                providers.broken.insert(name);
            }
        }
    }
    providers
}

/// Reads the presets, by name.
pub(in crate::config) fn presets() -> BTreeMap<String, Arc<Provider>> {
    let context = Rc::new(Context {
        sources: Sources::new(Path::new(""), Secrets::Skip),
        problems: Problems::default(),
        warnings: Problems::default(),
    });
    let root = tree::compose(PRESETS).ok().flatten();
    let root = root.map(|root| Field::root(root, context));
    let all = root.and_then(|root| Named::<PresetKeys>::read(&root));
    let preset = |(name, field, keys): (String, Field, Option<PresetKeys>)| {
        let keys = keys?;
        let provider = provider(&name, &field.at("provider"), keys.provider, None)?;
        let pair = |text: &String| {
            let (name, value) = text.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        let provider = Provider {
            scopes: Scopes {
                application: keys.application.unwrap_or_default(),
                imap: keys.imap.unwrap_or_default(),
                pop3: keys.pop3.unwrap_or_default(),
                smtp: keys.smtp.unwrap_or_default(),
                offline: keys.offline.unwrap_or_default(),
            },
            consent_parameters: keys
                .consent_parameters
                .iter()
                .flatten()
                .filter_map(pair)
                .collect(),
            capabilities: PresetCapabilities {
                imap: keys.capabilities.imap.unwrap_or_default(),
                pop3: keys.capabilities.pop3.unwrap_or_default(),
                smtp: keys.capabilities.smtp.unwrap_or_default(),
            },
            ..provider
        };
        Some((name, Arc::new(provider)))
    };
    all.map_or_else(Vec::new, |Named(all)| all)
        .into_iter()
        .filter_map(preset)
        .collect()
}

fn provider(
    name: &str,
    field: &Field,
    keys: ProviderKeys,
    preset: Option<&Provider>,
) -> Option<Provider> {
    let mut good = true;
    let mut provider = preset.map_or_else(|| unknown(name), Provider::clone);
    for (key, protocol, keys, endpoint) in [
        ("imap", Protocol::Imap, keys.imap, &mut provider.imap),
        ("pop3", Protocol::Pop3, keys.pop3, &mut provider.pop3),
        ("smtp", Protocol::Smtp, keys.smtp, &mut provider.smtp),
    ] {
        match keys {
            Key::Given(keys) => {
                *endpoint = endpoint_of(&field.at(key), keys, protocol, endpoint.take());
                good &= endpoint.is_some();
            }
            Key::Absent => {}
            Key::Broken => good = false,
        }
    }
    let url = |key: Key<EndpointUrl>, preset| match key {
        Key::Given(EndpointUrl(url)) => Some(Some(url)),
        Key::Absent => Some(preset),
        Key::Broken => None,
    };
    good &= preset.is_some() || has_token_url(field, &keys.token_url);
    let token_url = url(keys.token_url, Some(provider.token_url.clone()));
    let authorize_url = url(keys.authorize_url, provider.authorize_url.take());
    let device_url = url(keys.device_url, provider.device_url.take());
    let egress = keys.egress.optional().and_then(|keys| match keys {
        Some(keys) => egress(&field.at("egress"), keys).map(Some),
        None => Some(None),
    });
    let usual = provider.smtp_limits;
    let limits = keys.smtp_limits.optional();
    let limits = limits.map(|keys| keys.map_or(usual, |keys| Some(smtp_limits(&keys, usual))));
    if preset.is_none() && provider.endpoints().next().is_none() && good {
        return field.reject("must have at least one of imap, pop3 and smtp");
    }
    good.then_some(())?;
    Some(Provider {
        token_url: token_url?.unwrap_or_default(),
        authorize_url: authorize_url?,
        device_url: device_url?,
        egress: egress?.or(provider.egress),
        smtp_limits: limits?,
        mechanism: keys.mechanism.unwrap_or(provider.mechanism),
        ca: keys.ca.optional()?.map_or(provider.ca, |ca| ca.0),
        ip: keys.ip.unwrap_or(provider.ip),
        token_margin: keys.token_margin.unwrap_or(provider.token_margin),
        refresh_tokens: keys.refresh_tokens.unwrap_or(provider.refresh_tokens),
        ..provider
    })
}

/// Whether a provider without preset has the key `token_url`; reports its absence.
fn has_token_url(field: &Field, token_url: &Key<EndpointUrl>) -> bool {
    if token_url.is_absent() {
        field.missing(
            "token_url",
            "where tokens are asked for, as in https://login.example.com/token",
        );
        return false;
    }
    true
}

/// Completes the limits of submission from the preset, or from Exchange's limits.
fn smtp_limits(keys: &SmtpLimitKeys, usual: Option<SmtpLimits>) -> SmtpLimits {
    let usual = usual.unwrap_or(SmtpLimits::EXCHANGE);
    SmtpLimits {
        connections: keys.connections.unwrap_or(usual.connections),
        messages_per_minute: keys
            .messages_per_minute
            .unwrap_or(usual.messages_per_minute),
        wait: keys.wait.unwrap_or(usual.wait),
    }
}

/// Defaults of a provider without preset: only capabilities that every server has.
fn unknown(name: &str) -> Provider {
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    Provider {
        name: name.into(),
        imap: None,
        pop3: None,
        smtp: None,
        authorize_url: None,
        device_url: None,
        token_url: String::new(),
        mechanism: Mechanism::Xoauth2,
        ca: Vec::new(),
        egress: None,
        ip: IpPreference::Any,
        smtp_limits: None,
        token_margin: TOKEN_MARGIN,
        refresh_tokens: RefreshTokens::OneUse,
        scopes: Scopes::default(),
        consent_parameters: Vec::new(),
        capabilities: PresetCapabilities {
            imap: lines(&["IMAP4rev1", "SASL-IR"]),
            pop3: lines(&["TOP", "UIDL"]),
            smtp: Vec::new(),
        },
    }
}

pub(super) fn egress(field: &Field, keys: EgressKeys) -> Option<Egress> {
    let credentials = match (keys.username, keys.password) {
        (None, None) => None,
        (Some(username), Some(password)) => Some((username, password)),
        _ => return field.reject("must have both username and password, or neither"),
    };
    let field = field.at("url");
    let Ok(url) = Url::parse(&keys.url) else {
        return field.reject("must be http://HOST:PORT or socks5://HOST:PORT");
    };
    if !url.username().is_empty() || url.password().is_some() {
        return field.reject("must not contain a password; write it as username and password");
    }
    let (kind, usual) = match url.scheme() {
        "http" => (EgressKind::Connect, 80),
        "socks5" | "socks5h" => (EgressKind::Socks5, 1080),
        _ => return field.reject("must begin with http:// or socks5://"),
    };
    let Some(host) = url.host_str() else {
        return field.reject("must name the proxy's host");
    };
    Some(Egress {
        kind,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(usual),
        credentials,
    })
}

/// Reads `{host, port, tls}`; missing keys come from the preset.
fn endpoint_of(
    field: &Field,
    keys: EndpointKeys,
    protocol: Protocol,
    preset: Option<Endpoint>,
) -> Option<Endpoint> {
    if keys.host.is_absent() && preset.is_none() {
        field.missing("host", "the mail service's host name");
    }
    let port = keys
        .port
        .optional()?
        .or(preset.as_ref().map(|preset| preset.port));
    let tls = match (keys.tls.optional()?, &preset, port) {
        (Some(tls), ..) => tls,
        (None, Some(preset), _) => preset.tls,
        (None, None, Some(143 | 110 | 25 | 587)) => UpstreamTls::StartTls,
        (None, None, _) => UpstreamTls::Implicit,
    };
    let port = port.unwrap_or(default_port(protocol, tls));
    let other = match (port, tls) {
        (465 | 993 | 995, UpstreamTls::StartTls) => Some("speaks TLS at once: write tls: implicit"),
        (587 | 143 | 110, UpstreamTls::Implicit) => {
            Some("begins in clear and requires STARTTLS: write tls: starttls")
        }
        _ => None,
    };
    if let Some(what) = other {
        field.warn(format_args!(
            "port {port} usually {what}, or logins wait until upstream_timeout"
        ));
    }
    Some(Endpoint {
        host: match keys.host.optional()? {
            Some(HostName(host)) => host,
            None => preset?.host,
        },
        port,
        tls,
    })
}

/// Default port of a protocol (RFC 8314 §7).
fn default_port(protocol: Protocol, tls: UpstreamTls) -> u16 {
    match (protocol, tls) {
        (Protocol::Imap, UpstreamTls::Implicit) => 993,
        (Protocol::Imap, UpstreamTls::StartTls) => 143,
        (Protocol::Pop3, UpstreamTls::Implicit) => 995,
        (Protocol::Pop3, UpstreamTls::StartTls) => 110,
        (Protocol::Smtp, UpstreamTls::Implicit) => 465,
        (Protocol::Smtp, UpstreamTls::StartTls) => 587,
    }
}

/// URL of Azure's instance metadata service: link-local, and therefore without TLS.
const METADATA: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// Checks the URL of the metadata service.
pub(super) fn metadata_url(field: &Field, url: Option<&str>) -> Option<Url> {
    let text = url.unwrap_or(METADATA);
    if text.starts_with("http://169.254.169.254/") {
        return Url::parse(text).ok();
    }
    match https(text, "") {
        Ok(url) => Some(url),
        Err(why) => field.reject(why),
    }
}
