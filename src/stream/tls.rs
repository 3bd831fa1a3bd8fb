//! TLS by rustls' unbuffered interface.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::Sink;

/// The largest TLS record with its header: 2^14 octets and 2,048 of TLS 1.2's expansion.
pub(super) const RECORD: usize = 16_384 + 2_048 + 5;

/// Octets of an upstream's handshake that may be waiting for their rest (RFC 8446 §4:
/// certificates).
const UPSTREAM_HANDSHAKE_CAP: usize = 128 * 1024;

/// The same of a client's, thousands of which may hold on before anybody knows who they are: one
/// record of the largest size. A ClientHello has 2 KiB, with post-quantum key shares and all.
const CLIENT_HANDSHAKE_CAP: usize = RECORD;

#[derive(Debug)]
pub(super) struct Tls {
    connection: Connection,
    /// Ciphertext that is no complete record yet.
    inbound: Vec<u8>,
    /// Plaintext that came in the handshake's last flight.
    early: Vec<u8>,
    /// The peer said close_notify behind the last plaintext.
    closed: bool,
}

enum Connection {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "Client",
            Self::Server(_) => "Server",
        })
    }
}

/// Where a handshake stands.
pub(super) enum Handshake {
    /// More of the peer is needed.
    Read,
    Done,
}

/// What stopped a round of processing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Every complete record was processed.
    Drained,
    /// The peer said close_notify.
    PeerClosed,
}

/// What to do with the connection once it can take plaintext.
enum Outgoing<'a> {
    Nothing,
    Data(&'a [u8]),
    CloseNotify,
}

impl Tls {
    pub(super) fn client(
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(tls_error)?;
        Ok(Self::new(Connection::Client(connection)))
    }

    pub(super) fn server(config: Arc<rustls::ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(tls_error)?;
        Ok(Self::new(Connection::Server(connection)))
    }

    fn new(connection: Connection) -> Self {
        Self {
            connection,
            inbound: Vec::new(),
            early: Vec::new(),
            closed: false,
        }
    }

    /// Goes as far as it can with what was received.
    pub(super) fn handshake(&mut self, outbound: &mut Vec<u8>) -> io::Result<Handshake> {
        let early = &mut self.early;
        let mut records = Records::new();
        let result = self.connection.process(
            &mut self.inbound,
            &mut records,
            Outgoing::Nothing,
            &mut |bytes| early.extend_from_slice(bytes),
        );
        outbound.extend_from_slice(records.written());
        let (processed, stop) = result?;
        self.inbound.drain(..processed);
        match stop {
            Stop::PeerClosed => Err(io::ErrorKind::UnexpectedEof.into()),
            Stop::Drained if self.connection.is_handshaking() => Ok(Handshake::Read),
            Stop::Drained => {
                self.inbound.shrink_to_fit();
                Ok(Handshake::Done)
            }
        }
    }

    /// Reads more of the handshake.
    pub(super) fn poll_fill(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        let cap = match &self.connection {
            Connection::Client(_) => UPSTREAM_HANDSHAKE_CAP,
            Connection::Server(_) => CLIENT_HANDSHAKE_CAP,
        };
        // What follows the handshake stays with the socket.
        let room = scratch.len().min(cap.saturating_sub(self.inbound.len()));
        if room == 0 {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a TLS handshake of more than {} KiB", cap / 1024),
            )));
        }
        let mut buffer = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(tcp).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.inbound.reserve_exact(buffer.filled().len());
        self.inbound.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }

    /// Reads and decrypts once; answers that TLS itself wants go to `outbound`.
    pub(super) fn poll_receive(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        outbound: &mut Vec<u8>,
        sink: &mut Sink<'_>,
    ) -> Poll<io::Result<bool>> {
        if !self.early.is_empty() {
            let early = std::mem::take(&mut self.early);
            sink(cx, &early);
            return Poll::Ready(Ok(true));
        }
        if self.closed {
            return Poll::Ready(Ok(false));
        }
        loop {
            // The incomplete record first, then what the socket has.
            let kept = self.inbound.len();
            let (head, room) = match scratch.split_at_mut_checked(kept) {
                Some(split) if !split.1.is_empty() => split,
                _ => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            };
            let mut buffer = ReadBuf::new(room);
            ready!(Pin::new(&mut *tcp).poll_read(cx, &mut buffer))?;
            let filled = kept + buffer.filled().len();
            if filled == kept {
                // Without close_notify: the protocols have endings of their own.
                return Poll::Ready(Ok(false));
            }
            head.copy_from_slice(&self.inbound);
            self.inbound.clear();
            let incoming = scratch.get_mut(..filled).unwrap_or_default();
            let mut delivered = false;
            let mut records = Records::new();
            let result =
                self.connection
                    .process(incoming, &mut records, Outgoing::Nothing, &mut |bytes| {
                        delivered = true;
                        sink(cx, bytes);
                    });
            outbound.extend_from_slice(records.written());
            let (processed, stop) = result?;
            let rest = incoming.get(processed..).unwrap_or_default();
            if rest.is_empty() {
                self.inbound = Vec::new();
            } else {
                self.inbound.extend_from_slice(rest);
            }
            self.closed = stop == Stop::PeerClosed;
            // Last words and the end often come together: the words first.
            if delivered || self.closed {
                return Poll::Ready(Ok(delivered));
            }
            // A ticket, or part of a record: nothing to tell, so go on until the socket is empty.
        }
    }

    /// Writes the encrypted records; false where nothing can be encrypted any more.
    pub(super) fn encrypt(&mut self, bytes: &[u8], records: &mut Records) -> bool {
        records.written = 0;
        self.connection
            .process(&mut [], records, Outgoing::Data(bytes), &mut |_| {})
            .is_ok()
    }

    /// Appends a close_notify.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        let mut records = Records::new();
        // Where it cannot be said any more, nobody listens.
        let _ = self
            .connection
            .process(&mut [], &mut records, Outgoing::CloseNotify, &mut |_| {});
        out.extend_from_slice(records.written());
    }

    pub(super) fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        let chain = match &self.connection {
            Connection::Client(tls) => tls.peer_certificates(),
            Connection::Server(tls) => tls.peer_certificates(),
        };
        chain?.first().map(|leaf| leaf.clone().into_owned())
    }

    pub(super) fn description(&self) -> Option<String> {
        let (version, suite) = match &self.connection {
            Connection::Client(tls) => (tls.protocol_version()?, tls.negotiated_cipher_suite()?),
            Connection::Server(tls) => (tls.protocol_version()?, tls.negotiated_cipher_suite()?),
        };
        let version = match version {
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let suite = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
        Some(format!("{version} {suite}"))
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// One body for both roles: their types share no trait for processing.
macro_rules! process {
    ($tls:expr, $incoming:expr, $records:expr, $outgoing:expr, $sink:expr) => {{
        let mut processed = 0;
        let mut outgoing = $outgoing;
        loop {
            let rest = $incoming.get_mut(processed..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = $tls.process_tls_records(rest);
            let stop = match state {
                Err(error) => {
                    // The alert that tells the peer.
                    if let Ok(ConnectionState::EncodeTlsData(mut data)) =
                        $tls.process_tls_records(&mut []).state
                    {
                        $records.encode(|out| data.encode(out))?;
                    }
                    return Err(tls_error(error));
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        ($sink)(record.map_err(tls_error)?.payload);
                    }
                    None
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    $records.encode(|out| data.encode(out))?;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    match std::mem::replace(&mut outgoing, Outgoing::Nothing) {
                        Outgoing::Nothing => Some(Stop::Drained),
                        Outgoing::Data(bytes) => {
                            $records.encode(|out| traffic.encrypt(bytes, out))?;
                            None
                        }
                        Outgoing::CloseNotify => {
                            $records.encode(|out| traffic.queue_close_notify(out))?;
                            Some(Stop::Drained)
                        }
                    }
                }
                Ok(ConnectionState::PeerClosed) => Some(Stop::PeerClosed),
                // Both sides said it: nothing can be sent any more either.
                Ok(ConnectionState::Closed) => return Ok((processed, Stop::PeerClosed)),
                // BlockedHandshake; early data is never offered.
                Ok(_) => Some(Stop::Drained),
            };
            processed += discard;
            match (stop, &outgoing) {
                // What the peer said does not stop us from saying ours.
                (Some(Stop::PeerClosed), Outgoing::Data(_) | Outgoing::CloseNotify) => {}
                (Some(stop), _) => return Ok((processed, stop)),
                (None, _) => {}
            }
        }
    }};
}

impl Connection {
    /// Processes records until there is nothing complete left, then does `outgoing`. Returns how
    /// much of `incoming` was used up.
    fn process(
        &mut self,
        incoming: &mut [u8],
        records: &mut Records,
        outgoing: Outgoing<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<(usize, Stop)> {
        match self {
            Self::Client(tls) => process!(tls, incoming, records, outgoing, sink),
            Self::Server(tls) => process!(tls, incoming, records, outgoing, sink),
        }
    }

    fn is_handshaking(&self) -> bool {
        match self {
            Self::Client(tls) => tls.is_handshaking(),
            Self::Server(tls) => tls.is_handshaking(),
        }
    }
}

/// How much room an encoder asks for.
trait Insufficient {
    fn required(&self) -> Option<usize>;
}

impl Insufficient for EncodeError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Insufficient for EncryptError {
    fn required(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::EncryptExhausted => None,
        }
    }
}

/// Records to be sent, in room that may be kept for the next ones: clearing it for each would
/// cost as much as a tenth of their encryption.
#[derive(Debug)]
pub(super) struct Records {
    room: Vec<u8>,
    written: usize,
}

impl Records {
    pub(super) const fn new() -> Self {
        Self {
            room: Vec::new(),
            written: 0,
        }
    }

    pub(super) fn written(&self) -> &[u8] {
        self.room.get(..self.written).unwrap_or_default()
    }

    /// Appends what an encoder writes; makes the room that it asks for.
    fn encode<E: Insufficient + std::fmt::Display>(
        &mut self,
        mut encoder: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> io::Result<()> {
        loop {
            let free = self.room.get_mut(self.written..).unwrap_or_default();
            match encoder(free) {
                Ok(written) => {
                    self.written += written;
                    return Ok(());
                }
                Err(error) => match error.required() {
                    Some(required) if required > free.len() => {
                        self.room.resize(self.written + required, 0);
                    }
                    _ => return Err(io::Error::other(error.to_string())),
                },
            }
        }
    }
}
