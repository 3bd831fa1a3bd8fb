//! Reaching an upstream: its name is looked up at each dial, and every address of it is tried
//! (RFC 8305), a dead one costing a quarter of a second.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{egress, prepare};
use crate::config::{Endpoint, IpPreference, Provider};
use crate::fault::{Fault, Kind};

/// Before the next address is tried beside the last (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the endpoint: by the provider's egress proxy if it has one, else by whichever of
/// the endpoint's addresses answers first.
///
/// # Errors
///
/// Always [`Kind::Unreachable`].
pub async fn dial(provider: &Provider, endpoint: &Endpoint) -> Result<TcpStream, Fault> {
    match &provider.egress {
        Some(egress) => egress::through(egress, endpoint).await,
        None => connect(endpoint, resolve(endpoint, provider.ip).await?).await,
    }
}

/// The endpoint's addresses, in the order in which they are worth trying.
///
/// # Errors
///
/// Always [`Kind::Unreachable`].
pub async fn resolve(endpoint: &Endpoint, ip: IpPreference) -> Result<Vec<SocketAddr>, Fault> {
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await;
    let found: Vec<_> = match found {
        Ok(found) => found.filter(|address| ip.admits(address.ip())).collect(),
        Err(error) => {
            return Err(Fault::new(
                Kind::Unreachable,
                format!("cannot resolve {}: {error}", endpoint.host),
            )
            .remedy_is("check this host's DNS, and the provider's host for a typing error"));
        }
    };
    if found.is_empty() {
        return Err(Fault::new(
            Kind::Unreachable,
            format!(
                "{} has no address of the family that the provider's ip asks for",
                endpoint.host
            ),
        )
        .remedy_is("set the provider's ip to any"));
    }
    Ok(alternate(found))
}

/// Connects to one of the endpoint's addresses.
///
/// # Errors
///
/// Always [`Kind::Unreachable`].
pub async fn connect(endpoint: &Endpoint, addresses: Vec<SocketAddr>) -> Result<TcpStream, Fault> {
    race(addresses).await.map_err(|error| {
        Fault::new(
            Kind::Unreachable,
            format!(
                "cannot connect to {}:{}: {error}",
                endpoint.host, endpoint.port
            ),
        )
        .remedy_is("check that the firewall lets this host out to that port")
    })
}

/// The first address to answer; the error of the last if none does.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [only] = addresses[..] {
        let tcp = TcpStream::connect(only).await?;
        prepare(&tcp)?;
        return Ok(tcp);
    }
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    // The first needs no task of its own while it is alone, and mostly it is the last.
    if let Some(address) = waiting.next() {
        let mut first = Box::pin(TcpStream::connect(address));
        match tokio::time::timeout(STAGGER, &mut first).await {
            Ok(Ok(tcp)) => {
                prepare(&tcp)?;
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error,
            Err(_) => drop(attempts.spawn(first)),
        }
    }
    loop {
        let more = match waiting.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
                true
            }
            None => false,
        };
        let joined = if more {
            match tokio::time::timeout(STAGGER, attempts.join_next()).await {
                Ok(joined) => joined,
                // None of those under way has answered: one more beside them.
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match joined {
            Some(Ok(Ok(tcp))) => {
                prepare(&tcp)?;
                return Ok(tcp);
            }
            Some(Ok(Err(error))) => last = error,
            Some(Err(error)) => last = io::Error::other(error),
            None => return Err(last),
        }
    }
}

/// The resolver's order, families taking turns (RFC 8305 §4).
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut order = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns() {
        let order = alternate(
            ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]
                .map(address)
                .into(),
        );
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(address);
        assert_eq!(order, expected);
        assert!(alternate(Vec::new()).is_empty());
    }

    /// Requirement 31: an address that answers nothing (TEST-NET-1) is passed over.
    #[tokio::test]
    async fn dead_first_addresses_are_passed_over() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        // A port that nobody listens on refuses; the next address is tried at once.
        let closed = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let tcp = race(vec![closed, address("192.0.2.1:993"), alive])
            .await
            .unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), alive);
        let refused = race(vec![closed]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn faults_name_the_name() {
        let endpoint = |host: &str| Endpoint {
            host: host.into(),
            port: 993,
            tls: crate::config::UpstreamTls::Implicit,
        };
        let fault = resolve(&endpoint("no-such-host.invalid"), IpPreference::Any)
            .await
            .unwrap_err();
        assert_eq!(fault.kind(), Kind::Unreachable);
        assert!(
            fault
                .detail()
                .starts_with("cannot resolve no-such-host.invalid"),
            "{fault}"
        );
        let fault = resolve(&endpoint("127.0.0.1"), IpPreference::V6)
            .await
            .unwrap_err();
        assert!(
            fault.detail().contains("no address of the family"),
            "{fault}"
        );
    }
}
