//! Connections to the token endpoint: TCP and TLS, before HTTP begins.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::sandbox::stream::Socket;
use crate::sandbox::{Fault, Shared, bind};

/// Accepts connections until `stop`, and sends them on once their TLS handshake is done, which takes a task each.
pub(super) fn listen(
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
    sender: &mpsc::Sender<Connection>,
    tls: bool,
) -> io::Result<SocketAddr> {
    let listener = bind()?;
    let address = listener.local_addr()?;
    let (shared, stop, sender) = (shared.clone(), stop.clone(), sender.clone());
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((tcp, _)) = accepted else { continue };
            shared.log.note(|seen| seen.token_connections += 1);
            if shared.fault() == Some(Fault::TokenUnreachable) {
                continue;
            }
            let (shared, sender) = (shared.clone(), sender.clone());
            let end = stop.clone();
            tokio::spawn(async move {
                let Some(Ok(socket)) = end.run_until_cancelled(open(&shared, tcp, tls)).await
                else {
                    return;
                };
                let connection = Connection {
                    socket,
                    shared,
                    stopped: Box::pin(end.cancelled_owned()),
                };
                // Fails only once the server has stopped.
                let _ = sender.send(connection).await;
            });
        }
    });
    Ok(address)
}

async fn open(shared: &Shared, tcp: TcpStream, tls: bool) -> io::Result<Socket> {
    tcp.set_nodelay(true)?;
    if !tls {
        return Ok(Socket::Plain(tcp));
    }
    let accepted = shared.identities.acceptor(None).accept(tcp).await?;
    Ok(Socket::Tls(Box::new(accepted)))
}

/// Accepted connections, as a listener of axum.
pub(super) struct Accepted(pub mpsc::Receiver<Connection>, pub SocketAddr);

impl Listener for Accepted {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.0.recv().await {
            Some(connection) => (connection, self.1),
            None => match std::future::pending::<Infallible>().await {},
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.1)
    }
}

/// Connection that breaks at `token-unreachable`, and when the sandbox stops.
pub(super) struct Connection {
    socket: Socket,
    shared: Arc<Shared>,
    stopped: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let read = Pin::new(&mut this.socket).poll_read(cx, buffer);
        if read.is_ready() && this.shared.fault() == Some(Fault::TokenUnreachable) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
