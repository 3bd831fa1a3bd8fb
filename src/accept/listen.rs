//! Accepting clients: a connection first, then a permit, then a task of its own. Nothing of the
//! connection is read or waited for here, and a listener without clients holds nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::accept::admission::{SessionLimiter, SessionPermit};
use crate::outbound::keepalive;
use crate::platform::{self, share_port};

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 1024;

/// The pause after running out of descriptors or memory: without it the loop would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Listens on `address`; port 0 lets the system pick. `[::]` is every IPv6 address and no IPv4 one,
/// whatever the system's default is: each family has a listener of its own, as in nginx.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    listening(address, false)
}

/// Listens on `address` beside listeners of this process that overlap it and are about to go, as
/// 127.0.0.1:143 does 0.0.0.0:143. Should it fail they stay as they were.
pub fn bind_beside<'l>(
    address: SocketAddr,
    going: impl Iterator<Item = &'l TcpListener> + Clone,
) -> io::Result<std::net::TcpListener> {
    // Only while both are there: another process must not share the address by mistake.
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

/// No delay for small writes, and keepalive, for every connection that the socket accepts: they
/// inherit both (`tcp(7)`), which costs no system call.
pub fn set_socket_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    platform::set_keepalive(SockRef::from(socket), &keepalive())
}

/// Accepts until `stop`, handing each connection with its permit to `serve`, which must not block.
pub async fn accept(
    listener: Arc<TcpListener>,
    limiter: SessionLimiter,
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
                let permit = tokio::select! {
                    () = stop.cancelled() => match limiter.take().now_or_never() {
                        Some(permit) => permit,
                        None => return,
                    },
                    permit = limiter.take() => permit,
                };
                serve(tcp, canonical(peer), permit);
            }
            // The client gave up between knocking and being let in.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(
                    %error,
                    remedy = "raise the limit of open files (LimitNOFILE, ulimit -n) to twice limits.sessions and some",
                    "cannot accept clients for now"
                );
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(ACCEPT_RETRY) => {}
                }
            }
        }
    }
}

/// Serves the clients that the kernel has let in already: closing the listener would reset them,
/// although they may be meant for the one that takes its place.
fn accept_rest(
    listener: &TcpListener,
    limiter: &SessionLimiter,
    serve: impl Fn(TcpStream, SocketAddr, SessionPermit),
) {
    // The kernel is asked itself: the runtime may not have heard of them.
    while let Ok((socket, peer)) = SockRef::from(listener).accept()
        && let Some(peer) = peer.as_socket()
        && socket.set_nonblocking(true).is_ok()
        && let Ok(tcp) = TcpStream::from_std(socket.into())
        && let Some(permit) = limiter.take().now_or_never()
    {
        serve(tcp, canonical(peer), permit);
    }
}

/// A dual-stack socket's IPv4 clients are IPv4 clients.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
