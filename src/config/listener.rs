//! Reads `listeners`: addresses on which clients are served.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::account::{Account, Password, PasswordCheck};
use super::accounts::ReadAccounts;
use super::field::{Field, either};
use super::key::{Key, section, words};
use super::known::Known;
use super::pem;
use super::provider::Provider;
use super::value::{AnyNumber, Each, NAME};
use crate::tls::{CertificateFiles, ServerCertificate};
use crate::wire::Protocol;
use crate::wire::address::{Pattern, is_mailbox};

section! {
    /// Address on which one protocol is served, from `listeners[]`.
    pub struct Listener from ListenerKeys {
        /// Name in logs and metrics
        pub name: String[NAME]: "PROTOCOL-PORT",
        /// Protocol of the listener
        pub protocol: Protocol => "imap, pop3 or smtp",
        /// Address and port, as in `127.0.0.1:1143`. `[::]` is every IPv6 address and no IPv4 address; IPv4 requires a second listener (`0.0.0.0`)
        pub bind: SocketAddr => "an address and port, as in 127.0.0.1:1143",
        /// Provider whose capabilities are shown before the login. The account's provider decides to which mail service a session goes
        pub provider: Arc<Provider> as String: "the accounts', if they have one only",
        /// TLS towards clients. Changed certificate files are loaded within 10 s; open sessions continue
        pub tls: ListenerTls: "`{mode: none}`",
        /// With `starttls`: whether credentials are refused before TLS
        pub require_tls: bool = "true",
        /// Client networks. Connections from other networks are closed without an octet
        pub allow: Option<Vec<IpNet>>: "all networks",
        /// Must be true for a `bind` that is not loopback and has no TLS; requires `allow`
        pub allow_cleartext: bool = "false",
        /// Networks of load balancers (HAProxy: `send-proxy`, `send-proxy-v2`). A PROXY header of version 1 or 2 is required within 5 s and accepted from these networks only; other connections are closed without an octet. The listener counts as not loopback; `allow`, limits, lockout and log use the announced client address. A load balancer's own connections (LOCAL, UNKNOWN: health checks) keep its address, which `allow` must then include
        pub proxy_protocol: Vec<IpNet>[AnyNumber] = "[]",
        /// SMTP: login of the account for clients that do not log in; see [Devices](#smtp-devices-policy-limits). Requires `allow`
        pub unauthenticated: Option<Unauthenticated> as String: "none",
    }
}

impl Listener {
    /// Whether only local clients connect. Clients of a load balancer may come from anywhere.
    pub fn is_loopback(&self) -> bool {
        self.bind.ip().is_loopback() && self.proxy_protocol.is_empty()
    }

    /// Whether `password: any` is accepted: the bind is loopback, or there is an `allow` list.
    pub fn accepts_any_password(&self) -> bool {
        self.is_loopback() || self.allow.is_some()
    }

    /// Whether clients must present a certificate.
    pub fn requires_client_certificate(&self) -> bool {
        let identity = self.tls.certificate();
        identity.is_some_and(|identity| identity.client_ca.is_some())
    }
}

/// Account of devices that cannot log in, from `listeners[].unauthenticated`.
#[derive(Debug, Clone)]
pub struct Unauthenticated {
    /// Account whose mailbox sends for the clients.
    pub account: Arc<Account>,
    /// Login as configured, lower case.
    pub login: String,
}

section! {
    /// `listeners[].tls`.
    struct ListenerTlsKeys for ListenerTls {
        /// Start of TLS
        mode: Key<Mode> => "none, starttls or implicit",
        /// With `starttls` and `implicit`: certificate chain in PEM, leaf first
        certificate: Key<PathBuf>,
        /// With `starttls` and `implicit`: private key in PEM
        key: Key<PathBuf>,
        /// Authorities in PEM; each client must present a certificate that one of them issued
        client_ca: Key<PathBuf>: "no client certificates",
    }
}

words! {
    /// Start of TLS with clients, from `listeners[].tls.mode`.
    enum Mode {
        /// No TLS.
        None = "none",
        /// Cleartext that the client may upgrade.
        StartTls = "starttls",
        /// TLS from the first byte.
        Implicit = "implicit",
    }
}

/// TLS of a listener, from `listeners[].tls`.
#[derive(Debug, Clone)]
pub enum ListenerTls {
    /// No TLS.
    None,
    /// Cleartext that the client may upgrade with STARTTLS or STLS.
    StartTls(Arc<ServerCertificate>),
    /// TLS from the first byte.
    Implicit(Arc<ServerCertificate>),
}

impl ListenerTls {
    /// Certificate that the listener presents; `None` without TLS.
    pub fn certificate(&self) -> Option<&Arc<ServerCertificate>> {
        match self {
            Self::None => None,
            Self::StartTls(identity) | Self::Implicit(identity) => Some(identity),
        }
    }
}

impl ListenerTlsKeys {
    fn build(self, field: &Field) -> Option<ListenerTls> {
        let tls = match self.mode.clone().required()? {
            Mode::None => {
                for key in ["certificate", "key", "client_ca"] {
                    let what = "has no effect with mode none; write mode starttls or implicit";
                    field.reject_key(key, what);
                }
                return Some(ListenerTls::None);
            }
            Mode::StartTls => ListenerTls::StartTls,
            Mode::Implicit => ListenerTls::Implicit,
        };
        let what = "the path of a certificate chain in PEM; `authrelay certs` makes one";
        let certificate = self.certificate.needed(field, "certificate", what);
        let what = "the path of the certificate's private key in PEM";
        let key = self.key.needed(field, "key", what);
        let files = CertificateFiles {
            certificate: certificate?,
            key: key?,
            client_ca: self.client_ca.optional()?,
        };
        pem::server_certificate(field, files).map(tls)
    }
}

/// Provider whose capabilities are shown while there is no account.
const FIRST: &str = "microsoft365";

pub(super) fn listeners(
    keys: Key<Each<ListenerKeys>>,
    providers: &Known<Provider>,
    accounts: &ReadAccounts,
) -> Vec<Arc<Listener>> {
    let items = keys.required().map(|Each(items)| items).unwrap_or_default();
    let mut names = HashSet::new();
    let mut listeners: Vec<Arc<Listener>> = Vec::new();
    for (field, keys) in items {
        let Some(listener) = keys.and_then(|keys| listener(&field, keys, providers, accounts))
        else {
            continue;
        };
        if !names.insert(listener.name.clone()) {
            field.problem(format_args!(
                "another listener is named {}; give this one a name of its own",
                listener.name
            ));
        }
        check_address(&field, listener.bind, &listeners);
        listeners.push(Arc::new(listener));
    }
    listeners
}

/// Completes the keys of a listener, and checks them against each other and the accounts.
fn listener(
    field: &Field,
    mut keys: ListenerKeys,
    providers: &Known<Provider>,
    accounts: &ReadAccounts,
) -> Option<Listener> {
    let protocol = keys.protocol.given().copied();
    let provider = match (&keys.provider, protocol) {
        (Key::Given(name), _) => providers.named(&field.at("provider"), name),
        (Key::Absent, Some(protocol)) => default_provider(field, protocol, providers, accounts),
        (Key::Absent | Key::Broken, _) => None,
    };
    let mut networks = keys.proxy_protocol.given().into_iter().flatten();
    if networks.any(|network| network.prefix_len() == 0) {
        field
            .at("proxy_protocol")
            .warn("believes everybody who says where a client comes from: name the load balancers' own networks");
    }
    let unauthenticated = keys.unauthenticated.take().convert(|login| {
        let field = field.at("unauthenticated");
        unauthenticated(&field, &login, protocol, &keys.allow, accounts)
    });
    keys.tls.default_from(|| Some(ListenerTls::None));
    let bind = keys.bind.given().copied();
    keys.name
        .default_from(|| Some(format!("{}-{}", protocol?, bind?.port())));
    let listener = keys.finish(provider?, unauthenticated?)?;
    check_exposure(&field.at("bind"), &listener);
    if listener.requires_client_certificate()
        && matches!(listener.tls, ListenerTls::StartTls(_))
        && !listener.require_tls
    {
        field.at("tls").problem("client_ca requires a certificate, which clients without TLS cannot present: remove require_tls: false");
    }
    Some(listener)
}

/// Reads the account and checks its restrictions, without which a device would be an open relay.
fn unauthenticated(
    field: &Field,
    login: &str,
    protocol: Option<Protocol>,
    allow: &Key<Vec<IpNet>>,
    accounts: &ReadAccounts,
) -> Option<Unauthenticated> {
    if protocol.is_some_and(|protocol| protocol != Protocol::Smtp) {
        return field.reject("is for SMTP only: there is nothing to read without a login");
    }
    if allow.is_absent() {
        return field.reject(
            "requires allow: name the devices' networks, since clients prove nothing else here",
        );
    }
    let login = login.to_lowercase();
    let Some((place, account)) = accounts.covering(&login) else {
        return match accounts.incomplete {
            // The login may belong to an invalid account, which was reported.
            true => None,
            false => field.reject("no account has this login"),
        };
    };
    if !account.protocols.contains(&Protocol::Smtp) {
        return field.reject("names an account whose protocols do not include smtp");
    }
    if account.registration.grant.needs_client_password() {
        return field.reject(
            "names an account whose password the identity provider checks (grant password, or client_secret: {client: password}): no client presents one here",
        );
    }
    if account.login.is_wildcard() && !is_mailbox(&login) {
        return field.reject("must be a well-formed address that the account's login covers");
    }
    is_restricted(field, place, account).then(|| Unauthenticated {
        account: account.clone(),
        login,
    })
}

/// Whether the account at `place` restricts senders and recipients; reports what is missing.
fn is_restricted(field: &Field, place: &Field, account: &Account) -> bool {
    let policy = account.smtp.as_ref();
    let has_senders = policy.is_some_and(|policy| policy.senders.is_some());
    let line = field.place.0;
    let why = format!("since the listener lets devices send as it without a login (line {line})");
    if !has_senders {
        place.problem(format_args!("must have smtp.senders, {why}"));
    }
    match policy.and_then(|policy| policy.recipients.as_ref()) {
        None => place.problem(format_args!("must have smtp.recipients, {why}")),
        Some(recipients) if recipients.contains(&Pattern::Any) => place.problem(format_args!(
            "must not have \"*\" in smtp.recipients, {why}; name domains"
        )),
        Some(_) => return has_senders,
    }
    false
}

/// Finds the provider whose capabilities a listener advertises by default: the only one that
/// accounts reach over its protocol.
fn default_provider(
    field: &Field,
    protocol: Protocol,
    providers: &Known<Provider>,
    accounts: &ReadAccounts,
) -> Option<Arc<Provider>> {
    if accounts.placed.is_empty() && !accounts.incomplete {
        return providers.valid().remove(FIRST);
    }
    let accounts_served = accounts.placed.iter().map(|(_, account)| account);
    let reached: BTreeMap<_, _> = accounts_served
        .filter(|account| account.serves(protocol))
        .map(|account| &account.registration.provider)
        .map(|provider| (provider.name.as_str(), provider.clone()))
        .collect();
    let names: Vec<_> = reached.keys().copied().collect();
    match names[..] {
        [only] => return reached.get(only).cloned(),
        // The errors of the accounts were reported.
        [] if accounts.incomplete => {}
        [] => field.missing(
            "provider",
            "whose capabilities to show: no account may be used by this protocol",
        ),
        _ => field.missing(
            "provider",
            &format!(
                "whose capabilities to show before login: {}",
                either(&names)
            ),
        ),
    }
    None
}

/// Checks that passwords cross a network in clear only if the file allows it twice.
fn check_exposure(field: &Field, listener: &Listener) {
    let in_clear = match &listener.tls {
        ListenerTls::None => true,
        ListenerTls::StartTls(_) => !listener.require_tls,
        ListenerTls::Implicit(_) => false,
    };
    if listener.is_loopback() || !in_clear {
        return;
    }
    // A load balancer on this machine forwards remote clients.
    let why = match listener.bind.ip().is_loopback() {
        true => "serves the clients of a load balancer (proxy_protocol)",
        false => "is not loopback",
    };
    if !listener.allow_cleartext {
        field.problem(format_args!(
            "{why}, and passwords would cross the network in clear: set tls, or allow_cleartext: true with allow"
        ));
    } else if listener.allow.is_none() {
        field.problem(format_args!(
            "{why} and is without TLS: name the clients' networks in allow"
        ));
    }
}

/// Checks that no listener is on the same address.
pub(super) fn check_address(field: &Field, bind: SocketAddr, listeners: &[Arc<Listener>]) {
    if let Some(other) = listeners.iter().find(|other| collide(other.bind, bind)) {
        field.problem(format_args!(
            "the listener {} is on the same address ({})",
            other.name, other.bind
        ));
    }
}

/// Whether two addresses cannot both be bound.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |address: SocketAddr| address.ip().is_unspecified();
    a.port() != 0
        && a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || any(a) || any(b))
}

/// Checks that a password that requires a certificate is usable on a listener that requests client
/// certificates.
pub(super) fn check_certificates(accounts: &ReadAccounts, listeners: &[Arc<Listener>]) {
    for (field, account) in &accounts.placed {
        for (index, password) in account.passwords.iter().enumerate() {
            let usable = |listener: &&Arc<Listener>| {
                listener.requires_client_certificate()
                    && password.protocols.contains(&listener.protocol)
                    && account.protocols.contains(&listener.protocol)
            };
            if password.certificate.is_none() || listeners.iter().any(|one| usable(&one)) {
                continue;
            }
            field.problem(format_args!(
                "passwords[{index}] requires a certificate, and no listener of its protocols asks clients for one: set tls.client_ca there, or remove certificate"
            ));
        }
    }
}

/// Checks that `password: any` is not usable by everyone.
pub(super) fn check_any_password(accounts: &ReadAccounts, listeners: &[Arc<Listener>]) {
    let open: Vec<_> = listeners
        .iter()
        .filter(|listener| !listener.accepts_any_password())
        .map(|listener| listener.name.as_str())
        .collect();
    if open.is_empty() {
        return;
    }
    let any = |password: &Arc<Password>| matches!(password.password, PasswordCheck::Any);
    for (field, account) in &accounts.placed {
        if !account.passwords.is_empty()
            && account.passwords.iter().all(any)
            && open.len() == listeners.len()
        {
            field.problem(
                "`password: any` is accepted only on listeners whose bind is loopback or that have allow, and there is none",
            );
        } else if account.passwords.iter().any(any) {
            field.warn(format_args!(
                "`password: any` is not accepted on {}, which has neither a loopback bind nor allow",
                open.join(", ")
            ));
        }
    }
}
