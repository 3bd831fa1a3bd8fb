//! Settings of `providers`: mail services.

use std::net::IpAddr;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use crate::secret::Secret;
use crate::wire::Protocol;
pub use crate::wire::sasl::Mechanism;

/// Hosts, endpoints and peculiarities of one mail service.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Name of the provider, its key under `providers`.
    pub name: String,
    /// IMAP endpoint, if the service offers IMAP.
    pub imap: Option<Endpoint>,
    /// POP3 endpoint, if the service offers POP3.
    pub pop3: Option<Endpoint>,
    /// Submission endpoint, if the service offers SMTP.
    pub smtp: Option<Endpoint>,
    /// Authorization endpoint (RFC 6749 §3.1); may contain `{tenant}`.
    pub authorize_url: Option<String>,
    /// Device authorization endpoint (RFC 8628 §3.1); may contain `{tenant}`.
    pub device_url: Option<String>,
    /// Token endpoint; may contain `{tenant}`.
    pub token_url: String,
    /// SASL mechanism that presents tokens.
    pub mechanism: Mechanism,
    /// Authorities trusted in addition to the public roots, for upstreams and the token endpoint.
    pub ca: Vec<CertificateDer<'static>>,
    /// Proxy for mail and token requests; `None`: direct connections.
    pub egress: Option<Egress>,
    /// Address families to connect to.
    pub ip: IpPreference,
    /// Limits of submission for each mailbox.
    pub smtp_limits: Option<SmtpLimits>,
    /// Remaining lifetime that a token needs for a new session, unless its whole lifetime is under
    /// twice that.
    pub token_margin: Duration,
    /// Whether a refresh token stays valid after it was redeemed.
    pub refresh_tokens: RefreshTokens,
    /// Default scopes by grant and protocol.
    pub scopes: Scopes,
    /// Parameters of the authorization request that the service requires to issue a refresh token.
    pub consent_parameters: Vec<(String, String)>,
    /// Capabilities that listeners advertise until some are learned from the upstream.
    pub capabilities: PresetCapabilities,
}

/// Reuse of refresh tokens (RFC 6749 §6), from `providers.*.refresh_tokens`. Decides what several
/// relays do while their store is unreachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshTokens {
    /// An old refresh token stays valid.
    Reusable,
    /// A second redemption is refused, or ends the consent.
    OneUse,
}

/// Scopes requested if a registration sets none (RFC 6749 §3.3).
#[derive(Debug, Clone, Default)]
pub struct Scopes {
    /// Scopes of app-only tokens, such as `https://outlook.office365.com/.default`.
    pub application: Vec<String>,
    /// Scopes of delegated tokens for IMAP.
    pub imap: Vec<String>,
    /// Scopes of delegated tokens for POP3.
    pub pop3: Vec<String>,
    /// Scopes of delegated tokens for SMTP.
    pub smtp: Vec<String>,
    /// Additional scopes that request a refresh token.
    pub offline: Vec<String>,
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

/// Capabilities in the form in which the upstream lists them after TLS and before login: IMAP
/// atoms, CAPA lines, or EHLO lines without `250-`.
#[derive(Debug, Clone, Default)]
pub struct PresetCapabilities {
    /// IMAP capabilities, one atom each.
    pub imap: Vec<String>,
    /// POP3 capabilities, one CAPA line each.
    pub pop3: Vec<String>,
    /// SMTP extensions, one EHLO line each, without the greeting.
    pub smtp: Vec<String>,
}

impl PresetCapabilities {
    /// Capabilities of one protocol.
    pub fn of(&self, protocol: Protocol) -> &[String] {
        match protocol {
            Protocol::Imap => &self.imap,
            Protocol::Pop3 => &self.pop3,
            Protocol::Smtp => &self.smtp,
        }
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

/// Start of TLS with an upstream, from `providers.*.{imap,pop3,smtp}.tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamTls {
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS or STLS; no login is sent without it.
    StartTls,
}

/// Address families to connect to, from `providers.*.ip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpPreference {
    /// Both families, as RFC 8305 describes.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
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

/// Limits of submission for each mailbox, from `providers.*.smtp_limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmtpLimits {
    /// Maximum number of messages in flight.
    pub connections: usize,
    /// Maximum number of messages in any minute.
    pub messages_per_minute: usize,
    /// Longest wait of a client for a permit.
    pub wait: Duration,
}

impl SmtpLimits {
    /// Limits of Exchange Online, which apply to every mailbox.
    pub const EXCHANGE: Self = Self {
        connections: 3,
        messages_per_minute: 30,
        wait: Duration::from_secs(25),
    };
}
