//! Records sent to a syslog server (RFC 5424): over UDP (RFC 5426), TCP with octet counting
//! (RFC 6587 §3.4.1) or TLS (RFC 5425).
//!
//! A message's text is the record's line, byte for byte, so that the chain can be verified where
//! it arrives. Syslog has no acknowledgements: what a connection held when it broke is lost, and
//! shows as a gap there. A message that could not be handed to the connection is sent again.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::record::AuditRecord;
use crate::config::{OnFull, Syslog as Server, SyslogTransport};
use crate::outbound::connect;

/// Octets of messages that wait.
const MAX_QUEUED: usize = 8 * 1024 * 1024;

/// Longest time that a connection may take, and each write to it.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after a failure, doubled up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Facility authpriv (10), with the severities warning and informational.
const WARNING: u8 = 10 * 8 + 4;
const INFORMATIONAL: u8 = 10 * 8 + 6;

/// Queue of messages on their way to the syslog server.
#[derive(Debug)]
pub(super) struct Syslog {
    on_full: OnFull,
    host: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    octets: usize,
    /// One is taken out and not sent yet.
    sending: bool,
    dropped: u64,
    closed: bool,
}

impl Syslog {
    pub(super) fn new(on_full: OnFull) -> Self {
        Self {
            on_full,
            host: host_name(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sealed line. Where there is no room it waits if `on_full` is `refuse`: the queue
    /// after it fills then, and logins are refused.
    pub(super) fn push(&self, record: &AuditRecord, line: Vec<u8>) {
        let message = message(&self.host, record, &line);
        let mut state = self.lock();
        while state.octets > 0 && state.octets + message.len() > MAX_QUEUED && !state.closed {
            match self.on_full {
                OnFull::Continue => {
                    if state.dropped == 0 {
                        tracing::error!(
                            remedy = "the syslog server cannot be reached or is slow; the file has what it lacks",
                            "audit records are not sent to syslog"
                        );
                    }
                    state.dropped += 1;
                    return;
                }
                OnFull::Refuse => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        state.octets += message.len();
        state.waiting.push_back(message);
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits until all is sent; gives how much is not at the deadline.
    pub(super) fn finish(&self, deadline: Instant) -> usize {
        let mut state = self.lock();
        loop {
            let left = state.waiting.len() + usize::from(state.sending);
            let patience = deadline.checked_duration_since(Instant::now());
            match patience {
                Some(patience) if left > 0 => {
                    (state, _) = self
                        .changed
                        .wait_timeout(state, patience)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                _ => return left,
            }
        }
    }

    /// The next message; `None` at the end.
    fn next(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        loop {
            if let Some(message) = state.waiting.pop_front() {
                state.octets = state.octets.saturating_sub(message.len());
                state.sending = true;
                self.changed.notify_all();
                return Some(message);
            }
            if state.closed {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives how many were dropped, once messages get through again.
    fn sent(&self) -> u64 {
        let mut state = self.lock();
        state.sending = false;
        self.changed.notify_all();
        match state.octets < MAX_QUEUED / 2 {
            true => std::mem::take(&mut state.dropped),
            false => 0,
        }
    }

    /// Sleeps, unless it ends; gives whether it goes on.
    fn pause(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        let mut state = self.lock();
        while !state.closed {
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return true;
            };
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// Sends messages until the queue is closed.
    pub(super) fn run(&self, server: &Server) {
        let mut connection = None;
        let mut failing = false;
        let (mut pause, longest) = PAUSES;
        while let Some(message) = self.next() {
            while let Err(error) = send(server, &mut connection, &message) {
                connection = None;
                if is_too_long(&error) {
                    tracing::error!(
                        octets = message.len(),
                        remedy = "use transport tcp or tls",
                        "an audit record is longer than a UDP datagram; it was not sent to syslog"
                    );
                    break;
                }
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!(
                        address = %server.address(),
                        %error,
                        remedy = "check audit.syslog, the server and its certificate; it is tried again",
                        "syslog cannot be reached"
                    );
                }
                if !self.pause(pause) {
                    return;
                }
                pause = (pause * 2).min(longest);
            }
            pause = PAUSES.0;
            let dropped = self.sent();
            if std::mem::take(&mut failing) || dropped > 0 {
                tracing::info!(address = %server.address(), dropped, "syslog is reached again");
            }
        }
    }
}

/// Whether the error is Linux's EMSGSIZE.
fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(90)
}

enum Connection {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

fn send(server: &Server, connection: &mut Option<Connection>, message: &[u8]) -> io::Result<()> {
    if connection.as_mut().is_some_and(|open| !open.is_alive()) {
        *connection = None;
    }
    let open = match connection {
        Some(open) => open,
        None => connection.insert(connect(server)?),
    };
    let counted = || [format!("{} ", message.len()).as_bytes(), message].concat();
    match open {
        Connection::Udp(socket) => socket.send(message).map(|_| ()),
        Connection::Tcp(tcp) => tcp.write_all(&counted()),
        Connection::Tls(tls) => tls.write_all(&counted()).and_then(|()| tls.flush()),
    }
}

/// At most [`SEND_TIMEOUT`], with TLS twice that.
fn connect(server: &Server) -> io::Result<Connection> {
    let tcp = || {
        let tcp = connect::blocking(&server.host, server.port, SEND_TIMEOUT)?;
        tcp.set_write_timeout(Some(SEND_TIMEOUT))?;
        tcp.set_read_timeout(Some(SEND_TIMEOUT))?;
        Ok::<_, io::Error>(tcp)
    };
    match &server.transport {
        SyslogTransport::Udp => datagrams(server).map(Connection::Udp),
        SyslogTransport::Tcp => tcp().map(Connection::Tcp),
        SyslogTransport::Tls { config, name, .. } => {
            let tls = ClientConnection::new(Arc::clone(config), name.clone());
            let mut tls = StreamOwned::new(tls.map_err(io::Error::other)?, tcp()?);
            let end = Instant::now() + SEND_TIMEOUT;
            while tls.conn.is_handshaking() {
                if Instant::now() > end {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                // Once each way: a server that trickles is not waited for without end.
                if tls.conn.wants_write() {
                    tls.conn.write_tls(&mut tls.sock)?;
                } else if tls.conn.read_tls(&mut tls.sock)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                } else if let Err(error) = tls.conn.process_new_packets() {
                    // The alert that says why.
                    let _ = tls.conn.write_tls(&mut tls.sock);
                    return Err(io::Error::other(error));
                }
            }
            Ok(Connection::Tls(Box::new(tls)))
        }
    }
}

/// A socket for the first address that can be used.
fn datagrams(server: &Server) -> io::Result<UdpSocket> {
    let mut last = io::Error::other("the name has no address");
    for address in connect::blocking_addresses(&server.host, server.port, SEND_TIMEOUT)? {
        let any = if address.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let bound = UdpSocket::bind(any).and_then(|socket| {
            socket.connect(address)?;
            Ok(socket)
        });
        match bound {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Connection {
    /// Whether the server has not ended it: what is written into a connection that it has closed
    /// would be lost without an error.
    fn is_alive(&mut self) -> bool {
        match self {
            Self::Udp(_) => true,
            Self::Tcp(tcp) => without_waiting(tcp, |mut tcp| tcp.read(&mut [0; 512])),
            Self::Tls(tls) => {
                let StreamOwned { conn, sock } = &mut **tls;
                without_waiting(sock, |mut sock| {
                    let octets = conn.read_tls(&mut sock)?;
                    let state = conn.process_new_packets().map_err(io::Error::other)?;
                    match state.peer_has_closed() {
                        true => Ok(0),
                        false => Ok(octets),
                    }
                })
            }
        }
    }
}

/// Reads what is there; whether the end is not.
fn without_waiting(tcp: &TcpStream, mut read: impl FnMut(&TcpStream) -> io::Result<usize>) -> bool {
    if tcp.set_nonblocking(true).is_err() {
        return false;
    }
    let alive = loop {
        match read(tcp) {
            Ok(0) => break false,
            Ok(_) => {}
            Err(error) => break error.kind() == io::ErrorKind::WouldBlock,
        }
    };
    alive && tcp.set_nonblocking(false).is_ok()
}

/// `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`, without a line end.
fn message(host: &str, record: &AuditRecord, line: &[u8]) -> Vec<u8> {
    let priority = if record.warns() {
        WARNING
    } else {
        INFORMATIONAL
    };
    let head = format!(
        "<{priority}>1 {} {host} authrelay {} {} - ",
        record.time,
        std::process::id(),
        record.event.name(),
    );
    [head.as_bytes(), line.trim_ascii_end()].concat()
}

/// This machine's name as RFC 5424 requires it: 1 to 255 printable ASCII characters.
fn host_name() -> String {
    let name = crate::platform::host_name();
    match (1..=255).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_graphic()) {
        true => name,
        false => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::record::Event;

    #[test]
    fn a_message_is_what_rfc_5424_says() {
        let mut record = AuditRecord::new(Event::Login);
        record.outcome = Some("refused");
        record.time = "2026-11-25T13:22:28.001Z".into();
        let text = String::from_utf8(message("relay1", &record, b"{\"v\":1}\n")).unwrap();
        let id = std::process::id();
        let expected =
            format!("<84>1 2026-11-25T13:22:28.001Z relay1 authrelay {id} login - {{\"v\":1}}");
        assert_eq!(text, expected);
        record.outcome = Some("accepted");
        assert!(message("relay1", &record, b"").starts_with(b"<86>1 "));
    }

    #[test]
    fn without_room_messages_are_dropped_and_counted() {
        let syslog = Syslog::new(OnFull::Continue);
        let record = AuditRecord::new(Event::Session);
        for _ in 0..5 {
            syslog.push(&record, vec![b'x'; MAX_QUEUED / 4]);
        }
        assert_eq!(syslog.lock().waiting.len(), 3);
        assert_eq!(syslog.lock().dropped, 2);
        assert_eq!(syslog.finish(Instant::now()), 3);
    }
}
