//! Accepts clients: first the connection, then a permit, then a task of its own. This module
//! neither reads from connections nor waits for their data. An idle listener holds no permit.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::FutureExt as _;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shortage;
use crate::accept::admission::{SessionLimiter, SessionPermit};
use crate::outbound::keepalive;
use crate::platform::{self, share_port};

/// Connections that the kernel queues while we are busy.
const BACKLOG: i32 = 1024;

/// Pause after running out of descriptors or memory, which keeps the loop from spinning.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Listens on `address`; port 0 lets the system choose one. `[::]` covers all IPv6 addresses and no
/// IPv4 address, whatever the system's default: each family has its own listener, as in nginx.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    listening(address, false)
}

/// Listens on `address` while overlapping listeners of this process, which are about to close,
/// still exist; 127.0.0.1:143 overlaps 0.0.0.0:143. On failure those listeners are unchanged.
pub fn bind_beside<'l>(
    address: SocketAddr,
    going: impl Iterator<Item = &'l std::net::TcpListener> + Clone,
) -> io::Result<std::net::TcpListener> {
    // Shared only during the bind: no other process must share the address by mistake.
    for listener in going.clone() {
        share_port(SockRef::from(listener), true)?;
    }
    let bound = listening(address, true);
    for listener in going {
        share_port(SockRef::from(listener), false)?;
    }
    let bound = bound?;
    share_port(SockRef::from(&bound), false)?;
    Ok(bound)
}

fn listening(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    platform::reuse_address(SockRef::from(&socket))?;
    share_port(SockRef::from(&socket), shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    set_socket_options(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sets TCP_NODELAY and keepalive. Accepted connections inherit both (`tcp(7)`), which saves system
/// calls.
pub fn set_socket_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    platform::set_keepalive(SockRef::from(socket), &keepalive())
}

/// Accepts until `stop` and passes each connection with its permit to `serve`, which must not
/// block. All listeners share `shortage`.
pub async fn accept(
    listener: TcpListener,
    limiter: SessionLimiter,
    shortage: Shortage,
    stop: CancellationToken,
    serve: impl Fn(TcpStream, SocketAddr, SessionPermit),
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return accept_rest(&listener, &limiter, serve),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                if shortage.on_accepted(Instant::now()) {
                    tracing::info!("clients are accepted again");
                }
                let permit = tokio::select! {
                    () = stop.cancelled() => match limiter.take().now_or_never() {
                        Some(permit) => permit,
                        None => return,
                    },
                    permit = limiter.take() => permit,
                };
                serve(tcp, canonical(peer), permit);
            }
            // The client disconnected before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if shortage.on_failure(Instant::now()) {
                    tracing::warn!(
                        %error,
                        remedy = "raise the limit of open files (LimitNOFILE, ulimit -n) to twice limits.sessions and some",
                        "cannot accept clients for now"
                    );
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(ACCEPT_RETRY) => {}
                }
            }
        }
    }
}

/// Serves clients that the kernel has already accepted. Closing the listener would reset them,
/// although they may be meant for its successor.
fn accept_rest(
    listener: &TcpListener,
    limiter: &SessionLimiter,
    serve: impl Fn(TcpStream, SocketAddr, SessionPermit),
) {
    // Asks the kernel directly, since the runtime may not have been notified of them. At most as many
    // as its queue holds: clients that keep connecting must not hold up the end.
    for _ in 0..BACKLOG {
        if let Ok((socket, peer)) = SockRef::from(listener).accept()
            && let Some(peer) = peer.as_socket()
            && socket.set_nonblocking(true).is_ok()
            && let Ok(tcp) = TcpStream::from_std(socket.into())
            && let Some(permit) = limiter.take().now_or_never()
        {
            serve(tcp, canonical(peer), permit);
        } else {
            return;
        }
    }
}

/// Maps an IPv4-mapped address of a dual-stack socket to IPv4.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
