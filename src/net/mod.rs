//! Sockets: accepting clients, whom load balancers announce, reaching upstreams, TLS on either side.

pub mod dial;
mod egress;
pub mod identity;
pub mod listen;
pub mod proxy_protocol;
pub mod tls;

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// No delay for small writes, and dead peers are found within about two minutes of silence.
fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}
