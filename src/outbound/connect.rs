//! Opens every outbound connection of authrelay. `names` resolves host names, and all addresses are
//! tried (RFC 8305): an unreachable one costs 250 ms.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::names;
use crate::config::{Endpoint, IpPreference};
use crate::fault::{Fault, Kind};
use crate::platform;

/// Delay before the next address is tried in parallel (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the endpoint's first address that answers.
///
/// # Errors
///
/// Always [`Kind::Unreachable`].
pub(super) async fn direct(endpoint: &Endpoint, ip: IpPreference) -> Result<TcpStream, Fault> {
    match tcp(&endpoint.host, endpoint.port, ip).await {
        Ok(tcp) => Ok(tcp),
        Err(NoConnection::Unresolved(error)) => Err(unresolved(endpoint, &error)),
        Err(NoConnection::OtherFamily) => Err(no_family(endpoint)),
        Err(NoConnection::Unanswered(error)) => Err(unconnected(endpoint, &error)),
    }
}

/// Connects to a host's first address that answers. The caller sets the deadline.
///
/// # Errors
///
/// Those of the resolver or of the last address.
pub async fn to_host(host: &str, port: u16) -> io::Result<TcpStream> {
    let connected = tcp(host, port, IpPreference::Any).await;
    connected.map_err(|error| match error {
        NoConnection::Unresolved(error) | NoConnection::Unanswered(error) => error,
        NoConnection::OtherFamily => io::ErrorKind::AddrNotAvailable.into(),
    })
}

/// Connects as [`to_host`] does, but resolves the name again: after a failover it may stand for
/// another server, while the one before still answers.
///
/// # Errors
///
/// Those of [`to_host`].
pub async fn to_host_uncached(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = names::resolve_uncached(host, port).await?;
    happy_eyeballs(interleave_families(addresses)).await
}

/// Resolves a name. The caller sets the deadline.
///
/// # Errors
///
/// Those of the resolver.
pub async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(names::look_up(host, port).await?.addresses)
}

/// Reason why there is no connection.
enum NoConnection {
    Unresolved(io::Error),
    OtherFamily,
    Unanswered(io::Error),
}

/// Tries cached addresses first. If none answers, resolves the name again and tries new addresses.
async fn tcp(host: &str, port: u16, ip: IpPreference) -> Result<TcpStream, NoConnection> {
    let found = names::look_up(host, port)
        .await
        .map_err(NoConnection::Unresolved)?;
    let order = worth_trying(found.addresses, ip);
    let mut error = NoConnection::OtherFamily;
    if !order.is_empty() {
        match happy_eyeballs(order.clone()).await {
            Ok(tcp) => {
                if let [first, _, ..] = &*order
                    && let Ok(works) = tcp.peer_addr()
                    && works.ip() != first.ip()
                {
                    names::prefer(host, works.ip());
                }
                return Ok(tcp);
            }
            Err(failed) => error = NoConnection::Unanswered(failed),
        }
    }
    if !found.kept {
        return Err(error);
    }
    let anew = names::resolve_uncached(host, port)
        .await
        .map_err(NoConnection::Unresolved)?;
    let anew = worth_trying(anew, ip);
    if anew.iter().all(|address| order.contains(address)) {
        return Err(error);
    }
    happy_eyeballs(anew).await.map_err(NoConnection::Unanswered)
}

fn worth_trying(mut addresses: Vec<SocketAddr>, ip: IpPreference) -> Vec<SocketAddr> {
    addresses.retain(|address| ip.admits(address.ip()));
    interleave_families(addresses)
}

/// Resolves the endpoint again, and returns its addresses in the order to try.
///
/// # Errors
///
/// Always [`Kind::Unreachable`].
pub async fn resolve(endpoint: &Endpoint, ip: IpPreference) -> Result<Vec<SocketAddr>, Fault> {
    let found = names::resolve_uncached(&endpoint.host, endpoint.port)
        .await
        .map_err(|error| unresolved(endpoint, &error))?;
    let order = worth_trying(found, ip);
    match order.is_empty() {
        true => Err(no_family(endpoint)),
        false => Ok(order),
    }
}

fn unresolved(endpoint: &Endpoint, error: &io::Error) -> Fault {
    let detail = format!("cannot resolve {}: {error}", endpoint.host);
    Fault::new(Kind::Unreachable, detail)
        .with_remedy("check this host's DNS, and the provider's host for a typing error")
}

fn no_family(endpoint: &Endpoint) -> Fault {
    let host = &endpoint.host;
    let detail = format!("{host} has no address of the family that the provider's ip asks for");
    Fault::new(Kind::Unreachable, detail).with_remedy("set the provider's ip to any")
}

fn unconnected(endpoint: &Endpoint, error: &io::Error) -> Fault {
    let (host, port) = (&endpoint.host, endpoint.port);
    let detail = format!("cannot connect to {host}:{port}: {error}");
    Fault::new(Kind::Unreachable, detail)
        .with_remedy("check that the firewall lets this host out to that port")
}

/// Connects to one of the endpoint's addresses.
///
/// # Errors
///
/// Always [`Kind::Unreachable`].
pub async fn connect(endpoint: &Endpoint, addresses: Vec<SocketAddr>) -> Result<TcpStream, Fault> {
    happy_eyeballs(addresses)
        .await
        .map_err(|error| unconnected(endpoint, &error))
}

/// Connects to the first address that answers. If none does, returns the last error.
async fn happy_eyeballs(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [only] = addresses[..] {
        return to_address(only).await;
    }
    let mut waiting = addresses.into_iter();
    let mut attempts = JoinSet::new();
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    // The first attempt runs without a task, since it is usually the only one.
    if let Some(address) = waiting.next() {
        let mut first = Box::pin(to_address(address));
        match tokio::time::timeout(STAGGER, &mut first).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = error,
            Err(_) => drop(attempts.spawn(first)),
        }
    }
    loop {
        let joined = match waiting.next() {
            Some(address) => {
                attempts.spawn(to_address(address));
                match tokio::time::timeout(STAGGER, attempts.join_next()).await {
                    Ok(joined) => joined,
                    // No attempt has succeeded yet: start one more.
                    Err(_) => continue,
                }
            }
            None => attempts.join_next().await,
        };
        match joined {
            Some(Ok(Ok(tcp))) => return Ok(tcp),
            Some(Ok(Err(error))) => last = error,
            Some(Err(error)) => last = io::Error::other(error),
            None => return Err(last),
        }
    }
}

/// Keepalive settings that detect a dead peer after about two minutes of silence.
pub fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}

/// Connects to an address, with TCP_NODELAY and [`keepalive`].
async fn to_address(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    platform::set_keepalive(SockRef::from(&tcp), &keepalive())?;
    Ok(tcp)
}

/// Alternates between address families, in the resolver's order (RFC 8305 §4).
fn interleave_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
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
        let order = interleave_families(
            ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]
                .map(address)
                .into(),
        );
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(address);
        assert_eq!(order, expected);
        assert!(interleave_families(Vec::new()).is_empty());
    }

    /// An address that does not answer (TEST-NET-1) is passed over.
    #[tokio::test]
    async fn dead_first_addresses_are_passed_over() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        // A port without listener refuses, and the next address is tried at once.
        let closed = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let tcp = happy_eyeballs(vec![closed, address("192.0.2.1:993"), alive])
            .await
            .unwrap();
        assert_eq!(tcp.peer_addr().unwrap(), alive);
        let refused = happy_eyeballs(vec![closed]).await.unwrap_err();
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
