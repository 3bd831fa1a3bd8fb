//! A TCP connection, in clear or under TLS, without an idle buffer: [`Stream`].

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls_pki_types::{CertificateDer, ServerName};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::socket::{poll_read, poll_write};
use super::tls::{Received, Tls};

thread_local! {
    static READING: RefCell<Vec<u8>> = RefCell::new(vec![0; super::tls::SCRATCH]);
    static WRITING: RefCell<super::tls::Records> = const { RefCell::new(super::tls::Records::new()) };
}

/// TCP connection that may be encrypted.
pub struct Stream {
    /// Socket, shared with [`Stream::reset`].
    tcp: Arc<TcpStream>,
    tls: Option<Box<Tls>>,
    /// Octets that the socket has not accepted yet.
    outbound: Vec<u8>,
    /// Length of the part of `outbound` already written.
    written: usize,
    /// Whether a TLS handshake has begun but not succeeded: nothing more may be sent in clear.
    handshaking: bool,
    /// Whether the last flight of the handshake is still in `outbound`.
    held: bool,
    /// Whether the peer has closed its direction.
    ended: bool,
    /// Progress of closing the socket's write side, which follows the last octet in `outbound`.
    closing: Closing,
    /// Detects a reset while nothing is received.
    reset: Option<Reset>,
}

type Reset = Pin<Box<dyn Future<Output = io::Error> + Send>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    Open,
    Due,
    Closed,
}

/// Maximum size of a client's first flight kept for an error, in octets: a ClientHello without key
/// shares.
const FIRST: usize = 2 * 1024;

/// Failed handshake with a client.
#[derive(Debug)]
pub struct HandshakeError {
    /// Error from TLS or the socket.
    pub error: io::Error,
    /// First octets from the client, at most `FIRST`.
    pub first: Vec<u8>,
}

/// Function that takes received octets and may forward them to another stream at once.
pub type Sink<'a> = dyn FnMut(&mut Context<'_>, &[u8]) + 'a;

impl Stream {
    /// Creates a cleartext stream, which may be encrypted later.
    pub fn new(tcp: TcpStream) -> Self {
        Self {
            tcp: Arc::new(tcp),
            tls: None,
            outbound: Vec::new(),
            written: 0,
            handshaking: false,
            held: false,
            ended: false,
            closing: Closing::Open,
            reset: None,
        }
    }

    /// Starts TLS in the client's role.
    pub async fn encrypt_as_client(
        &mut self,
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        let tls = Tls::client(config, name)?;
        self.encrypt(tls, &mut Vec::new()).await
    }

    /// Starts TLS in the server's role. `certificates` is whether clients present certificates.
    ///
    /// # Errors
    ///
    /// The handshake failed. The error contains the client's first octets, to find the cause.
    pub async fn encrypt_as_server(
        &mut self,
        config: Arc<rustls::ServerConfig>,
        certificates: bool,
    ) -> Result<(), HandshakeError> {
        let mut first = Vec::new();
        let handshake = match Tls::server(config, certificates) {
            Ok(tls) => self.encrypt(tls, &mut first).await,
            Err(error) => Err(error),
        };
        handshake.map_err(|error| HandshakeError { error, first })
    }

    /// Runs the handshake; `first` gets a copy of the first [`FIRST`] octets from the peer.
    async fn encrypt(&mut self, mut tls: Tls, first: &mut Vec<u8>) -> io::Result<()> {
        self.handshaking = true;
        tls.start(&mut self.outbound)?;
        while tls.is_handshaking() {
            poll_fn(|cx| self.poll_flush(cx)).await?;
            let step = poll_fn(|cx| {
                READING.with_borrow_mut(|scratch| {
                    let room = tls.room(scratch);
                    let received = ready!(poll_read(&self.tcp, cx, room))?;
                    let wanted = FIRST.saturating_sub(first.len());
                    first.extend(room.iter().take(received).take(wanted));
                    Poll::Ready(tls.handshake(scratch, received, &mut self.outbound))
                })
            });
            if let Err(error) = step.await {
                // Sends the alert with the reason.
                let _ = poll_fn(|cx| self.poll_flush(cx)).await;
                return Err(error);
            }
        }
        // A client's last flight is sent with its first data, or before it receives.
        self.tls = Some(Box::new(tls));
        self.handshaking = false;
        self.held = !self.outbound.is_empty();
        Ok(())
    }

    /// Receives once, at most 64 KiB, and passes everything to `sink`. `Ok(false)`: the peer has
    /// closed its direction and nothing was received.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Sink<'_>,
    ) -> Poll<io::Result<bool>> {
        self.reset = None;
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        if self.held
            && let Poll::Ready(flushed) = self.poll_flush(cx)
        {
            flushed?;
        }
        let open = ready!(
            READING.with_borrow_mut(|scratch| -> Poll<io::Result<bool>> {
                match &mut self.tls {
                    Some(tls) => loop {
                        let room = tls.room(scratch);
                        let received = match room.is_empty() {
                            true => 0,
                            false => ready!(poll_read(&self.tcp, cx, room))?,
                        };
                        let mut plaintext = |bytes: &[u8]| sink(cx, bytes);
                        match tls.receive(scratch, received, &mut self.outbound, &mut plaintext)? {
                            Received::Data => break Poll::Ready(Ok(true)),
                            Received::End => break Poll::Ready(Ok(false)),
                            // A session ticket or a partial record: read until the socket is empty.
                            Received::Nothing => {}
                        }
                    },
                    None => {
                        let room = scratch.get_mut(..super::tls::READ).unwrap_or_default();
                        let read = ready!(poll_read(&self.tcp, cx, room))?;
                        let bytes = room.get(..read).unwrap_or_default();
                        if !bytes.is_empty() {
                            sink(cx, bytes);
                        }
                        Poll::Ready(Ok(!bytes.is_empty()))
                    }
                }
            })
        )?;
        self.ended = !open;
        Poll::Ready(Ok(open))
    }

    /// Sends octets, and keeps those that the socket does not accept: see [`Stream::poll_flush`].
    /// The next flush reports errors.
    pub fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) {
        if self.closing != Closing::Open || self.handshaking {
            return;
        }
        let Some(tls) = &mut self.tls else {
            return write_now(&self.tcp, cx, &mut self.outbound, bytes);
        };
        WRITING.with_borrow_mut(|records| {
            if tls.encrypt(bytes, records) {
                write_now(&self.tcp, cx, &mut self.outbound, records.written());
            } else {
                self.closing = Closing::Due;
            }
        });
    }

    /// Closes our direction after everything already sent.
    pub fn close(&mut self) {
        if self.closing == Closing::Open {
            self.closing = Closing::Due;
            if let Some(tls) = &mut self.tls {
                tls.close(&mut self.outbound);
            }
        }
    }

    /// Writes the kept octets. Ready when none are left.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self
            .outbound
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match ready!(poll_write(&self.tcp, cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.outbound = Vec::new();
        self.written = 0;
        self.held = false;
        if self.closing == Closing::Due {
            // If the peer has closed already, dropping the socket is enough.
            if !self.ended {
                match SockRef::from(&*self.tcp).shutdown(Shutdown::Write) {
                    Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                        return Poll::Ready(Err(error));
                    }
                    _ => {}
                }
            }
            self.closing = Closing::Closed;
        }
        Poll::Ready(Ok(()))
    }

    /// Receives octets once, by awaiting [`Stream::poll_receive`].
    pub async fn receive(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<bool> {
        poll_fn(|cx| self.poll_receive(cx, &mut |_, bytes| sink(bytes))).await
    }

    /// Sends octets and waits until they are written to the socket.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut unsent = Some(bytes);
        poll_fn(|cx| {
            if let Some(bytes) = unsent.take() {
                self.send(cx, bytes);
            }
            self.poll_flush(cx)
        })
        .await
    }

    /// Closes our direction, then reads and discards until the peer closes. Closing a socket with
    /// unread input resets the connection, and the peer would lose our final reply.
    pub async fn finish(&mut self) {
        self.close();
        if poll_fn(|cx| self.poll_flush(cx)).await.is_ok() {
            while let Ok(true) = self.receive(|_| {}).await {}
        }
    }

    /// Waits until the connection fails: the peer reset it, or keepalive gave up. Nothing is read,
    /// and a reset is detected even while received octets are unread, so a peer that is not being
    /// read can be watched. An orderly close (FIN) does not count, since it may be a half-close;
    /// [`Stream::poll_receive`] reports it.
    ///
    /// The future borrows nothing. Pin it once, poll it together with other uses of the stream, and
    /// drop it with the stream, since it keeps the socket open. Octets received before the reset
    /// can still be read; octets sent after it are lost. Returns the error.
    pub fn reset(&self) -> impl Future<Output = io::Error> + Send + 'static {
        super::socket::reset(self.tcp.clone())
    }

    /// Ready with the error of [`Stream::reset`], watching from the first call to the next receive.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let tcp = &self.tcp;
        let reset = self
            .reset
            .get_or_insert_with(|| Box::pin(super::socket::reset(tcp.clone())));
        reset.as_mut().poll(cx)
    }

    /// Address of the peer.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    /// Our own address of the connection.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Certificate presented by the peer, in DER.
    pub fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        self.tls.as_ref().and_then(|tls| tls.peer_certificate())
    }

    /// Version and cipher suite, as `TLSv1.3 CIPHER`; `None` in clear.
    pub fn encryption(&self) -> Option<String> {
        self.tls.as_ref().and_then(|tls| tls.description())
    }
}

/// Offers `bytes` to the socket and keeps the rest.
fn write_now(tcp: &TcpStream, cx: &mut Context<'_>, outbound: &mut Vec<u8>, mut bytes: &[u8]) {
    while outbound.is_empty() && !bytes.is_empty() {
        match poll_write(tcp, cx, bytes) {
            Poll::Ready(Ok(written @ 1..)) => bytes = bytes.get(written..).unwrap_or_default(),
            // The next flush reports errors.
            Poll::Ready(_) | Poll::Pending => break,
        }
    }
    outbound.extend_from_slice(bytes);
}
