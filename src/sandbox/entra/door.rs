//! The way in: TCP and TLS, before HTTP begins.

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

/// Handshakes happen here, each in its own task.
pub(super) fn door(
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
    sender: &mpsc::Sender<Guarded>,
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
                let guarded = Guarded {
                    socket,
                    shared,
                    gone: Box::pin(end.cancelled_owned()),
                };
                // Fails only once the server has stopped.
                let _ = sender.send(guarded).await;
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

/// Connections that have passed the door, as axum wants them.
pub(super) struct Arrivals(pub mpsc::Receiver<Guarded>, pub SocketAddr);

impl Listener for Arrivals {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guarded, SocketAddr) {
        match self.0.recv().await {
            Some(guarded) => (guarded, self.1),
            None => match std::future::pending::<Infallible>().await {},
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.1)
    }
}

/// A connection that breaks at `token-unreachable`, and when the sandbox stops.
pub(super) struct Guarded {
    socket: Socket,
    shared: Arc<Shared>,
    gone: Pin<Box<tokio_util::sync::WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Guarded {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.gone.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let read = Pin::new(&mut this.socket).poll_read(cx, buffer);
        if read.is_ready() && this.shared.fault() == Some(Fault::TokenUnreachable) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        read
    }
}

impl AsyncWrite for Guarded {
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
