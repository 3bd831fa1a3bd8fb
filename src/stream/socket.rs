//! Reads and writes a socket through a shared reference, which tokio's own functions do not allow.

use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::platform;

/// Interval for checking a socket on systems that do not report its errors.
const LOOK: Duration = Duration::from_secs(1);

/// Reads once; 0 octets mean the end.
pub(super) fn poll_read(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    room: &mut [u8],
) -> Poll<io::Result<usize>> {
    poll(tcp, cx, Interest::READABLE, room.len(), |mut socket| {
        socket.read(room)
    })
}

/// Writes once, as much as the socket accepts.
pub(super) fn poll_write(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    poll(tcp, cx, Interest::WRITABLE, bytes.len(), |mut socket| {
        socket.write(bytes)
    })
}

/// Performs `io`, which moves up to `size` octets. A shorter result means that the socket is empty
/// or full. Where the kernel reports only changes (epoll, kqueue), the next call then waits without
/// a system call.
fn poll(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    interest: Interest,
    size: usize,
    mut io: impl FnMut(&socket2::Socket) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(match interest.is_readable() {
            true => tcp.poll_read_ready(cx),
            false => tcp.poll_write_ready(cx),
        })?;
        let mut partial = None;
        let moved = tcp.try_io(interest, || {
            let moved = io(&SockRef::from(tcp))?;
            if platform::TELLS_OF_CHANGES_ONLY && (1..size).contains(&moved) {
                partial = Some(moved);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(moved)
        });
        match partial.map_or(moved, Ok) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

/// Waits for the connection to fail. Error readiness is separate: neither unread octets nor a FIN
/// set it.
pub(super) async fn reset(tcp: Arc<TcpStream>) -> io::Error {
    if !platform::TELLS_OF_ERRORS {
        return looked_for(&tcp).await;
    }
    match tcp.ready(Interest::ERROR).await {
        Ok(_) => match tcp.take_error() {
            Ok(Some(error)) | Err(error) => error,
            // The last write has already returned the error.
            Ok(None) => io::ErrorKind::ConnectionReset.into(),
        },
        Err(error) => error,
    }
}

/// Checks for a reset at intervals. A reset socket fails even with unread octets.
async fn looked_for(tcp: &TcpStream) -> io::Error {
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        let mut octet = [MaybeUninit::uninit()];
        match SockRef::from(tcp).peek(&mut octet) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return error,
            Ok(_) => {
                if let Ok(Some(error)) | Err(error) = tcp.take_error() {
                    return error;
                }
            }
        }
    }
}
