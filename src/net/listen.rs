//! Accepting clients: a seat first, then a connection, then a task of its own. Nothing of the
//! connection is read or waited for here.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::limits::{Seat, Seats};
use crate::outbound::keepalive;

/// Connections that the kernel keeps for us while we are busy.
const BACKLOG: i32 = 1024;

/// The pause after running out of descriptors or memory: without it the loop would spin.
const PAUSE: Duration = Duration::from_millis(100);

/// Listens on `address`; port 0 lets the system pick.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    prepare(&socket)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// No delay for small writes, and keepalive, for every connection that the socket accepts: they
/// inherit both (`tcp(7)`), which costs no system call.
pub fn prepare(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive())
}

/// Accepts until `stop`, handing each connection with its seat to `serve`, which must not block.
pub async fn accept(
    listener: TcpListener,
    seats: Seats,
    stop: CancellationToken,
    serve: impl Fn(TcpStream, SocketAddr, Seat),
) {
    loop {
        let next = async {
            let seat = seats.reserve().await;
            (seat, listener.accept().await)
        };
        let (seat, accepted) = tokio::select! {
            () = stop.cancelled() => return,
            next = next => next,
        };
        match accepted {
            Ok((tcp, peer)) => {
                // A dual-stack socket's IPv4 clients are IPv4 clients.
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                serve(tcp, peer, seats.seat(seat));
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
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        }
    }
}
