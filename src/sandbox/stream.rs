//! One connection of a mail service: lines and blocks of bytes over TCP or TLS.
//!
//! Ten thousand of these may sit idle, so a connection that waits owns no buffer: it reads into
//! a buffer of its thread. A literal is read into one allocation, a message is written
//! from the one it was stored in.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{Fault, Shared};

/// Maximum length of a line in octets; a longer one ends the connection.
const LINE_CAP: usize = 64 * 1024;
/// Maximum size of a write to TLS, in octets.
const CHUNK: usize = 256 * 1024;
/// Exchange's TarpitInterval.
const TARPIT: Duration = Duration::from_secs(5);

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

/// TCP, perhaps under TLS.
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(super) struct Conn {
    socket: Socket,
    input: BytesMut,
    output: BytesMut,
    shared: Arc<Shared>,
}

impl Conn {
    pub fn new(socket: Socket, shared: Arc<Shared>) -> Self {
        Self {
            socket,
            input: BytesMut::new(),
            output: BytesMut::new(),
            shared,
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.socket, Socket::Tls(_))
    }

    /// The peer's address.
    pub fn peer(&self) -> String {
        let tcp = match &self.socket {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(tls) => tls.get_ref().0,
        };
        tcp.peer_addr()
            .map_or_else(|_| "127.0.0.1".to_owned(), |peer| peer.ip().to_string())
    }

    /// The next line without its CRLF, after everything put so far was sent. May be cancelled.
    pub async fn line(&mut self) -> io::Result<Bytes> {
        self.flush().await?;
        let mut scanned = 0;
        loop {
            let rest = self.input.get(scanned..).unwrap_or_default();
            if let Some(at) = memchr(b'\n', rest) {
                let line = self.input.split_to(scanned + at + 1).freeze();
                let end = line
                    .strip_suffix(b"\r\n")
                    .map_or(line.len() - 1, <[u8]>::len);
                return Ok(line.slice(..end));
            }
            scanned = self.input.len();
            if scanned > LINE_CAP {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "line too long"));
            }
            self.fill().await?;
        }
    }

    /// Exactly `length` octets.
    pub async fn exactly(&mut self, length: usize) -> io::Result<Bytes> {
        self.flush().await?;
        if self.input.len() < length {
            self.input.reserve(length - self.input.len());
        }
        while self.input.len() < length {
            self.read_more().await?;
        }
        Ok(self.input.split_to(length).freeze())
    }

    /// A message up to the dot that ends it, still stuffed (RFC 5321 §4.5.2); only `CRLF.CRLF`
    /// ends one.
    pub async fn message(&mut self) -> io::Result<Bytes> {
        self.flush().await?;
        let mut scan = 0;
        // A line begins here, so that a single dot may be the whole message.
        if self.starts(b".\r\n").await? {
            self.input.advance(3);
            return Ok(Bytes::new());
        }
        loop {
            let rest = self.input.get(scan..).unwrap_or_default();
            if let Some(at) = memchr::memmem::find(rest, b"\r\n.\r\n") {
                let message = self.input.split_to(scan + at + 2).freeze();
                self.input.advance(3);
                return Ok(message);
            }
            scan = self.input.len().saturating_sub(4);
            self.input.reserve(CHUNK);
            self.read_more().await?;
        }
    }

    /// Whether the input begins with `prefix`; reads as long as it could.
    async fn starts(&mut self, prefix: &[u8]) -> io::Result<bool> {
        loop {
            let common = self.input.len().min(prefix.len());
            if self.input.get(..common) != prefix.get(..common) {
                return Ok(false);
            }
            if common == prefix.len() {
                return Ok(true);
            }
            self.fill().await?;
        }
    }

    /// At least one octet, as many as there are.
    pub async fn some(&mut self) -> io::Result<Bytes> {
        if self.input.is_empty() {
            self.fill().await?;
        }
        Ok(self.input.split().freeze())
    }

    /// Appends to the output, which is sent before the next read.
    pub fn put(&mut self, bytes: impl AsRef<[u8]>) {
        self.output.extend_from_slice(bytes.as_ref());
    }

    /// Appends a line.
    pub fn say(&mut self, line: impl AsRef<[u8]>) {
        self.put(line);
        self.put("\r\n");
    }

    /// Sends a large block without copying it first.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < 4096 || self.shared.fault() == Some(Fault::Dribble) {
            self.put(bytes);
            return Ok(());
        }
        self.write_out().await?;
        for chunk in bytes.chunks(CHUNK) {
            self.socket.write_all(chunk).await?;
        }
        Ok(())
    }

    /// Sends everything put so far. May be cancelled.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.write_out().await?;
        self.socket.flush().await
    }

    async fn write_out(&mut self) -> io::Result<()> {
        let dribble = self.shared.fault() == Some(Fault::Dribble);
        while !self.output.is_empty() {
            let next = if dribble {
                self.output.get(..1).unwrap_or_default()
            } else {
                &self.output
            };
            let written = self.socket.write(next).await?;
            self.output.advance(written);
            if dribble {
                self.socket.flush().await?;
            }
        }
        self.output = BytesMut::new();
        Ok(())
    }

    /// Waits as Exchange does before a refusal, if the options or the fault say so.
    pub async fn tarpit(&mut self) -> io::Result<()> {
        self.flush().await?;
        if self.shared.options.tarpit || self.shared.fault() == Some(Fault::Tarpit) {
            tokio::time::sleep(TARPIT).await;
        }
        Ok(())
    }

    /// Changes to TLS. Like Exchange, discards what came in clear behind the command.
    pub async fn starttls(self) -> io::Result<Self> {
        let Socket::Plain(tcp) = self.socket else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let acceptor = self.shared.identities.acceptor(self.shared.fault());
        let tls = acceptor.accept(tcp).await?;
        Ok(Self::new(Socket::Tls(Box::new(tls)), self.shared))
    }

    /// Sends what is left, and closes the connection.
    pub async fn close(mut self) -> io::Result<()> {
        self.flush().await?;
        self.socket.shutdown().await
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.socket.read_buf(&mut self.input).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Reads into the thread's buffer, and appends what came.
    async fn fill(&mut self) -> io::Result<()> {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        let Self { socket, input, .. } = self;
        poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                input.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(()))
            })
        })
        .await
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
