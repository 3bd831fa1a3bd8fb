//! Sends records to a syslog server (RFC 5424): over UDP (RFC 5426), TCP with octet counting (RFC
//! 6587 §3.4.1) or TLS (RFC 5425).
//!
//! A message's text is the record's line, byte for byte, so that the receiver can verify the chain.
//! Syslog has no acknowledgements: messages in a failing connection are lost, and are seen as a gap
//! in the chain. A message that could not be passed to the connection is sent again.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};

use super::record::AuditRecord;
use super::remote::{Delivery, Undelivered, Wording};
use crate::config::{Syslog as Server, SyslogTransport};
use crate::outbound::connect;

/// Longest time to connect, and for each write.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Priority: facility authpriv (10), severity warning.
const WARNING: u8 = 10 * 8 + 4;
const INFORMATIONAL: u8 = 10 * 8 + 6;

/// Log messages about the syslog server.
pub(super) const WORDING: Wording = Wording {
    full: (
        "audit records are not sent to syslog",
        "the syslog server cannot be reached or is slow; the file has what it lacks",
    ),
    unreachable: (
        "syslog cannot be reached",
        "check audit.syslog, the server and its certificate; it is tried again",
    ),
    again: "syslog is reached again",
};

/// Delivers messages to one syslog server, one at a time.
pub(super) struct Syslog {
    server: Server,
    connection: Option<Connection>,
}

impl Syslog {
    /// Creates a sender that is not connected yet.
    pub(super) fn new(server: Server) -> Self {
        Self {
            server,
            connection: None,
        }
    }
}

impl Delivery for Syslog {
    fn address(&self) -> String {
        self.server.address.to_string()
    }

    /// One message: each is passed to the connection by itself.
    fn batch(&self) -> (usize, usize) {
        (1, usize::MAX)
    }

    fn deliver(&mut self, messages: &[Vec<u8>]) -> Result<(), Undelivered> {
        for message in messages {
            if let Err(error) = send(&self.server, &mut self.connection, message) {
                self.connection = None;
                if !is_too_long(&error) {
                    return Err(Undelivered::Later(reason(&error)));
                }
                tracing::error!(
                    octets = message.len(),
                    remedy = "use transport tcp or tls",
                    "an audit record is longer than a UDP datagram; it was not sent to syslog"
                );
            }
        }
        Ok(())
    }
}

/// Reason for the log. A socket's timeout is EAGAIN on Unix, whose text says nothing about time.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
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

/// Connects within [`SEND_TIMEOUT`], with TLS within twice that.
fn connect(server: &Server) -> io::Result<Connection> {
    let tcp = || {
        let tcp = connect::blocking(&server.address.host, server.address.port, SEND_TIMEOUT)?;
        tcp.set_write_timeout(Some(SEND_TIMEOUT))?;
        tcp.set_read_timeout(Some(SEND_TIMEOUT))?;
        Ok::<_, io::Error>(tcp)
    };
    match server.transport {
        SyslogTransport::Udp => datagrams(server).map(Connection::Udp),
        SyslogTransport::Tcp => tcp().map(Connection::Tcp),
        SyslogTransport::Tls => {
            let authorities = server.ca.as_ref().map_or(&[][..], |ca| &ca.0);
            let config = crate::tls::client(authorities).map_err(io::Error::other)?;
            let name = server.server_name().ok_or(io::ErrorKind::InvalidInput)?;
            let tls = ClientConnection::new(Arc::new(config), name);
            let mut tls = StreamOwned::new(tls.map_err(io::Error::other)?, tcp()?);
            let end = Instant::now() + SEND_TIMEOUT;
            while tls.conn.is_handshaking() {
                if Instant::now() > end {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                // One read or write at a time, so that a slow server cannot exceed the deadline.
                if tls.conn.wants_write() {
                    tls.conn.write_tls(&mut tls.sock)?;
                } else if tls.conn.read_tls(&mut tls.sock)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                } else if let Err(error) = tls.conn.process_new_packets() {
                    // Sends the alert with the reason.
                    let _ = tls.conn.write_tls(&mut tls.sock);
                    return Err(io::Error::other(error));
                }
            }
            Ok(Connection::Tls(Box::new(tls)))
        }
    }
}

/// Creates a socket for the first usable address.
fn datagrams(server: &Server) -> io::Result<UdpSocket> {
    let mut last = io::Error::other("the name has no address");
    for address in
        connect::blocking_addresses(&server.address.host, server.address.port, SEND_TIMEOUT)?
    {
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
    /// Whether the server still has the connection open. Writing to a connection that it has closed
    /// would lose the message without an error.
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

/// Reads available input without blocking. Returns whether the connection is still open.
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

/// Builds `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`, without line end.
pub(super) fn message(host: &str, record: &AuditRecord, line: &[u8]) -> Vec<u8> {
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

/// Name of this machine in RFC 5424's form: 1 to 255 printable ASCII characters, or `-`.
pub(super) fn host_name() -> String {
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

    /// A server that takes connections and says nothing, as one that waits for another's TLS does.
    #[test]
    fn a_silent_server_is_said_to_be_silent() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut tcp = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        tcp.set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let error = tcp.read(&mut [0]).unwrap_err();
        assert_eq!(reason(&error), "no answer in time");
        assert_eq!(reason(&io::ErrorKind::TimedOut.into()), "no answer in time");
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(reason(&refused), "connection refused");
    }

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
}
