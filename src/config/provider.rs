//! Reads `providers`: mail services, the presets and the file's additions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::field::Field;
use super::key::{Key, Value, section, words};
use super::kind::Kind;
use super::known::Known;
use super::sources::{LoadMode, Sources};
use super::tree;
use super::value::{Certificates, ENDPOINT_URL, HOST_NAME, Named};
use crate::secret::Secret;
use crate::wire::Protocol;
pub use crate::wire::sasl::Mechanism;

/// Presets. What stands under `provider` there is written like `providers` in the file.
const PRESETS: &str = include_str!("presets.yaml");

/// No token of a mail service lives longer.
const DAY: Duration = Duration::from_secs(86_400);

section! {
    /// Hosts, endpoints and peculiarities of one mail service, from `providers.NAME`.
    pub struct Provider from ProviderKeys {
        /// IMAP server
        pub imap: Option<Endpoint> as EndpointKeys: "the preset's",
        /// POP3 server
        pub pop3: Option<Endpoint> as EndpointKeys: "the preset's",
        /// SMTP submission server
        pub smtp: Option<Endpoint> as EndpointKeys: "the preset's",
        /// Authorization endpoint, where people consent (RFC 6749 §3.1): https, or http to loopback; `{tenant}` is replaced
        pub authorize_url: Option<String>[ENDPOINT_URL]: "the preset's",
        /// Device authorization endpoint (RFC 8628 §3.1)
        pub device_url: Option<String>[ENDPOINT_URL]: "the preset's",
        /// Token endpoint (RFC 6749 §3.2); required for a provider that is no preset
        pub token_url: String[ENDPOINT_URL]: "the preset's",
        /// SASL mechanism that presents the token to the mail service
        pub mechanism: Mechanism = "xoauth2": "the preset's, else `xoauth2`",
        /// PEM files of authorities that are trusted in addition to the public roots, for mail and token endpoint
        pub ca: Certificates = "[]": "none",
        /// Proxy for mail connections and token requests
        pub egress: Option<Egress>: "none",
        /// Address family of outgoing connections
        pub ip: IpPreference = "any",
        /// Limits of submission for one mailbox, over all listeners and logins
        pub smtp_limits: Option<SmtpLimits>: "the preset's, else none",
        /// Remaining lifetime below which a token is not given to a new session, unless its whole lifetime is less than twice that
        pub token_margin: Duration[Duration::from_millis(1)..=DAY] = "5m": "5m (`microsoft365-hve`: 20m)",
        /// Whether a refresh token stays valid after it was redeemed. `one_use`: several relays redeem none while their [shared store](docs/several-relays.md) is unavailable
        pub refresh_tokens: RefreshTokens = "one_use": "the preset's (`fastmail`: `one_use`, the others: `reusable`), else `one_use`",
    }
    with {
        /// Name of the provider, its key under `providers`.
        pub name: String,
        /// Properties that only presets have; empty for other providers, but for the capabilities.
        pub preset: Preset,
    }
}

/// Properties of a mail service that only presets have, since no operator needs to change them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Preset {
    /// Default scopes by grant and protocol.
    pub scopes: Scopes,
    /// Parameters of the authorization request that the service requires to issue a refresh token.
    pub consent_parameters: Vec<(String, String)>,
    /// Capabilities that listeners advertise until some are learned from the upstream, in the form
    /// in which it lists them after TLS and before login: IMAP atoms, CAPA lines, or EHLO lines
    /// without `250-`.
    pub capabilities: ByProtocol<Vec<String>>,
}

impl Provider {
    /// Whether this is Microsoft's High Volume Email, which has its own permissions and replies.
    pub fn is_high_volume(&self) -> bool {
        const HOSTS: [&str; 2] = ["smtp.hve.mx.microsoft", "smtp-hve.office365.com"];
        let host = self.smtp.as_ref().map(|endpoint| endpoint.host.as_str());
        self.name == "microsoft365-hve" || host.is_some_and(|host| HOSTS.contains(&host))
    }

    /// Endpoints of the protocols that the provider offers.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        [&self.imap, &self.pop3, &self.smtp].into_iter().flatten()
    }

    /// Endpoint of `protocol`, if the provider offers it.
    pub fn endpoint(&self, protocol: Protocol) -> Option<&Endpoint> {
        match protocol {
            Protocol::Imap => self.imap.as_ref(),
            Protocol::Pop3 => self.pop3.as_ref(),
            Protocol::Smtp => self.smtp.as_ref(),
        }
    }
}

words! {
    /// Reuse of refresh tokens (RFC 6749 §6), from `providers.*.refresh_tokens`. Decides what several
    /// relays do while their store is unreachable.
    pub enum RefreshTokens {
        /// An old refresh token stays valid.
        Reusable = "reusable",
        /// A second redemption is refused, or ends the consent.
        OneUse = "one_use",
    }
}

/// Scopes requested if a registration sets none (RFC 6749 §3.3).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Scopes {
    /// Scopes of app-only tokens, such as `https://outlook.office365.com/.default`.
    pub application: Vec<String>,
    /// Scopes of delegated tokens.
    #[serde(flatten)]
    pub delegated: ByProtocol<Vec<String>>,
    /// Additional scopes that request a refresh token.
    pub offline: Vec<String>,
}

/// One value for each protocol.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ByProtocol<T> {
    imap: T,
    pop3: T,
    smtp: T,
}

impl<T> ByProtocol<T> {
    /// Returns the value for one protocol.
    pub fn of(&self, protocol: Protocol) -> &T {
        match protocol {
            Protocol::Imap => &self.imap,
            Protocol::Pop3 => &self.pop3,
            Protocol::Smtp => &self.smtp,
        }
    }
}

section! {
    /// Where one protocol is.
    pub(super) struct EndpointKeys {
        /// Host name, which the certificate must contain
        host: Key<String>[HOST_NAME]: "the preset's",
        /// TCP port
        port: Key<u16>[1..=u16::MAX]: "by protocol and `tls`",
        /// Start of TLS; a connection without TLS is not possible
        tls: Key<UpstreamTls>: "`starttls` on 25, 110, 143 and 587, else `implicit`",
    }
}

/// Endpoint of one protocol of a mail service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host name (or address) to connect to, which the certificate must contain.
    pub host: String,
    /// TCP port of the endpoint.
    pub port: u16,
    /// Start of TLS; cleartext is not possible.
    pub tls: UpstreamTls,
}

impl EndpointKeys {
    /// Completes the endpoint of a protocol.
    fn build(self, field: &Field, protocol: Protocol) -> Option<Endpoint> {
        let host = self
            .host
            .needed(field, "host", "the mail service's host name");
        let port = self.port.optional()?;
        let tls = self.tls.optional()?.unwrap_or(match port {
            Some(143 | 110 | 25 | 587) => UpstreamTls::StartTls,
            _ => UpstreamTls::Implicit,
        });
        let port = port.unwrap_or(default_port(protocol, tls));
        let other = match (port, tls) {
            (465 | 993 | 995, UpstreamTls::StartTls) => "speaks TLS at once: write tls: implicit",
            (587 | 143 | 110, UpstreamTls::Implicit) => {
                "begins in clear and requires STARTTLS: write tls: starttls"
            }
            _ => "",
        };
        if !other.is_empty() {
            field.warn(format_args!(
                "port {port} usually {other}, or logins wait until upstream_timeout"
            ));
        }
        let host = host?;
        Some(Endpoint { host, port, tls })
    }
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

/// Start of TLS with an upstream, from `providers.*.{imap,pop3,smtp}.tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamTls {
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS or STLS; no login is sent without it.
    StartTls,
}

impl Value for UpstreamTls {
    fn read(field: &Field) -> Option<Self> {
        if field.is_word("none") {
            return field.reject(
                "must be implicit or starttls: there is no way to the upstream without TLS",
            );
        }
        field.one_of(&[("implicit", Self::Implicit), ("starttls", Self::StartTls)])
    }

    fn kind() -> Kind {
        Kind::words(&["implicit", "starttls"])
    }
}

words! {
    /// Address families to connect to, from `providers.*.ip`.
    pub enum IpPreference {
        /// Both families, as RFC 8305 describes.
        Any = "any",
        /// IPv4 only.
        V4 = "v4",
        /// IPv6 only.
        V6 = "v6",
    }
}

impl IpPreference {
    /// Whether the family of `address` is allowed.
    pub fn admits(self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

section! {
    /// `providers.NAME.egress`.
    struct EgressKeys for Egress {
        /// `http://HOST:PORT` (CONNECT) or `socks5://HOST:PORT`
        url: String => "http://HOST:PORT or socks5://HOST:PORT",
        /// User name, if the proxy requires one
        username: Option<String>,
        /// Password; together with `username`
        password: Option<Secret>,
    }
}

/// Proxy for all connections to the provider, from `providers.*.egress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Protocol of the proxy.
    pub kind: EgressKind,
    /// Host name or address of the proxy.
    pub host: String,
    /// TCP port of the proxy, 1 or more.
    pub port: u16,
    /// User name and password, if the proxy requires them.
    pub credentials: Option<(String, Secret)>,
}

/// Protocol of an egress proxy, from the scheme of `providers.*.egress.url`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressKind {
    /// `http://`: CONNECT (RFC 9110 §9.3.6).
    Connect,
    /// `socks5://`: RFC 1928; the proxy resolves names.
    Socks5,
}

impl EgressKeys {
    fn build(self, field: &Field) -> Option<Egress> {
        let credentials = match (self.username, self.password) {
            (None, None) => None,
            (Some(username), Some(password)) => Some((username, password)),
            _ => return field.reject("must have both username and password, or neither"),
        };
        let field = field.at("url");
        let Ok(url) = Url::parse(&self.url) else {
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
}

section! {
    /// Limits of submission for each mailbox, from `providers.*.smtp_limits`; the defaults are those
    /// of Exchange Online.
    #[derive(Copy, PartialEq, Eq)]
    pub struct SmtpLimits {
        /// Most messages in flight at the same time
        pub connections: usize[1..=10_000] = "3",
        /// Most messages that begin in any 60 s
        pub messages_per_minute: usize[1..=100_000] = "30",
        /// Longest time that a message waits for these limits
        pub wait: Duration = "25s",
    }
}

/// Section of a provider, which is read after the preset's keys were added.
#[derive(Debug, Clone)]
pub(super) struct ProviderSection(Field);

impl Value for ProviderSection {
    fn read(field: &Field) -> Option<Self> {
        Some(Self(field.clone()))
    }

    fn kind() -> Kind {
        ProviderKeys::kind()
    }
}

/// Reads `providers`: the presets and the file's additions.
pub(super) fn providers(keys: Key<Named<ProviderSection>>) -> Known<Provider> {
    let mut presets = read_presets();
    let mut known = Known::new("provider", "describe yours under providers");
    for (name, _, section) in keys.required().map_or_else(Vec::new, |Named(all)| all) {
        let read = |ProviderSection(field)| match presets.remove(&name) {
            Some((section, preset)) => provider(&name, &field.or_from(&section), preset),
            None => provider(&name, &field, no_preset()),
        };
        let provider = section.and_then(read);
        known.insert(name, provider);
    }
    for (name, (section, preset)) in presets {
        let provider = provider(&name, &section, preset);
        known.insert(name, provider);
    }
    known
}

/// Returns the built-in providers, by name.
pub fn presets() -> BTreeMap<String, Arc<Provider>> {
    providers(Key::Absent).valid()
}

/// Reads the presets by name, each with its section `provider`.
fn read_presets() -> BTreeMap<String, (Field, Preset)> {
    let sources = Sources::new(Path::new(""), LoadMode::CheckWithoutSecrets);
    let root = tree::compose(PRESETS).ok().flatten();
    let root = root.map(|root| Field::root(root, sources));
    let presets: BTreeMap<String, Preset> = serde_yaml::from_str(PRESETS).unwrap_or_default();
    let with_section = |(name, preset): (String, Preset)| {
        let section = root.as_ref()?.at(&name).at("provider");
        Some((name, (section, preset)))
    };
    presets.into_iter().filter_map(with_section).collect()
}

/// Describes a provider without preset: only capabilities that every server has.
fn no_preset() -> Preset {
    let lines = |lines: [&str; 2]| lines.map(str::to_owned).to_vec();
    Preset {
        capabilities: ByProtocol {
            imap: lines(["IMAP4rev1", "SASL-IR"]),
            pop3: lines(["TOP", "UIDL"]),
            smtp: Vec::new(),
        },
        ..Preset::default()
    }
}

fn provider(name: &str, field: &Field, preset: Preset) -> Option<Provider> {
    let mut keys = ProviderKeys::read(field)?;
    if keys.token_url.is_absent() {
        field.missing(
            "token_url",
            "where tokens are asked for, as in https://login.example.com/token",
        );
    } else if keys.imap.is_absent() && keys.pop3.is_absent() && keys.smtp.is_absent() {
        return field.reject("must have at least one of imap, pop3 and smtp");
    }
    let endpoint = |protocol: Protocol, key: Key<EndpointKeys>| {
        key.convert(|keys| keys.build(&field.at(protocol.name()), protocol))
    };
    let imap = endpoint(Protocol::Imap, keys.imap.take());
    let pop3 = endpoint(Protocol::Pop3, keys.pop3.take());
    let smtp = endpoint(Protocol::Smtp, keys.smtp.take());
    Some(Provider {
        name: name.to_owned(),
        preset,
        ..keys.finish(imap?, pop3?, smtp?)?
    })
}
