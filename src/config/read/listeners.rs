//! Reads `listeners`: addresses on which clients are served.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::field::{Field, either};
use super::super::key::Key;
use super::super::keys::{ListenerKeys, ListenerTlsKeys, Mode};
use super::super::pem;
use super::super::provider::Provider;
use super::super::sections::{Listener, ListenerTls};
use super::super::value::{AnyNumber, Each, Name};
use super::accounts::ReadAccounts;
use super::providers::Providers;
use super::unauthenticated::unauthenticated;
use crate::tls::{CertificateFiles, ServerCertificate};
use crate::wire::Protocol;

/// Provider whose capabilities are shown while there is no account.
const FIRST: &str = "microsoft365";

pub(super) fn listeners(
    keys: Key<Each<ListenerKeys>>,
    providers: &Providers,
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
        let mut others = listeners.iter();
        if let Some(other) = others.find(|other| collide(other.bind, listener.bind)) {
            field.problem(format_args!(
                "the listener {} is on the same address ({})",
                other.name, other.bind
            ));
        }
        listeners.push(Arc::new(listener));
    }
    listeners
}

fn listener(
    field: &Field,
    keys: ListenerKeys,
    providers: &Providers,
    accounts: &ReadAccounts,
) -> Option<Listener> {
    let protocol = keys.protocol.given().copied();
    let provider = match (keys.provider, protocol) {
        (Key::Given(name), _) => providers.named(&field.at("provider"), &name),
        (Key::Absent, Some(protocol)) => default_provider(field, protocol, providers, accounts),
        (Key::Absent | Key::Broken, _) => None,
    };
    let AnyNumber(proxy_protocol) = keys.proxy_protocol;
    if proxy_protocol
        .iter()
        .any(|network| network.prefix_len() == 0)
    {
        field.at("proxy_protocol").warn(
            "believes everybody who says where a client comes from: name the load balancers' own networks",
        );
    }
    let allow = keys.allow;
    let unauthenticated = match keys.unauthenticated.optional() {
        Some(Some(login)) => {
            let field = field.at("unauthenticated");
            unauthenticated(&field, &login, protocol, &allow, accounts).map(Some)
        }
        Some(None) => Some(None),
        None => None,
    };
    let tls = match keys.tls.optional()? {
        Some(keys) => listener_tls(&field.at("tls"), keys)?,
        None => ListenerTls::None,
    };
    let (protocol, bind) = (protocol?, keys.bind.required()?);
    let name = keys.name.optional()?;
    let listener = Listener {
        name: name.map_or_else(|| format!("{protocol}-{}", bind.port()), |Name(name)| name),
        protocol,
        bind,
        provider: provider?,
        tls,
        require_tls: keys.require_tls,
        allow: allow.optional()?,
        proxy_protocol,
        unauthenticated: unauthenticated?,
    };
    check_exposure(&field.at("bind"), &listener, keys.allow_cleartext);
    if listener.requires_client_certificate()
        && matches!(listener.tls, ListenerTls::StartTls(_))
        && !listener.require_tls
    {
        field.at("tls").problem("client_ca requires a certificate, which clients without TLS cannot present: remove require_tls: false");
    }
    Some(listener)
}

fn listener_tls(field: &Field, keys: ListenerTlsKeys) -> Option<ListenerTls> {
    match keys.mode.required()? {
        Mode::None => {
            for key in ["certificate", "key", "client_ca"] {
                if field.has_key(key) {
                    field
                        .at(key)
                        .problem("has no use with mode none; write mode starttls or implicit");
                }
            }
            Some(ListenerTls::None)
        }
        Mode::StartTls => {
            let identity = server_certificate(field, keys.certificate, keys.key, keys.client_ca);
            identity.map(ListenerTls::StartTls)
        }
        Mode::Implicit => {
            let identity = server_certificate(field, keys.certificate, keys.key, keys.client_ca);
            identity.map(ListenerTls::Implicit)
        }
    }
}

type Path = Key<std::path::PathBuf>;

fn server_certificate(
    field: &Field,
    certificate: Path,
    key: Path,
    client_ca: Path,
) -> Option<Arc<ServerCertificate>> {
    for (name, path, what) in [
        (
            "certificate",
            &certificate,
            "the path of a certificate chain in PEM; `authrelay certs` makes one",
        ),
        (
            "key",
            &key,
            "the path of the certificate's private key in PEM",
        ),
    ] {
        if path.is_absent() {
            field.missing(name, what);
        }
    }
    let files = CertificateFiles {
        certificate: certificate.required()?,
        key: key.required()?,
        client_ca: client_ca.optional()?,
    };
    pem::server_certificate(field, files).map(Arc::new)
}

/// Finds the provider whose capabilities a listener advertises by default: the only one that
/// accounts reach over its protocol.
fn default_provider(
    field: &Field,
    protocol: Protocol,
    presets: &Providers,
    accounts: &ReadAccounts,
) -> Option<Arc<Provider>> {
    if accounts.placed.is_empty() && !accounts.incomplete {
        return presets.known.get(FIRST).cloned();
    }
    let providers: BTreeMap<_, _> = accounts
        .placed
        .iter()
        .filter(|(_, account)| account.protocols.contain(protocol))
        .map(|(_, account)| &account.registration.provider)
        .filter(|provider| provider.endpoint(protocol).is_some())
        .map(|provider| (provider.name.as_str(), provider))
        .collect();
    let names: Vec<_> = providers.keys().copied().collect();
    match &providers.values().collect::<Vec<_>>()[..] {
        [only] => return Some(Arc::clone(only)),
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
fn check_exposure(field: &Field, listener: &Listener, cleartext: bool) {
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
    if !cleartext {
        field.problem(format_args!(
            "{why}, and passwords would cross the network in clear: set tls, or allow_cleartext: true with allow"
        ));
    } else if listener.allow.is_none() {
        field.problem(format_args!(
            "{why} and is without TLS: name the clients' networks in allow"
        ));
    }
}

/// Whether two addresses cannot both be bound.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |address: SocketAddr| address.ip().is_unspecified();
    a.port() != 0
        && a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || any(a) || any(b))
}
