//! `providers`: mail services.

use std::net::IpAddr;
use std::time::Duration;

use rustls_pki_types::CertificateDer;

use crate::secret::Secret;
use crate::wire::Protocol;
pub use crate::wire::sasl::Mechanism;

/// Hosts, endpoints and habits of one mail service.
#[derive(Debug, Clone)]
pub struct Provider {
    /// Key of the provider under `providers`.
    pub name: String,
    /// Where IMAP is, if the service has it.
    pub imap: Option<Endpoint>,
    /// Where POP3 is, if the service has it.
    pub pop3: Option<Endpoint>,
    /// Where submission is, if the service has it.
    pub smtp: Option<Endpoint>,
    /// Where people consent (RFC 6749 §3.1); may contain `{tenant}`.
    pub authorize_url: Option<String>,
    /// Where devices ask for a code (RFC 8628 §3.1); may contain `{tenant}`.
    pub device_url: Option<String>,
    /// Token endpoint; it may contain `{tenant}`.
    pub token_url: String,
    /// How a token is presented to the mail service.
    pub mechanism: Mechanism,
    /// Trusted in addition to the public roots, upstream and for the token endpoint.
    pub ca: Vec<CertificateDer<'static>>,
    /// Proxy for mail and token requests; `None`: they connect directly.
    pub egress: Option<Egress>,
    /// Which addresses of a name are dialled.
    pub ip: IpPreference,
    /// Limits of what one mailbox may use of submission.
    pub smtp_limits: Option<SmtpLimits>,
    /// Least lifetime that a token must have left to be given to a new session, unless its whole
    /// lifetime is under twice that.
    pub token_margin: Duration,
    /// Whether an old refresh token stays good when it was redeemed.
    pub refresh_tokens: RefreshTokens,
    /// Default scopes by grant and protocol.
    pub scopes: Scopes,
    /// Parameters of the authorization request that the service requires for a refresh token.
    pub consent_parameters: Vec<(String, String)>,
    /// Capabilities that a listener shows before any were learned from the upstream.
    pub capabilities: PresetCapabilities,
}

/// `providers.*.refresh_tokens` (RFC 6749 §6): decides what several relays do while their store is
/// away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshTokens {
    /// An old one stays good.
    Reusable,
    /// A second redemption is refused, or ends the consent.
    OneUse,
}

/// Scopes that are requested where a registration does not say (RFC 6749 §3.3).
#[derive(Debug, Clone, Default)]
pub struct Scopes {
    /// Scopes of an application's own tokens, as in `https://outlook.office365.com/.default`.
    pub application: Vec<String>,
    /// Scopes of tokens that act for a person, over IMAP.
    pub imap: Vec<String>,
    /// Scopes of such tokens over POP3.
    pub pop3: Vec<String>,
    /// Scopes of such tokens over SMTP.
    pub smtp: Vec<String>,
    /// Asked for besides, so that a refresh token comes.
    pub offline: Vec<String>,
}

/// `providers.*.egress`: the proxy that everything towards the provider goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Egress {
    /// Protocol that the proxy speaks.
    pub kind: EgressKind,
    /// Host name or address of the proxy.
    pub host: String,
    /// TCP port of the proxy, 1 or more.
    pub port: u16,
    /// User name and password, if it requires them.
    pub credentials: Option<(String, Secret)>,
}

/// Protocol of an egress proxy, from the scheme of `providers.*.egress.url`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EgressKind {
    /// `http://`: CONNECT (RFC 9110 §9.3.6).
    Connect,
    /// `socks5://`: RFC 1928, names resolved by the proxy.
    Socks5,
}

impl Provider {
    /// Whether it is Microsoft's High Volume Email, which has permissions and answers of its own.
    pub fn is_high_volume(&self) -> bool {
        const HOSTS: [&str; 2] = ["smtp.hve.mx.microsoft", "smtp-hve.office365.com"];
        let host = self.smtp.as_ref().map(|endpoint| endpoint.host.as_str());
        self.name == "microsoft365-hve" || host.is_some_and(|host| HOSTS.contains(&host))
    }

    /// Where it is, by protocols that it has.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        [&self.imap, &self.pop3, &self.smtp].into_iter().flatten()
    }

    /// Where `protocol` is spoken, if this provider has it.
    pub fn endpoint(&self, protocol: Protocol) -> Option<&Endpoint> {
        match protocol {
            Protocol::Imap => self.imap.as_ref(),
            Protocol::Pop3 => self.pop3.as_ref(),
            Protocol::Smtp => self.smtp.as_ref(),
        }
    }
}

/// Capabilities as the upstream itself would list them after TLS and before login, one entry an
/// IMAP atom, a CAPA line or an EHLO line (without `250-`).
#[derive(Debug, Clone, Default)]
pub struct PresetCapabilities {
    /// IMAP capabilities, each one atom.
    pub imap: Vec<String>,
    /// POP3 capabilities, each one line of CAPA.
    pub pop3: Vec<String>,
    /// SMTP extensions, each one line of EHLO; the greeting is not among them.
    pub smtp: Vec<String>,
}

impl PresetCapabilities {
    /// Capabilities for one protocol, in order.
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
    /// Name (or address) that is dialled and that the certificate must bear.
    pub host: String,
    /// TCP port of the endpoint.
    pub port: u16,
    /// How TLS begins; there is no cleartext.
    pub tls: UpstreamTls,
}

/// Way in which TLS begins upstream, from `providers.*.{imap,pop3,smtp}.tls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamTls {
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS or STLS, without which no login is sent.
    StartTls,
}

/// Address families that are used, from `providers.*.ip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpPreference {
    /// Both families, as RFC 8305 describes.
    Any,
    /// IPv4 only, whatever names resolve to.
    V4,
    /// IPv6 only, whatever names resolve to.
    V6,
}

impl IpPreference {
    /// Whether `address` may be dialled.
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
    /// Largest number of sessions at once.
    pub connections: usize,
    /// Largest number of messages in any minute.
    pub messages_per_minute: usize,
    /// Time for which a client waits for its turn.
    pub wait: Duration,
}

impl SmtpLimits {
    /// Exchange Online's, published for every mailbox.
    pub const EXCHANGE: Self = Self {
        connections: 3,
        messages_per_minute: 30,
        wait: Duration::from_secs(25),
    };
}
