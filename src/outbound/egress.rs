//! The proxy that leads out: HTTP CONNECT or SOCKS5, with credentials where it requires them.
//!
//! Mail services speak first: not one byte after the proxy's answer may be read here, so the
//! answer is read octet by octet.

use base64::Engine as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

use super::connect::direct;
use crate::config::{Egress, EgressKind, Endpoint, IpPreference, UpstreamTls};
use crate::fault::{Fault, Kind};

/// Octets of a proxy's answer.
const HEAD_CAP: usize = 16 * 1024;

const REMEDY: &str =
    "check the provider's egress: its url, its username and password, and what the proxy allows";

/// Connects to the endpoint by way of the proxy, which resolves its name.
pub(super) async fn connect_via(egress: &Egress, endpoint: &Endpoint) -> Result<TcpStream, Fault> {
    let proxy = Endpoint {
        host: egress.host.clone(),
        port: egress.port,
        tls: UpstreamTls::Implicit,
    };
    // The proxy is ours: which family it has is not the provider's `ip`.
    let tcp = direct(&proxy, IpPreference::Any).await?;
    match egress.kind {
        EgressKind::Connect => by_connect(tcp, egress, endpoint).await,
        EgressKind::Socks5 => by_socks(tcp, egress, endpoint).await,
    }
}

/// Asks an HTTP proxy for a tunnel: CONNECT, RFC 9110 §9.3.6.
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
        // tinyproxy's answer to wrong credentials is 401.
        Some("407" | "401") => Err(fault(egress, &format!("wants other credentials: {line}"))),
        _ => Err(fault(
            egress,
            &format!("does not let us to {target}: {line}"),
        )),
    }
}

/// RFC 1928, RFC 1929; the name goes to the proxy as it is.
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
            &format!("does not let us to {}: {error}", authority(endpoint)),
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
