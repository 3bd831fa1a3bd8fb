//! Options of the sockets that authrelay opens.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::platform;

/// Keepalive settings that detect a dead peer after about two minutes of silence.
pub fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}

/// Sets TCP_NODELAY and [`keepalive`].
pub(super) fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    platform::set_keepalive(SockRef::from(tcp), &keepalive())
}
