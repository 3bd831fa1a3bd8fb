//! `providers.NAME`, and what presets have besides.

use std::time::Duration;

use super::super::key::{Key, section, words};
use crate::config::provider::{IpPreference, Mechanism, RefreshTokens, UpstreamTls};
use crate::config::value::certificates::Certificates;
use crate::config::value::{EndpointUrl, HostName};
use crate::secret::Secret;

/// No token of a mail service lives longer.
const DAY: Duration = Duration::from_secs(86_400);

section! {
    /// `providers.NAME`.
    pub(in crate::config) struct ProviderKeys {
        /// IMAP server
        pub(in crate::config) imap: Key<EndpointKeys>: "the preset's",
        /// POP3 server
        pub(in crate::config) pop3: Key<EndpointKeys>: "the preset's",
        /// SMTP submission server
        pub(in crate::config) smtp: Key<EndpointKeys>: "the preset's",
        /// Authorization endpoint, where people consent (RFC 6749 §3.1): https, or http to loopback; `{tenant}` is replaced
        pub(in crate::config) authorize_url: Key<EndpointUrl>: "the preset's",
        /// Device authorization endpoint (RFC 8628 §3.1)
        pub(in crate::config) device_url: Key<EndpointUrl>: "the preset's",
        /// Token endpoint (RFC 6749 §3.2); required for a provider that is no preset
        pub(in crate::config) token_url: Key<EndpointUrl>: "the preset's",
        /// SASL mechanism that presents the token to the mail service
        pub(in crate::config) mechanism: Option<Mechanism>: "the preset's, else `xoauth2`",
        /// PEM files of authorities that are trusted in addition to the public roots, for mail and token endpoint
        pub(in crate::config) ca: Key<Certificates>: "none",
        /// Proxy for mail connections and token requests
        pub(in crate::config) egress: Key<EgressKeys>: "none",
        /// Address family of outgoing connections
        pub(in crate::config) ip: Option<IpPreference>: "`any`",
        /// Limits of submission for one mailbox, over all listeners and logins
        pub(in crate::config) smtp_limits: Key<SmtpLimitKeys>: "the preset's, else none",
        /// Remaining lifetime below which a token is not given to a new session, unless its whole lifetime is less than twice that
        pub(in crate::config) token_margin: Option<Duration>[Duration::from_millis(1)..=DAY]: "5m (`microsoft365-hve`: 20m)",
        /// Whether a refresh token stays valid after it was redeemed. `one_use`: several relays redeem none while their [shared store](docs/several-relays.md) is unavailable
        pub(in crate::config) refresh_tokens: Option<RefreshTokens>: "the preset's (`fastmail`: `one_use`, the others: `reusable`), else `one_use`",
    }
}

words! { impl RefreshTokens { Reusable = "reusable", OneUse = "one_use", } }

section! {
    /// Where one protocol is.
    pub(in crate::config) struct EndpointKeys {
        /// Host name, which the certificate must contain
        pub(in crate::config) host: Key<HostName>: "the preset's",
        /// TCP port
        pub(in crate::config) port: Key<u16>[1..=u16::MAX]: "by protocol and `tls`",
        /// Start of TLS; a connection without TLS is not possible
        pub(in crate::config) tls: Key<UpstreamTls>: "`starttls` on 25, 110, 143 and 587, else `implicit`",
    }
}

section! {
    /// `providers.NAME.egress`.
    pub(in crate::config) struct EgressKeys {
        /// `http://HOST:PORT` (CONNECT) or `socks5://HOST:PORT`
        pub(in crate::config) url: String => "http://HOST:PORT or socks5://HOST:PORT",
        /// User name, if the proxy requires one
        pub(in crate::config) username: Option<String>,
        /// Password; together with `username`
        pub(in crate::config) password: Option<Secret>,
    }
}

section! {
    /// `providers.NAME.smtp_limits`.
    pub(in crate::config) struct SmtpLimitKeys {
        /// Most messages in flight at the same time
        pub(in crate::config) connections: Option<usize>[1..=10_000]: "3",
        /// Most messages that begin in any 60 s
        pub(in crate::config) messages_per_minute: Option<usize>[1..=100_000]: "30",
        /// Longest time that a message waits for these limits
        pub(in crate::config) wait: Option<Duration>: "25s",
    }
}

section! {
    /// What a preset has besides its keys under `providers`: no operator needs to change it.
    pub(in crate::config) struct PresetKeys {
        /// As under `providers`
        pub(in crate::config) provider: ProviderKeys => "the provider",
        /// Default scopes of application tokens
        pub(in crate::config) application: Option<Vec<String>>,
        /// Default scopes of tokens that act for a person, over IMAP
        pub(in crate::config) imap: Option<Vec<String>>,
        /// Over POP3
        pub(in crate::config) pop3: Option<Vec<String>>,
        /// Over SMTP
        pub(in crate::config) smtp: Option<Vec<String>>,
        /// Asked for besides, so that a refresh token comes
        pub(in crate::config) offline: Option<Vec<String>>,
        /// Parameters of the authorization request without which there is no refresh token
        pub(in crate::config) consent_parameters: Option<Vec<String>>,
        /// What listeners show before anything was learned
        pub(in crate::config) capabilities: CapabilityKeys => "the capabilities",
    }
}

section! {
    /// One line an entry, as the upstream lists them under TLS and before login.
    pub(in crate::config) struct CapabilityKeys {
        /// IMAP atoms
        pub(in crate::config) imap: Option<Vec<String>>,
        /// CAPA lines
        pub(in crate::config) pop3: Option<Vec<String>>,
        /// EHLO lines
        pub(in crate::config) smtp: Option<Vec<String>>,
    }
}
