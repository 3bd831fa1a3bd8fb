//! `listeners[]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::super::key::{Key, section, words};
use crate::config::value::{AnyNumber, Name};
use crate::wire::Protocol;

section! {
    /// `listeners[]`.
    pub(in crate::config) struct ListenerKeys {
        /// Name in logs and metrics
        pub(in crate::config) name: Key<Name>: "PROTOCOL-PORT",
        /// Protocol of the listener
        pub(in crate::config) protocol: Key<Protocol> => "imap, pop3 or smtp",
        /// Address and port, as in `127.0.0.1:1143`. `[::]` is every IPv6 address and no IPv4 address; IPv4 requires a second listener (`0.0.0.0`)
        pub(in crate::config) bind: Key<SocketAddr> => "an address and port, as in 127.0.0.1:1143",
        /// Provider whose capabilities are shown before the login. The account's provider decides to which mail service a session goes
        pub(in crate::config) provider: Key<String>: "the accounts', if they have one only",
        /// TLS towards clients. Changed certificate files are loaded within 10 s; open sessions continue
        pub(in crate::config) tls: Key<ListenerTlsKeys>: "`{mode: none}`",
        /// With `starttls`: whether credentials are refused before TLS
        pub(in crate::config) require_tls: bool = "true",
        /// Client networks. Connections from other networks are closed without an octet
        pub(in crate::config) allow: Key<Vec<IpNet>>: "all networks",
        /// Must be true for a `bind` that is not loopback and has no TLS; requires `allow`
        pub(in crate::config) allow_cleartext: bool = "false",
        /// Networks of load balancers (HAProxy: `send-proxy`, `send-proxy-v2`). A PROXY header of version 1 or 2 is required within 5 s and accepted from these networks only; other connections are closed without an octet. The listener counts as not loopback; `allow`, limits, lockout and log use the announced client address. A load balancer's own connections (LOCAL, UNKNOWN: health checks) keep its address, which `allow` must then include
        pub(in crate::config) proxy_protocol: AnyNumber<IpNet> = "[]",
        /// SMTP: login of the account for clients that do not log in; see [Devices](#smtp-devices-policy-limits). Requires `allow`
        pub(in crate::config) unauthenticated: Key<String>: "none",
    }
}

section! {
    /// `listeners[].tls`.
    pub(in crate::config) struct ListenerTlsKeys {
        /// Start of TLS
        pub(in crate::config) mode: Key<Mode> => "none, starttls or implicit",
        /// With `starttls` and `implicit`: certificate chain in PEM, leaf first
        pub(in crate::config) certificate: Key<PathBuf>,
        /// With `starttls` and `implicit`: private key in PEM
        pub(in crate::config) key: Key<PathBuf>,
        /// Authorities in PEM; each client must present a certificate that one of them issued
        pub(in crate::config) client_ca: Key<PathBuf>: "no client certificates",
    }
}

words! {
    /// Start of TLS with clients, from `listeners[].tls.mode`.
    pub(in crate::config) enum Mode {
        /// No TLS.
        None = "none",
        /// Cleartext that the client may upgrade.
        StartTls = "starttls",
        /// TLS from the first byte.
        Implicit = "implicit",
    }
}
