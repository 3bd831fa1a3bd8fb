//! Finds a client's address before a session begins, and checks it against the listener's `allow`.
//! A rejected connection is closed without sending a byte.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::proxy_protocol::{self, ProxyHeader, ReadError};
use crate::config::Listener;
use crate::fault_log::FaultLogLimiter;

const OUTSIDE: &str = "client outside the listener's allow list";

const UNANNOUNCED: &str = "not a load balancer's connection";

/// Returns the client's address: the peer's own, or the one announced by a load balancer. `None`:
/// close the connection.
pub async fn identify_client(
    listener: &Listener,
    fault_log: &FaultLogLimiter,
    tcp: &mut TcpStream,
    peer: SocketAddr,
    deadline: Instant,
) -> Option<SocketAddr> {
    let client = match read_proxy_header(listener, tcp, peer, deadline).await {
        Ok(client) => client,
        // A connection without data, as health checks make.
        Err(ReadError::Left) => {
            tracing::debug!(listener = listener.name, peer = %peer, "{UNANNOUNCED}");
            return None;
        }
        Err(why) => {
            if fault_log.allows_rejection(peer.ip(), UNANNOUNCED) {
                tracing::warn!(
                    listener = listener.name,
                    peer = %peer,
                    why = why.to_string(),
                    remedy = "let only load balancers connect here, with a PROXY header, from the networks in the listener's proxy_protocol",
                    "{UNANNOUNCED}"
                );
            }
            return None;
        }
    };
    let inside = |networks: &Vec<ipnet::IpNet>| {
        let contains = |network: &ipnet::IpNet| network.contains(&client.ip());
        networks.iter().any(contains)
    };
    if !listener.allow.as_ref().is_none_or(inside) {
        if fault_log.allows_rejection(client.ip(), OUTSIDE) {
            tracing::warn!(listener = listener.name, client = %client, "{OUTSIDE}");
        }
        return None;
    }
    Some(client)
}

async fn read_proxy_header(
    listener: &Listener,
    tcp: &mut TcpStream,
    peer: SocketAddr,
    deadline: Instant,
) -> Result<SocketAddr, ReadError> {
    if listener.proxy_protocol.is_empty() {
        return Ok(peer);
    }
    let contains = |network: &ipnet::IpNet| network.contains(&peer.ip());
    if !listener.proxy_protocol.iter().any(contains) {
        return Err(ReadError::Network);
    }
    Ok(match proxy_protocol::read(tcp, deadline).await? {
        ProxyHeader::Client(client) => client,
        ProxyHeader::Local => peer,
    })
}
