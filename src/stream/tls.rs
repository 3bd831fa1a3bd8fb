//! TLS as a state machine without IO, over rustls' unbuffered interface.
//!
//! rustls stores incomplete handshake messages as positions in its input, and panics if it is not
//! given the same octets again. [`Tls`] therefore owns every octet that rustls has not discarded.
//! Only `Connection::process` calls `process_tls_records`, always with all of them. After an error
//! rustls is called only for its alert.

use std::io;
use std::ops::Deref;
use std::sync::Arc;

use rustls::CommonState;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls_pki_types::{CertificateDer, ServerName};

pub use super::records::Records;
use crate::tls::server_name;

/// Largest TLS record with its header: 2^14 octets, and 2,048 of TLS 1.2's expansion.
pub const RECORD: usize = 16_384 + 2_048 + 5;

/// Maximum number of octets read from a socket at once.
pub const READ: usize = 64 * 1024;

/// Size of a scratch buffer for [`Tls::receive`]: kept octets, followed by those read.
pub const SCRATCH: usize = READ + RECORD;

/// Maximum number of octets kept during a handshake with an upstream: rustls accepts handshake
/// messages of 64 KiB (certificates, RFC 8446 §4), and their records have headers.
const UPSTREAM_CAP: usize = SCRATCH;

/// Maximum number of octets kept during a handshake with a client: one record of the largest size.
/// Thousands of unauthenticated clients may leave handshakes incomplete. A ClientHello has 2 KiB,
/// post-quantum key shares included.
const CLIENT_CAP: usize = RECORD;

/// Maximum number of octets kept from a client after its handshake: an incomplete record, and an
/// incomplete handshake message, which can only be a KeyUpdate (5 octets, RFC 8446 §4.6.3).
const CLIENT_OPEN_CAP: usize = RECORD + 4 * 1024;

/// TLS connection from its handshake to its end.
#[derive(Debug)]
pub struct Tls {
    connection: Connection,
    /// Every octet that rustls was given and has not discarded, as rustls left it.
    kept: Vec<u8>,
    /// Plaintext received together with the end of the handshake.
    early: Vec<u8>,
    end: End,
    handshake_cap: usize,
}

/// Whether more data can come from the peer.
#[derive(Debug)]
enum End {
    Open,
    /// The peer sent close_notify. We may still send.
    PeerClosed,
    /// Nothing more can be received or sent.
    Failed(rustls::Error),
    /// Likewise: more than this many octets of this kind would have to be kept.
    TooLong(&'static str, usize),
}

enum Connection {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl Deref for Connection {
    type Target = CommonState;

    fn deref(&self) -> &CommonState {
        match self {
            Self::Client(tls) => tls,
            Self::Server(tls) => tls,
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client(_) => "Client",
            Self::Server(_) => "Server",
        })
    }
}

/// Result of [`Tls::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Plaintext was passed to the sink.
    Data,
    /// No plaintext yet: a partial record or a TLS message. Call again.
    Nothing,
    /// The peer has closed its direction, with or without close_notify.
    End,
}

/// Data to send once the connection can encrypt.
enum Outgoing<'a> {
    Nothing,
    Data(&'a [u8]),
    CloseNotify,
}

/// Result of one round of processing.
#[derive(Debug, Default)]
struct Round {
    /// Octets at the front that rustls has discarded.
    discarded: usize,
    /// Whether the peer sent close_notify.
    peer_closed: bool,
    /// Whether the outgoing data is in the records.
    sent: bool,
    error: Option<rustls::Error>,
}

impl Tls {
    /// Creates a connection in the client's role; [`Tls::start`] emits its first flight.
    ///
    /// # Errors
    ///
    /// rustls rejects the configuration or the name.
    pub fn client(
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(tls_error)?;
        Ok(Self::new(Connection::Client(connection), UPSTREAM_CAP))
    }

    /// Creates a connection in the server's role. `certificates` is whether clients present
    /// certificates, which allows a handshake as large as an upstream's.
    ///
    /// # Errors
    ///
    /// rustls rejects the configuration.
    pub fn server(config: Arc<rustls::ServerConfig>, certificates: bool) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(tls_error)?;
        let cap = match certificates {
            true => UPSTREAM_CAP,
            false => CLIENT_CAP,
        };
        Ok(Self::new(Connection::Server(connection), cap))
    }

    fn new(connection: Connection, handshake_cap: usize) -> Self {
        Self {
            connection,
            kept: Vec::new(),
            early: Vec::new(),
            end: End::Open,
            handshake_cap,
        }
    }

    /// Appends the data to send before anything is received: the client's first flight.
    ///
    /// # Errors
    ///
    /// Those of rustls.
    pub fn start(&mut self, outbound: &mut Vec<u8>) -> io::Result<()> {
        self.emit(Outgoing::Nothing, outbound);
        self.check()
    }

    /// Whether the handshake is incomplete.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Returns the part of `scratch` into which to read ciphertext. `scratch` has [`SCRATCH`]
    /// octets and must be passed to [`Tls::receive`] or [`Tls::handshake`] next. Empty if nothing
    /// has to be read.
    pub fn room<'s>(&self, scratch: &'s mut [u8]) -> &'s mut [u8] {
        let end = match &self.end {
            End::Open if self.early.is_empty() => self.read_to(),
            _ => 0,
        };
        scratch.get_mut(self.kept.len()..end).unwrap_or_default()
    }

    /// Continues the handshake after `received` octets were read into [`Tls::room`]. Output goes to
    /// `outbound`, even on failure. Plaintext sent after the peer's handshake is kept for
    /// [`Tls::receive`].
    ///
    /// # Errors
    ///
    /// Kind `UnexpectedEof`: the peer closed before the end of the handshake. Kind `InvalidData`:
    /// rustls' error.
    pub fn handshake(
        &mut self,
        scratch: &mut [u8],
        received: usize,
        outbound: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut early = Vec::new();
        let mut keep = |bytes: &[u8]| early.extend_from_slice(bytes);
        let received = self.receive(scratch, received, outbound, &mut keep);
        self.early = early;
        match received {
            // Data that arrived together with the end is delivered first.
            _ if !self.is_handshaking() => Ok(()),
            Ok(Received::End) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Received::Data | Received::Nothing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Decrypts `received` octets that were read into [`Tls::room`] (0: the peer has closed) and
    /// passes the plaintext to `sink`. TLS' own output goes to `outbound`.
    ///
    /// # Errors
    ///
    /// Kind `InvalidData` with rustls' error, at this and every later call.
    pub fn receive(
        &mut self,
        scratch: &mut [u8],
        received: usize,
        outbound: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Received> {
        if !self.early.is_empty() {
            sink(&std::mem::take(&mut self.early));
            return Ok(Received::Data);
        }
        self.check()?;
        // A missing close_notify is accepted: the mail protocols have their own endings.
        if received == 0 || matches!(self.end, End::PeerClosed) {
            return Ok(Received::End);
        }
        let filled = self.kept.len() + received;
        let incoming = scratch.get_mut(..filled).unwrap_or_default();
        if let Some(front) = incoming.get_mut(..self.kept.len()) {
            front.copy_from_slice(&self.kept);
        }
        if self.connection.expects_client_hello() && !server_name::hide(incoming) {
            self.keep(incoming);
            self.note(Round::default());
            return self.check().map(|()| Received::Nothing);
        }
        let mut delivered = false;
        let mut records = Records::new();
        let mut deliver = |bytes: &[u8]| {
            delivered = true;
            sink(bytes);
        };
        let round =
            self.connection
                .process(incoming, &mut records, Outgoing::Nothing, &mut deliver);
        outbound.extend_from_slice(records.written());
        self.keep(incoming.get(round.discarded..).unwrap_or_default());
        self.note(round);
        self.check()?;
        Ok(match self.end {
            _ if delivered => Received::Data,
            End::PeerClosed => Received::End,
            _ => Received::Nothing,
        })
    }

    /// Replaces `records` by the encryption of `bytes`. Returns false if nothing can be encrypted
    /// any more.
    pub fn encrypt(&mut self, bytes: &[u8], records: &mut Records) -> bool {
        records.clear();
        self.advance(Outgoing::Data(bytes), records)
    }

    /// Appends a close_notify, unless nothing can be encrypted any more.
    pub fn close(&mut self, outbound: &mut Vec<u8>) {
        self.emit(Outgoing::CloseNotify, outbound);
    }

    /// Number of octets kept for the next call: under 83 KiB, and under 23 KiB from a client.
    pub fn held(&self) -> usize {
        self.kept.len() + self.early.len()
    }

    /// The error after which nothing more can be received or sent.
    fn check(&self) -> io::Result<()> {
        match &self.end {
            End::Open | End::PeerClosed => Ok(()),
            End::Failed(error) => Err(tls_error(error.clone())),
            End::TooLong(what, cap) => {
                let error = format!("{what} of more than {} KiB", cap / 1024);
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }

    fn emit(&mut self, outgoing: Outgoing<'_>, outbound: &mut Vec<u8>) {
        let mut records = Records::new();
        self.advance(outgoing, &mut records);
        outbound.extend_from_slice(records.written());
    }

    /// Sends `outgoing` without new input from the peer. Returns whether it could be sent.
    fn advance(&mut self, outgoing: Outgoing<'_>, records: &mut Records) -> bool {
        if self.check().is_err() {
            return false;
        }
        let mut kept = std::mem::take(&mut self.kept);
        let early = &mut self.early;
        let round = self
            .connection
            .process(&mut kept, records, outgoing, &mut |bytes| {
                early.extend_from_slice(bytes);
            });
        kept.drain(..round.discarded.min(kept.len()));
        self.kept = kept;
        let sent = round.sent;
        self.note(round);
        sent
    }

    fn keep(&mut self, rest: &[u8]) {
        if rest.is_empty() {
            self.kept = Vec::new();
        } else {
            self.kept.clear();
            self.kept.reserve_exact(rest.len());
            self.kept.extend_from_slice(rest);
        }
    }

    fn note(&mut self, round: Round) {
        if round.peer_closed {
            self.end = End::PeerClosed;
        }
        if let Some(error) = round.error {
            self.end = End::Failed(error);
        } else if self.kept.len() >= self.keeps_at_most() {
            let what = match self.is_handshaking() {
                true => "a TLS handshake",
                false => "a TLS message",
            };
            self.end = End::TooLong(what, self.keeps_at_most());
        }
        if !matches!(self.end, End::Open) {
            // rustls gets no further octet.
            self.kept = Vec::new();
        }
    }

    fn keeps_at_most(&self) -> usize {
        match &self.connection {
            _ if self.is_handshaking() => self.handshake_cap,
            Connection::Client(_) => UPSTREAM_CAP,
            Connection::Server(_) => CLIENT_OPEN_CAP,
        }
    }

    /// End of the next read in the scratch buffer. Octets after a handshake at its limit stay in
    /// the socket.
    fn read_to(&self) -> usize {
        match self.is_handshaking() {
            true => self.handshake_cap,
            false => self.kept.len().saturating_add(READ).min(SCRATCH),
        }
    }

    /// Certificate presented by the peer, in DER.
    pub fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        let leaf = self.connection.peer_certificates()?.first()?;
        Some(leaf.clone().into_owned())
    }

    /// Version and cipher suite, as `TLSv1.3 CIPHER`.
    pub fn description(&self) -> Option<String> {
        let version = match self.connection.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let suite = self.connection.negotiated_cipher_suite()?.suite();
        let suite = format!("{suite:?}").replace("TLS13_", "TLS_");
        Some(format!("{version} {suite}"))
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// One body for both roles, whose rustls types share no trait for processing.
macro_rules! process {
    ($tls:expr, $incoming:expr, $records:expr, $outgoing:expr, $sink:expr) => {{
        let mut round = Round::default();
        let mut outgoing = $outgoing;
        // After an error only its alert for the peer is left to send.
        while round.error.is_none() || $tls.wants_write() {
            let rest = $incoming.get_mut(round.discarded..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = $tls.process_tls_records(rest);
            // Whether to continue the loop.
            let step = match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let encoded = $records.encode(|out| {
                        data.encode(out).map_err(|error| match error {
                            EncodeError::InsufficientSize(size) => size.into(),
                            EncodeError::AlreadyEncoded => EncryptError::EncryptExhausted,
                        })
                    });
                    encoded.map(|()| true)
                }
                _ if round.error.is_some() => break,
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            discard += record.discard;
                            ($sink)(record.payload);
                        }
                        Some(Err(error)) => break Err(error),
                        None => break Ok(true),
                    }
                },
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(true)
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    let sent = match std::mem::replace(&mut outgoing, Outgoing::Nothing) {
                        Outgoing::Nothing => None,
                        Outgoing::Data(bytes) => {
                            Some($records.encode(|out| traffic.encrypt(bytes, out)))
                        }
                        Outgoing::CloseNotify => {
                            Some($records.encode(|out| traffic.queue_close_notify(out)))
                        }
                    };
                    round.sent |= matches!(sent, Some(Ok(())));
                    // This state comes once more, with nothing left to send.
                    sent.map_or(Ok(false), |sent| sent.map(|()| true))
                }
                // Closed: both sides sent close_notify, so nothing can be sent any more.
                Ok(state @ (ConnectionState::PeerClosed | ConnectionState::Closed)) => {
                    round.peer_closed = true;
                    Ok(matches!(state, ConnectionState::PeerClosed))
                }
                // BlockedHandshake. Early data is never offered.
                Ok(_) => Ok(false),
                Err(error) => Err(error),
            };
            round.discarded += discard;
            match step {
                Ok(true) => {}
                Err(error) if round.error.is_none() => round.error = Some(error),
                Ok(false) | Err(_) => break,
            }
        }
        round
    }};
}

impl Connection {
    /// Whether a ClientHello may come: the first, or in TLS 1.3 the one after a HelloRetryRequest.
    /// In TLS 1.3 all other handshake messages are encrypted, in records of another type.
    fn expects_client_hello(&self) -> bool {
        matches!(self, Self::Server(_))
            && self.is_handshaking()
            && self.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_2)
    }

    /// Processes complete records, then sends `outgoing`. `incoming` holds every octet not
    /// discarded by earlier calls, followed by new ones.
    fn process(
        &mut self,
        incoming: &mut [u8],
        records: &mut Records,
        outgoing: Outgoing<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Round {
        match self {
            Self::Client(tls) => process!(tls, incoming, records, outgoing, sink),
            Self::Server(tls) => process!(tls, incoming, records, outgoing, sink),
        }
    }
}
