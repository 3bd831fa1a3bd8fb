//! A TCP connection, in clear or under TLS, without an idle buffer: [`Stream`].

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
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

/// A TCP connection that may be encrypted.
#[derive(Debug)]
pub struct Stream {
    /// Connection of the socket, shared with [`Stream::reset`].
    tcp: Arc<TcpStream>,
    tls: Option<Box<Tls>>,
    /// Octets that the socket would not take yet.
    outbound: Vec<u8>,
    /// Part of it that was written.
    written: usize,
    /// TLS was begun and is not there yet, or failed: nothing more may go out in clear.
    handshaking: bool,
    /// The handshake's last flight is still in `outbound`.
    held: bool,
    /// The peer will send no more.
    ended: bool,
    /// The socket's write side is to be closed once `outbound` is empty, or was.
    closing: Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    Open,
    Due,
    Closed,
}

/// Octets of a client's first flight that an error carries: a ClientHello without key shares.
const FIRST: usize = 2 * 1024;

/// A handshake with a client that failed.
#[derive(Debug)]
pub struct HandshakeError {
    /// Error of the handshake, from TLS or the socket.
    pub error: io::Error,
    /// First octets of the client, at most `FIRST`.
    pub first: Vec<u8>,
}

/// Function that takes received octets: it may write them to another stream in the same turn.
pub type Sink<'a> = dyn FnMut(&mut Context<'_>, &[u8]) + 'a;

impl Stream {
    /// Creates a stream in clear, which may be encrypted later.
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
        }
    }

    /// Encrypts, in the client's role.
    pub async fn encrypt_as_client(
        &mut self,
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        let tls = Tls::client(config, name)?;
        self.encrypt(tls, &mut Vec::new()).await
    }

    /// Encrypts, in the server's role. `certificates`: clients show some.
    ///
    /// # Errors
    ///
    /// With what the client sent first, for a reason that people understand.
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

    /// The first [`FIRST`] octets that the peer sends go to `first` as well.
    async fn encrypt(&mut self, mut tls: Tls, first: &mut Vec<u8>) -> io::Result<()> {
        self.handshaking = true;
        tls.start(&mut self.outbound)?;
        while tls.is_handshaking() {
            poll_fn(|cx| self.poll_flush(cx)).await?;
            let step = poll_fn(|cx| {
                READING.with_borrow_mut(|scratch| {
                    let room = tls.room(scratch);
                    let received = ready!(poll_read(&self.tcp, cx, room))?;
                    let wanted = FIRST.saturating_sub(first.len()).min(received);
                    first.extend_from_slice(room.get(..wanted).unwrap_or_default());
                    Poll::Ready(tls.handshake(scratch, received, &mut self.outbound))
                })
            });
            if let Err(error) = step.await {
                // An alert that says why.
                let _ = poll_fn(|cx| self.poll_flush(cx)).await;
                return Err(error);
            }
        }
        // A client's last flight goes with its first words, or before it listens.
        self.tls = Some(Box::new(tls));
        self.handshaking = false;
        self.held = !self.is_flushed();
        Ok(())
    }

    /// Receives once, at most 64 KiB: `sink` is called with everything that came. `Ok(false)`:
    /// nothing came, the peer has ended its direction.
    pub fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut Sink<'_>,
    ) -> Poll<io::Result<bool>> {
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
                            // A ticket, or part of a record: on until the socket is empty.
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

    /// Sends, or keeps what the socket would not take: see [`Stream::poll_flush`]. An error shows
    /// at the next flush.
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

    /// Ends our direction once everything sent is out.
    pub fn close(&mut self) {
        if self.closing == Closing::Open {
            self.closing = Closing::Due;
            if let Some(tls) = &mut self.tls {
                tls.close(&mut self.outbound);
            }
        }
    }

    /// Writes what is kept; ready when nothing is.
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
            // A peer that has ended itself waits for nothing: that the socket goes is enough.
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

    /// Whether nothing is kept for a socket that would not take it.
    pub fn is_flushed(&self) -> bool {
        self.outbound.is_empty()
    }

    /// Receives octets once: [`Stream::poll_receive`], awaited.
    pub async fn receive(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<bool> {
        poll_fn(|cx| self.poll_receive(cx, &mut |_, bytes| sink(bytes))).await
    }

    /// Sends and waits until it is out.
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

    /// Ends our direction and takes in, unread, what the peer still sends until it ends its own:
    /// closing over unread bytes resets the connection, and the last words sent would be lost.
    pub async fn finish(&mut self) {
        self.close();
        if poll_fn(|cx| self.poll_flush(cx)).await.is_ok() {
            while let Ok(true) = self.receive(|_| {}).await {}
        }
    }

    /// Becomes ready when the connection breaks: the peer reset it, or the kernel gave it up
    /// (keepalive). Reads nothing, and notices it also while octets of the peer are unread, so that
    /// a peer that is not being read may be watched. The peer's orderly end (FIN) is no such event:
    /// it may be a half-close, and [`Stream::poll_receive`] reports it in its turn.
    ///
    /// The future borrows nothing: pin it once, poll it beside whatever the stream is used for, and
    /// drop it with the stream, whose socket it keeps open. Octets that came before the reset can
    /// still be received; what is sent from then on is lost. Gives why the connection broke.
    pub fn reset(&self) -> impl Future<Output = io::Error> + Send + 'static {
        super::socket::reset(self.tcp.clone())
    }

    /// Address of the peer, as the socket has it.
    pub fn peer(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    /// Our own address, as the socket has it.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The certificate that the peer showed, in DER, if it did.
    pub fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        self.tls.as_ref().and_then(|tls| tls.peer_certificate())
    }

    /// Version and cipher as `TLSv1.3 CIPHER`; `None` in clear.
    pub fn encryption(&self) -> Option<String> {
        self.tls.as_ref().and_then(|tls| tls.description())
    }
}

/// Offers `bytes` to the socket and keeps the rest.
fn write_now(tcp: &TcpStream, cx: &mut Context<'_>, outbound: &mut Vec<u8>, mut bytes: &[u8]) {
    while outbound.is_empty() && !bytes.is_empty() {
        match poll_write(tcp, cx, bytes) {
            Poll::Ready(Ok(written @ 1..)) => bytes = bytes.get(written..).unwrap_or_default(),
            // Errors show again at the next flush.
            Poll::Ready(_) | Poll::Pending => break,
        }
    }
    outbound.extend_from_slice(bytes);
}
