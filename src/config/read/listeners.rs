//! `listeners`: addresses on which clients are served.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::super::field::{Field, Section, either, is_name};
use super::super::{Identity, Listener, ListenerTls, Provider};
use super::Reader;
use super::accounts::Accounts;
use super::providers::Providers;
use super::smtp::unauthenticated;
use crate::wire::Protocol;

/// `listeners[].tls.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    None,
    StartTls,
    Implicit,
}

impl Reader<'_> {
    pub(super) fn listeners(
        &self,
        field: Option<Field<'_>>,
        providers: &Providers,
        accounts: &Accounts<'_>,
    ) -> Vec<Arc<Listener>> {
        let Some(field) = field else {
            return Vec::new();
        };
        let items = field.list();
        if items.is_empty() {
            field.problem("must have at least one listener");
        }
        let mut names = HashMap::new();
        let mut listeners: Vec<Arc<Listener>> = Vec::new();
        for item in items {
            let Some(listener) = self.listener(&item, providers, accounts) else {
                continue;
            };
            if names.insert(listener.name.clone(), ()).is_some() {
                item.problem(format_args!(
                    "another listener is named {}; give this one a name of its own",
                    listener.name
                ));
            }
            if let Some(other) = listeners
                .iter()
                .find(|other| collide(other.bind, listener.bind))
            {
                item.problem(format_args!(
                    "the listener {} is on the same address ({})",
                    other.name, other.bind
                ));
            }
            listeners.push(Arc::new(listener));
        }
        listeners
    }

    fn listener(
        &self,
        field: &Field<'_>,
        providers: &Providers,
        accounts: &Accounts<'_>,
    ) -> Option<Listener> {
        let mut section = field.section()?;
        let name = section.take("name").map(|field| name(&field));
        let protocol = section
            .require("protocol", "imap, pop3 or smtp")
            .and_then(|field| {
                field.one_of(&Protocol::ALL.map(|protocol| (protocol.name(), protocol)))
            });
        let bind_field = section.require("bind", "an address and port, as in 127.0.0.1:1143");
        let bind = bind_field.as_ref().and_then(bind);
        let provider = match (section.take("provider"), protocol) {
            (Some(field), _) => providers.named(&field),
            (None, Some(protocol)) => usual_provider(protocol, accounts, &mut section),
            (None, None) => None,
        };
        let tls_field = section.take("tls");
        let tls = self.listener_tls(tls_field.clone());
        let require_tls = section
            .take("require_tls")
            .map_or(Some(true), |field| field.boolean());
        let allow = section.take("allow").map(|field| {
            let networks = field.networks();
            if networks.is_empty() {
                field.problem("lets nobody in; name networks or remove the key");
            }
            networks
        });
        let cleartext = section
            .take("allow_cleartext")
            .map_or(Some(false), |field| field.boolean());
        let open = section
            .take("unauthenticated")
            .map(|field| unauthenticated(&field, protocol, allow.as_ref(), accounts));
        let proxy_protocol = section
            .take("proxy_protocol")
            .map(|field| self.balancers(&field))
            .unwrap_or_default();
        section.finish();
        let (bind, tls, require_tls, cleartext) = (bind?, tls?, require_tls?, cleartext?);
        let protocol = protocol?;
        let name = match name {
            Some(name) => name?,
            None => format!("{protocol}-{}", bind.port()),
        };
        let listener = Listener {
            name,
            protocol,
            bind,
            provider: provider?,
            tls,
            require_tls,
            allow,
            proxy_protocol,
            unauthenticated: match open {
                Some(open) => Some(open?),
                None => None,
            },
        };
        if let Some(field) = &bind_field {
            check_exposure(field, &listener, cleartext);
        }
        if let Some(field) = &tls_field
            && listener.wants_certificate()
            && matches!(listener.tls, ListenerTls::StartTls(_))
            && !listener.require_tls
        {
            field.problem("client_ca wants a certificate, which clients in clear never show: remove require_tls: false");
        }
        Some(listener)
    }

    /// The networks whose word is taken for a client's address.
    fn balancers(&self, field: &Field<'_>) -> Vec<IpNet> {
        let networks = match field.list() {
            items if items.is_empty() => Vec::new(),
            _ => field.networks(),
        };
        if networks.iter().any(|network| network.prefix_len() == 0) {
            self.warn(
                field,
                "believes everybody who says where a client comes from: name the load balancers' own networks",
            );
        }
        networks
    }

    fn listener_tls(&self, field: Option<Field<'_>>) -> Option<ListenerTls> {
        let Some(field) = field else {
            return Some(ListenerTls::None);
        };
        let mut section = field.section()?;
        let mode = section
            .require("mode", "none, starttls or implicit")
            .and_then(|field| {
                field.one_of(&[
                    ("none", Mode::None),
                    ("starttls", Mode::StartTls),
                    ("implicit", Mode::Implicit),
                ])
            });
        let tls = match mode {
            None => {
                // Known keys all the same.
                section.take("certificate");
                section.take("key");
                section.take("client_ca");
                None
            }
            Some(Mode::None) => {
                for key in ["certificate", "key", "client_ca"] {
                    if let Some(field) = section.take(key) {
                        field.problem("has no use with mode none; write mode starttls or implicit");
                    }
                }
                Some(ListenerTls::None)
            }
            Some(Mode::StartTls) => self.certificate(&mut section).map(ListenerTls::StartTls),
            Some(Mode::Implicit) => self.certificate(&mut section).map(ListenerTls::Implicit),
        };
        section.finish();
        tls
    }

    fn certificate(&self, section: &mut Section<'_>) -> Option<Arc<Identity>> {
        let certificate = section.require(
            "certificate",
            "the path of a certificate chain in PEM; `authrelay certs` makes one",
        );
        let key = section.require("key", "the path of the certificate's private key in PEM");
        let client_ca = section.take("client_ca");
        let identity = self
            .sources
            .identity(&certificate?, &key?, client_ca.as_ref());
        identity.map(Arc::new)
    }
}

/// Whose capabilities a listener shows if it does not say: those of the only provider that
/// accounts reach by its protocol.
fn usual_provider(
    protocol: Protocol,
    accounts: &Accounts<'_>,
    section: &mut Section<'_>,
) -> Option<Arc<Provider>> {
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
        [only] => Some(Arc::clone(only)),
        // What is wrong with the accounts was said.
        [] if accounts.incomplete => None,
        [] => {
            let what = "whose capabilities to show: no account may be used by this protocol";
            section.require("provider", what).and(None)
        }
        _ => {
            let what = format!(
                "whose capabilities to show before login: {}",
                either(&names)
            );
            section.require("provider", what).and(None)
        }
    }
}

fn name(field: &Field<'_>) -> Option<String> {
    let name = field.word()?;
    match is_name(name) {
        true => Some(name.to_owned()),
        false => field.wrong("may have letters, digits, \".\", \"_\" and \"-\", at most 64"),
    }
}

/// An address and port.
pub(super) fn bind(field: &Field<'_>) -> Option<SocketAddr> {
    let text = field.word()?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    match text.rsplit_once(':') {
        Some(("localhost", port)) => field.wrong(format_args!(
            "wants an address, not a name: write 127.0.0.1:{port} or \"[::1]:{port}\""
        )),
        Some(("" | "*", port)) => field.wrong(format_args!(
            "wants an address: write 0.0.0.0:{port} for all of IPv4"
        )),
        _ => field.wrong("must be an address and a port, as in 127.0.0.1:1143 or \"[::1]:1143\""),
    }
}

/// Requirement 5: passwords cross a network in clear only where the file says so twice.
fn check_exposure(field: &Field<'_>, listener: &Listener, cleartext: bool) {
    let in_clear = match &listener.tls {
        ListenerTls::None => true,
        ListenerTls::StartTls(_) => !listener.require_tls,
        ListenerTls::Implicit(_) => false,
    };
    if listener.is_loopback() || !in_clear {
        return;
    }
    // A balancer on this machine passes on what comes from others.
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

/// Whether two addresses cannot both be had.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let any = |address: SocketAddr| address.ip().is_unspecified();
    a.port() != 0
        && a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || any(a) || any(b))
}
