//! TLS by rustls' unbuffered interface, as a machine without IO.
//!
//! rustls remembers handshake messages that are not complete as places in the octets that it was
//! given, and panics where it is not given the same octets again. So [`Tls`] owns every octet that
//! rustls has not discarded, and `Connection::process` is the only function that calls
//! `process_tls_records`, always with all of them. After an error rustls is called for its alert
//! only.

use std::io;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls_pki_types::{CertificateDer, ServerName};

pub use super::records::Records;

/// The largest TLS record with its header: 2^14 octets and 2,048 of TLS 1.2's expansion.
pub const RECORD: usize = 16_384 + 2_048 + 5;

/// Octets read from a socket at once.
pub const READ: usize = 64 * 1024;

/// Octets of a scratch buffer for [`Tls::receive`]: what is kept, and what is read after it.
pub const SCRATCH: usize = READ + RECORD;

/// Octets that a handshake with an upstream may keep: rustls takes handshake messages of 64 KiB,
/// and their records have headers (RFC 8446 §4: certificates).
const UPSTREAM_CAP: usize = SCRATCH;

/// Largest size of a client's incomplete handshake, thousands of which may stay incomplete before
/// anyone knows who they are: one record of the largest size. A ClientHello has 2 KiB, post-quantum
/// key shares included.
const CLIENT_CAP: usize = RECORD;

/// Octets that a client may have us keep after its handshake: a record that is not complete and a
/// handshake message that is not, of which KeyUpdate is the only one (5 octets, RFC 8446 §4.6.3).
const CLIENT_OPEN_CAP: usize = RECORD + 4 * 1024;

/// A TLS connection, from its handshake to its end.
#[derive(Debug)]
pub struct Tls {
    connection: Connection,
    /// Every octet that rustls was given and has not discarded, as rustls left it.
    kept: Vec<u8>,
    /// Plaintext that came before it was asked for: after the handshake's last flight.
    early: Vec<u8>,
    end: End,
    handshake_cap: usize,
}

/// Whether more can come from the peer.
#[derive(Debug)]
enum End {
    Open,
    /// The peer said close_notify. We may still send.
    PeerClosed,
    /// Nothing can be received or sent any more.
    Failed(Failure),
}

/// Reason why a connection failed.
#[derive(Debug, Clone)]
enum Failure {
    Tls(rustls::Error),
    /// The peer would have had us keep more than this many octets of this.
    TooLong(&'static str, usize),
}

impl From<&Failure> for io::Error {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Tls(error) => tls_error(error.clone()),
            Failure::TooLong(what, cap) => Self::new(
                io::ErrorKind::InvalidData,
                format!("{what} of more than {} KiB", cap / 1024),
            ),
        }
    }
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

/// Result of a call to [`Tls::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Plaintext, which the sink has.
    Data,
    /// Octets that are no plaintext yet, or TLS's own: call again.
    Nothing,
    /// The peer has ended its direction, by close_notify or without.
    End,
}

/// Data that is to be sent once the connection can take plaintext.
enum Outgoing<'a> {
    Nothing,
    Data(&'a [u8]),
    CloseNotify,
}

/// How far a round of processing came.
#[derive(Debug, Default)]
struct Round {
    /// Octets from the front that rustls needs no more.
    discarded: usize,
    /// Whether the peer sent close_notify.
    peer_closed: bool,
    /// Whether the records hold what was to be sent.
    sent: bool,
}

impl Tls {
    /// A connection in the client's role; its first flight comes with [`Tls::start`].
    ///
    /// # Errors
    ///
    /// As rustls has them for a configuration or name that cannot be used.
    pub fn client(
        config: Arc<rustls::ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(tls_error)?;
        Ok(Self::new(Connection::Client(connection), UPSTREAM_CAP))
    }

    /// A connection in the server's role. `certificates`: clients show some, so that a handshake
    /// may be as large as an upstream's.
    ///
    /// # Errors
    ///
    /// As rustls has them for a configuration that cannot be used.
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

    /// Appends what is to be sent before anything is received: the client's first flight.
    ///
    /// # Errors
    ///
    /// As rustls has them.
    pub fn start(&mut self, outbound: &mut Vec<u8>) -> io::Result<()> {
        let mut records = Records::new();
        self.advance(Outgoing::Nothing, &mut records);
        outbound.extend_from_slice(records.written());
        match &self.end {
            End::Failed(failure) => Err(failure.into()),
            End::Open | End::PeerClosed => Ok(()),
        }
    }

    /// Whether plaintext can go both ways.
    pub fn is_handshaking(&self) -> bool {
        match &self.connection {
            Connection::Client(tls) => tls.is_handshaking(),
            Connection::Server(tls) => tls.is_handshaking(),
        }
    }

    /// Where ciphertext is to be read into: a part of `scratch`, which holds [`SCRATCH`] octets and
    /// must go to [`Tls::receive`] or [`Tls::handshake`] next. Empty where nothing has to be read.
    pub fn room<'s>(&self, scratch: &'s mut [u8]) -> &'s mut [u8] {
        let end = match &self.end {
            End::Open if self.early.is_empty() => self.read_to(),
            _ => 0,
        };
        scratch.get_mut(self.kept.len()..end).unwrap_or_default()
    }

    /// Goes on with the handshake, `received` octets having been read into [`Tls::room`]; answers
    /// go to `outbound`, also where it fails. Plaintext that the peer sent after its handshake is
    /// kept for [`Tls::receive`].
    ///
    /// # Errors
    ///
    /// Of kind `UnexpectedEof` where the peer ended before the handshake did; of kind `InvalidData`
    /// with rustls' error.
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
            // Words that came with the end are heard before it.
            _ if !self.is_handshaking() => Ok(()),
            Ok(Received::End) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Received::Data | Received::Nothing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Decrypts, `received` octets having been read into [`Tls::room`] (0: the peer has ended), and
    /// gives the plaintext to `sink`. Answers of TLS itself go to `outbound`.
    ///
    /// # Errors
    ///
    /// Of kind `InvalidData` with rustls' error, from then on at each call.
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
        match &self.end {
            End::Open if received > 0 => {}
            // Without close_notify too: the protocols have endings of their own.
            End::Open | End::PeerClosed => return Ok(Received::End),
            End::Failed(failure) => return Err(failure.into()),
        }
        let filled = self.kept.len() + received;
        let incoming = scratch.get_mut(..filled).unwrap_or_default();
        if let Some(front) = incoming.get_mut(..self.kept.len()) {
            front.copy_from_slice(&self.kept);
        }
        let mut delivered = false;
        let mut records = Records::new();
        let mut deliver = |bytes: &[u8]| {
            delivered = true;
            sink(bytes);
        };
        let (round, result) =
            self.connection
                .process(incoming, &mut records, Outgoing::Nothing, &mut deliver);
        outbound.extend_from_slice(records.written());
        self.keep(incoming.get(round.discarded..).unwrap_or_default());
        self.note(&round, result);
        match &self.end {
            End::Failed(failure) => Err(failure.into()),
            _ if delivered => Ok(Received::Data),
            End::PeerClosed => Ok(Received::End),
            End::Open => Ok(Received::Nothing),
        }
    }

    /// Replaces `records` by `bytes`, encrypted; false where nothing can be encrypted any more.
    pub fn encrypt(&mut self, bytes: &[u8], records: &mut Records) -> bool {
        records.clear();
        self.advance(Outgoing::Data(bytes), records)
    }

    /// Appends a close_notify, unless nothing can be encrypted any more.
    pub fn close(&mut self, outbound: &mut Vec<u8>) {
        let mut records = Records::new();
        self.advance(Outgoing::CloseNotify, &mut records);
        outbound.extend_from_slice(records.written());
    }

    /// Octets that are kept for the next call: under 83 KiB, and under 23 KiB of a client's.
    pub fn held(&self) -> usize {
        self.kept.len() + self.early.len()
    }

    /// Sends `outgoing` without anything new from the peer; whether it could.
    fn advance(&mut self, outgoing: Outgoing<'_>, records: &mut Records) -> bool {
        if let End::Failed(_) = &self.end {
            return false;
        }
        let mut kept = std::mem::take(&mut self.kept);
        let early = &mut self.early;
        let (round, result) = self
            .connection
            .process(&mut kept, records, outgoing, &mut |bytes| {
                early.extend_from_slice(bytes);
            });
        kept.drain(..round.discarded.min(kept.len()));
        self.kept = kept;
        let sent = round.sent;
        self.note(&round, result);
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

    fn note(&mut self, round: &Round, result: Result<(), rustls::Error>) {
        if round.peer_closed {
            self.end = End::PeerClosed;
        }
        if let Err(error) = result {
            self.end = End::Failed(Failure::Tls(error));
        } else if self.kept.len() >= self.keeps_at_most() {
            let what = match self.is_handshaking() {
                true => "a TLS handshake",
                false => "a TLS message",
            };
            self.end = End::Failed(Failure::TooLong(what, self.keeps_at_most()));
        }
        match self.end {
            End::Open => {}
            // rustls is given no further octet.
            End::PeerClosed | End::Failed(_) => self.kept = Vec::new(),
        }
    }

    fn keeps_at_most(&self) -> usize {
        match &self.connection {
            _ if self.is_handshaking() => self.handshake_cap,
            Connection::Client(_) => UPSTREAM_CAP,
            Connection::Server(_) => CLIENT_OPEN_CAP,
        }
    }

    /// End of the scratch buffer for what is read next. Octets after a handshake that is at its cap
    /// stay with the socket.
    fn read_to(&self) -> usize {
        match self.is_handshaking() {
            true => self.handshake_cap,
            false => self.kept.len().saturating_add(READ).min(SCRATCH),
        }
    }

    /// The certificate that the peer showed, in DER, if it did.
    pub fn peer_certificate(&self) -> Option<CertificateDer<'static>> {
        let chain = match &self.connection {
            Connection::Client(tls) => tls.peer_certificates(),
            Connection::Server(tls) => tls.peer_certificates(),
        };
        chain?.first().map(|leaf| leaf.clone().into_owned())
    }

    /// Version and cipher as `TLSv1.3 CIPHER`.
    pub fn description(&self) -> Option<String> {
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
        let mut round = Round::default();
        let mut outgoing = $outgoing;
        let result = loop {
            let rest = $incoming.get_mut(round.discarded..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = $tls.process_tls_records(rest);
            let mut discarded = discard;
            // Whether there is more to do.
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            discarded += record.discard;
                            ($sink)(record.payload);
                        }
                        Some(Err(error)) => break Err(error),
                        None => break Ok(true),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    $records.encode(|out| data.encode(out)).map(|()| true)
                }
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
                    // With `Nothing` left this state comes once more.
                    sent.map_or(Ok(false), |sent| sent.map(|()| true))
                }
                Ok(ConnectionState::PeerClosed) => {
                    round.peer_closed = true;
                    Ok(true)
                }
                // Both sides said it: nothing can be sent any more either.
                Ok(ConnectionState::Closed) => {
                    round.peer_closed = true;
                    Ok(false)
                }
                // BlockedHandshake; early data is never offered.
                Ok(_) => Ok(false),
                Err(error) => Err(error),
            };
            round.discarded += discarded;
            match step {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        // The alert that informs the peer.
        while result.is_err() && $tls.wants_write() {
            let rest = $incoming.get_mut(round.discarded..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = $tls.process_tls_records(rest);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else {
                break;
            };
            if $records.encode(|out| data.encode(out)).is_err() {
                break;
            }
            round.discarded += discard;
        }
        (round, result)
    }};
}

impl Connection {
    /// Processes records until there is nothing complete left, then does `outgoing`. `incoming` is
    /// every octet that was not discarded by earlier calls, and what has come since.
    fn process(
        &mut self,
        incoming: &mut [u8],
        records: &mut Records,
        outgoing: Outgoing<'_>,
        sink: &mut dyn FnMut(&[u8]),
    ) -> (Round, Result<(), rustls::Error>) {
        match self {
            Self::Client(tls) => process!(tls, incoming, records, outgoing, sink),
            Self::Server(tls) => process!(tls, incoming, records, outgoing, sink),
        }
    }
}
