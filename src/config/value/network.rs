//! Values: networks, addresses, hosts and URLs.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};
use url::{Host, Url};

use super::super::field::Field;
use super::super::key::{Form, Text, Value};
use super::super::kind::Kind;

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

impl Text for SocketAddr {
    const KIND: &'static str = "address and port";

    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        text.parse().map_err(|_| match text.rsplit_once(':') {
            Some(("localhost", port)) => format!(
                "requires an address, not a name: write 127.0.0.1:{port} or \"[::1]:{port}\""
            )
            .into(),
            Some(("" | "*", port)) => {
                format!("requires an address: write 0.0.0.0:{port} for all of IPv4").into()
            }
            _ => "must be an address and a port, as in 127.0.0.1:1143 or \"[::1]:1143\"".into(),
        })
    }
}

/// Host and port as `host:port`; an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Host name or address.
    pub host: String,
    /// TCP or UDP port, 1 or more.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl HostPort {
    /// Parses `HOST:PORT`, or only `HOST` if there is a default port. An IPv6 address stands in
    /// brackets.
    pub(in crate::config) fn from_text(text: &str, default: Option<u16>) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port {
            "" | ":" => default,
            port => port.strip_prefix(':')?.parse().ok(),
        };
        let is_host = !host.is_empty() && !host.contains(char::is_whitespace);
        let port = port.filter(|port| is_host && *port > 0)?;
        let host = host.to_owned();
        Some(Self { host, port })
    }

    /// Whether the host is `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.is_loopback())
    }
}

impl Text for HostPort {
    const KIND: &'static str = "host and port";

    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        Self::from_text(text, None).ok_or_else(|| {
            "must be a host and a port, as in 127.0.0.1:6514 or logs.example.com:6514".into()
        })
    }
}

/// A host name or an address.
pub(in crate::config) const HOST_NAME: Form<String> = Form {
    kind: "host",
    parse: |text| match rustls_pki_types::ServerName::try_from(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("must be only a host name or an address, as in outlook.office365.com".into()),
    },
};

/// A URL without query, fragment and trailing slash.
pub(in crate::config) const BASE_URL: Form<Url> = Form {
    kind: "URL",
    parse: |text| {
        let is_base = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
        };
        let url = Url::parse(text.trim_end_matches('/')).ok();
        let form = "must be a URL, as in https://relay.example.com or http://localhost:8025";
        url.filter(is_base).ok_or(form.into())
    },
};

/// URL of an OAuth endpoint, which may contain `{tenant}`.
pub(in crate::config) const ENDPOINT_URL: Form<String> = Form {
    kind: "URL",
    parse: |text| {
        https(text, "tenant")?;
        Ok(text.to_owned())
    },
};

/// URL of a request: https, or http to loopback.
impl Text for Url {
    const KIND: &'static str = "text";

    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        Ok(https(text, "")?)
    }
}

/// Parses the URL of a request, with `{tenant}` filled in: https, or http to a loopback address.
pub(in crate::config) fn https(template: &str, tenant: &str) -> Result<Url, &'static str> {
    let url = Url::parse(&template.replace("{tenant}", tenant))
        .map_err(|_| "is not a URL; write https://host/path")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not contain a user name or password");
    }
    match url.scheme() {
        _ if !url.has_host() => Err("is not a URL; write https://host/path"),
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err("must begin with https:// (http:// is for loopback addresses only)"),
    }
}

/// Whether the URL's host is `localhost` or a loopback address, to which http is allowed.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
