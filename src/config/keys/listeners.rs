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
        /// In logs
        pub(in crate::config) name: Key<Name>: "PROTOCOL-PORT",
        /// What is spoken there
        pub(in crate::config) protocol: Key<Protocol> => "imap, pop3 or smtp",
        /// Where, as in `127.0.0.1:1143`; `[::]` is every IPv6 address and no IPv4 one, which has a listener of its own (`0.0.0.0`)
        pub(in crate::config) bind: Key<SocketAddr> => "an address and port, as in 127.0.0.1:1143",
        /// Whose capabilities are shown before login. The mailbox's own provider decides where a session goes
        pub(in crate::config) provider: Key<String>: "the accounts', if they have one only",
        /// TLS towards clients. Changed files are taken over within 10 s, sessions go on
        pub(in crate::config) tls: Key<ListenerTlsKeys>: "`{mode: none}`",
        /// With `starttls`: no credentials before TLS
        pub(in crate::config) require_tls: bool = "true",
        /// Client networks. Others are closed without a byte
        pub(in crate::config) allow: Key<Vec<IpNet>>: "anyone",
        /// Must be true for a bind that is neither loopback nor TLS, and then requires `allow`
        pub(in crate::config) allow_cleartext: bool = "false",
        /// Networks of load balancers (HAProxy's `send-proxy`, `send-proxy-v2`). On such a listener no one else talks: a header of version 1 or 2 is required within 5 s and believed from these networks only, others are closed without a byte. It counts as not loopback; `allow`, limits, lockout and log have the announced client. A balancer's own connections (LOCAL, UNKNOWN: health checks) keep its address, which `allow` must have then
        pub(in crate::config) proxy_protocol: AnyNumber<IpNet> = "[]",
        /// SMTP: the login as which clients send that do not log in; see [Devices](#smtp-devices-policy-limits). Requires `allow`
        pub(in crate::config) unauthenticated: Key<String>: "no one",
    }
}

section! {
    /// `listeners[].tls`.
    pub(in crate::config) struct ListenerTlsKeys {
        /// How TLS begins
        pub(in crate::config) mode: Key<Mode> => "none, starttls or implicit",
        /// With `starttls` and `implicit`: chain in PEM, leaf first
        pub(in crate::config) certificate: Key<PathBuf>,
        /// With `starttls` and `implicit`: its private key in PEM
        pub(in crate::config) key: Key<PathBuf>,
        /// Authorities in PEM: clients must present a certificate of one of them
        pub(in crate::config) client_ca: Key<PathBuf>: "clients need none",
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
