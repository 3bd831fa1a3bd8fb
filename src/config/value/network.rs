//! Values: networks, addresses, hosts and URLs.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use url::{Host, Url};

use super::super::field::Field;
use super::super::key::Value;
use super::super::kind::Kind;
use super::super::provider::UpstreamTls;

/// Reads a network or a single address.
impl Value for IpNet {
    const NONE: &'static str = "allows no network; name networks or remove the key";

    fn read(field: &Field) -> Option<Self> {
        let text = field.text()?;
        let address = || text.parse::<IpAddr>().map(Self::from).ok();
        let Some(network) = text.parse::<Self>().ok().or_else(address) else {
            return field.reject("must be an address or a network, as in 10.1.0.0/16 or ::1");
        };
        let network = network.trunc();
        match mapped(network) {
            Some(v4) => {
                field.warn(format_args!(
                    "is an IPv4 network in IPv6's form, and read as {v4}: write that"
                ));
                Some(v4)
            }
            None => Some(network),
        }
    }

    fn kind() -> Kind {
        Kind::text("network")
    }
}

/// Converts a network in `::ffff:0:0/96` (RFC 4291 §2.5.5.2) to IPv4, since clients have IPv4
/// addresses.
fn mapped(network: IpNet) -> Option<IpNet> {
    let IpNet::V6(v6) = network else {
        return None;
    };
    let prefix = v6.prefix_len().checked_sub(96)?;
    let address = v6.network().to_ipv4_mapped()?;
    Ipv4Net::new(address, prefix).ok().map(IpNet::from)
}

/// Reads an address and port.
impl Value for SocketAddr {
    fn read(field: &Field) -> Option<Self> {
        let text = field.word()?;
        if let Ok(address) = text.parse() {
            return Some(address);
        }
        match text.rsplit_once(':') {
            Some(("localhost", port)) => field.reject(format_args!(
                "requires an address, not a name: write 127.0.0.1:{port} or \"[::1]:{port}\""
            )),
            Some(("" | "*", port)) => field.reject(format_args!(
                "requires an address: write 0.0.0.0:{port} for all of IPv4"
            )),
            _ => field
                .reject("must be an address and a port, as in 127.0.0.1:1143 or \"[::1]:1143\""),
        }
    }

    fn kind() -> Kind {
        Kind::text("address and port")
    }
}

/// Host and port as `host:port`; an IPv6 address in brackets.
#[derive(Debug, Clone)]
pub(in crate::config) struct HostPort(pub(in crate::config) String, pub(in crate::config) u16);

impl Value for HostPort {
    fn read(field: &Field) -> Option<Self> {
        let text = field.word()?;
        let parts = text.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
            let host = match host.strip_prefix('[') {
                Some(inner) => inner.strip_suffix(']')?,
                None if host.contains(':') => return None,
                None => host,
            };
            (!host.is_empty() && !host.contains(char::is_whitespace))
                .then(|| Self(host.to_owned(), port))
        });
        match parts {
            Some(parts) => Some(parts),
            None => field
                .reject("must be a host and a port, as in 127.0.0.1:6514 or logs.example.com:6514"),
        }
    }

    fn kind() -> Kind {
        Kind::text("host and port")
    }
}

/// A host name or an address.
#[derive(Debug, Clone)]
pub(in crate::config) struct HostName(pub(in crate::config) String);

impl Value for HostName {
    fn read(field: &Field) -> Option<Self> {
        let host = field.word()?;
        if rustls_pki_types::ServerName::try_from(host).is_err() {
            return field
                .reject("must be only a host name or an address, as in outlook.office365.com");
        }
        Some(Self(host.to_owned()))
    }

    fn kind() -> Kind {
        Kind::text("host")
    }
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

/// A URL without query, fragment and trailing slash.
#[derive(Debug, Clone)]
pub(in crate::config) struct BaseUrl(pub(in crate::config) Url);

impl Value for BaseUrl {
    fn read(field: &Field) -> Option<Self> {
        match Url::parse(field.word()?.trim_end_matches('/')) {
            Ok(url)
                if matches!(url.scheme(), "http" | "https")
                    && url.has_host()
                    && url.query().is_none()
                    && url.fragment().is_none()
                    && url.username().is_empty() =>
            {
                Some(Self(url))
            }
            _ => field
                .reject("must be a URL, as in https://relay.example.com or http://localhost:8025"),
        }
    }

    fn kind() -> Kind {
        Kind::text("URL")
    }
}

/// URL of an OAuth endpoint, which may contain `{tenant}`.
#[derive(Debug, Clone)]
pub(in crate::config) struct EndpointUrl(pub(in crate::config) String);

impl Value for EndpointUrl {
    fn read(field: &Field) -> Option<Self> {
        let text = field.word()?;
        match https(text, "tenant") {
            Ok(_) => Some(Self(text.to_owned())),
            Err(why) => field.reject(why),
        }
    }

    fn kind() -> Kind {
        Kind::text("URL")
    }
}

/// Parses the URL of a request, with `{tenant}` filled in: https, or http to a loopback address.
pub(in crate::config) fn https(template: &str, tenant: &str) -> Result<Url, &'static str> {
    let url = Url::parse(&template.replace("{tenant}", tenant))
        .map_err(|_| "is no URL; write https://host/path")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password");
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => return Err("is no URL; write https://host/path"),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        _ => Err("must begin with https:// (http:// is for loopback addresses only)"),
    }
}
