//! Connections to a provider's endpoints, direct or through its egress proxy: HTTP CONNECT or
//! SOCKS5, with or without credentials.
//!
//! The proxy's reply is read octet by octet: mail services speak first, so not one octet after the
//! reply may be consumed.

use base64::Engine as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

use super::connect::direct;
use crate::config::{Egress, EgressKind, Endpoint, IpPreference, Provider, UpstreamTls};
use crate::fault::{Fault, Kind};

/// Longest reply of a proxy, in octets.
const HEAD_CAP: usize = 16 * 1024;

const REMEDY: &str =
    "check the provider's egress: its url, its username and password, and what the proxy allows";

/// Connects to the endpoint through the provider's egress proxy, or directly if there is none. The
/// caller sets the deadline.
///
/// # Errors
///
/// Always [`Kind::Unreachable`].
pub async fn dial(provider: &Provider, endpoint: &Endpoint) -> Result<TcpStream, Fault> {
    match &provider.egress {
        Some(egress) => connect_via(egress, endpoint).await,
        None => direct(endpoint, provider.ip).await,
    }
}

/// Connects to the endpoint through the proxy, which resolves its name.
pub(super) async fn connect_via(egress: &Egress, endpoint: &Endpoint) -> Result<TcpStream, Fault> {
    let proxy = Endpoint {
        host: egress.host.clone(),
        port: egress.port,
        tls: UpstreamTls::Implicit,
    };
    // The provider's `ip` does not apply to the proxy itself.
    let tcp = direct(&proxy, IpPreference::Any).await?;
    match egress.kind {
        EgressKind::Connect => by_connect(tcp, egress, endpoint).await,
        EgressKind::Socks5 => by_socks(tcp, egress, endpoint).await,
    }
}

/// Requests a tunnel from an HTTP proxy: CONNECT (RFC 9110 §9.3.6).
async fn by_connect(
    mut tcp: TcpStream,
    egress: &Egress,
    endpoint: &Endpoint,
) -> Result<TcpStream, Fault> {
    let target = authority(endpoint);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some((username, password)) = &egress.credentials {
        let pair = format!("{username}:{}", password.expose());
        let pair = base64::engine::general_purpose::STANDARD.encode(pair);
        request.push_str(&format!("Proxy-Authorization: Basic {pair}\r\n"));
    }
    request.push_str("\r\n");
    let broke = |error: std::io::Error| fault(egress, &format!("broke off: {error}"));
    tcp.write_all(request.as_bytes()).await.map_err(broke)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_CAP {
            return Err(fault(egress, "does not answer like an HTTP proxy"));
        }
        head.push(tcp.read_u8().await.map_err(broke)?);
    }
    let line = head
        .split(|octet| *octet == b'\r')
        .next()
        .unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    match status {
        Some(status) if status.starts_with('2') => Ok(tcp),
        // tinyproxy replies 401 to wrong credentials.
        Some("407" | "401") => Err(fault(
            egress,
            &format!("requires other credentials: {line}"),
        )),
        _ => Err(fault(
            egress,
            &format!("does not let us connect to {target}: {line}"),
        )),
    }
}

/// Connects by SOCKS5 (RFC 1928, RFC 1929); the proxy resolves the name.
async fn by_socks(
    tcp: TcpStream,
    egress: &Egress,
    endpoint: &Endpoint,
) -> Result<TcpStream, Fault> {
    let target = (endpoint.host.as_str(), endpoint.port);
    let connected = match &egress.credentials {
        None => Socks5Stream::connect_with_socket(tcp, target).await,
        Some((username, password)) => {
            Socks5Stream::connect_with_password_and_socket(tcp, target, username, password.expose())
                .await
        }
    };
    connected.map(Socks5Stream::into_inner).map_err(|error| {
        fault(
            egress,
            &format!(
                "does not let us connect to {}: {error}",
                authority(endpoint)
            ),
        )
    })
}

fn authority(endpoint: &Endpoint) -> String {
    match endpoint.host.parse::<std::net::Ipv6Addr>() {
        Ok(ip) => format!("[{ip}]:{}", endpoint.port),
        Err(_) => format!("{}:{}", endpoint.host, endpoint.port),
    }
}

fn fault(egress: &Egress, what: &str) -> Fault {
    let detail = format!("the egress proxy {}:{} {what}", egress.host, egress.port);
    Fault::new(Kind::Unreachable, detail).with_remedy(REMEDY)
}
