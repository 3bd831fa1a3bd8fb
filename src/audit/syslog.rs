//! Sends records to a syslog server (RFC 5424): over UDP (RFC 5426), TCP with octet counting (RFC
//! 6587 §3.4.1) or TLS (RFC 5425).
//!
//! A message's text is the record's line, byte for byte, so that the receiver can verify the chain.
//! Syslog has no acknowledgements: messages in a failing connection are lost, and are seen as a gap
//! in the chain. A message that could not be passed to the connection is sent again.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::record::AuditRecord;
use super::remote::{Delivery, Receiver, Undelivered};
use crate::config::{Syslog as Server, SyslogTransport};
use crate::outbound::connect;

/// Longest time to connect, for the TLS handshake, and to write a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Priority: facility authpriv (10), severity warning.
const WARNING: u8 = 10 * 8 + 4;
const INFORMATIONAL: u8 = 10 * 8 + 6;

/// The syslog server, as its queue needs it.
pub(super) const RECEIVER: Receiver = Receiver {
    message: |record, line| message(&HOST, record, line),
    full: (
        "audit records are not sent to syslog",
        "the syslog server cannot be reached or is slow; the file has what it lacks",
    ),
    unreachable: (
        "syslog cannot be reached",
        "check audit.syslog, the server and its certificate; it is tried again",
    ),
    again: "syslog is reached again",
    unsent: "audit records could not be sent to syslog before the end",
};

/// Name of this machine in RFC 5424's form: 1 to 255 printable ASCII characters, or `-`.
static HOST: LazyLock<String> = LazyLock::new(|| {
    let name = crate::platform::host_name();
    match (1..=255).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_graphic()) {
        true => name,
        false => "-".to_owned(),
    }
});

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

    async fn deliver(&mut self, messages: &[Vec<u8>]) -> Result<(), Undelivered> {
        for message in messages {
            if let Err(error) = send(&self.server, &mut self.connection, message).await {
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

/// Reason for the log.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether the error is Linux's EMSGSIZE.
fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(90)
}

enum Connection {
    Datagrams(UdpSocket),
    Stream(Either<TcpStream, Box<TlsStream<TcpStream>>>),
}

async fn send(
    server: &Server,
    connection: &mut Option<Connection>,
    message: &[u8],
) -> io::Result<()> {
    if let Some(Connection::Stream(stream)) = connection
        && !is_open(stream).await
    {
        *connection = None;
    }
    let open = match connection {
        Some(open) => open,
        None => connection.insert(connect(server).await?),
    };
    match open {
        Connection::Datagrams(socket) => socket.send(message).await.map(drop),
        Connection::Stream(stream) => {
            let counted = [format!("{} ", message.len()).as_bytes(), message].concat();
            let write = async {
                stream.write_all(&counted).await?;
                stream.flush().await
            };
            timeout(SEND_TIMEOUT, write).await?
        }
    }
}

/// Connects within [`SEND_TIMEOUT`], with TLS within twice that.
async fn connect(server: &Server) -> io::Result<Connection> {
    let (host, port) = (&server.address.host, server.address.port);
    if server.transport == SyslogTransport::Udp {
        let addresses = timeout(SEND_TIMEOUT, connect::addresses(host, port)).await??;
        return Ok(Connection::Datagrams(datagrams(addresses).await?));
    }
    let tcp = timeout(SEND_TIMEOUT, connect::to_host(host, port)).await??;
    if server.transport == SyslogTransport::Tcp {
        return Ok(Connection::Stream(Either::Left(tcp)));
    }
    let authorities = server.ca.as_ref().map_or(&[][..], |ca| &ca.0);
    let config = crate::tls::client(authorities).map_err(io::Error::other)?;
    let name = server.server_name().ok_or(io::ErrorKind::InvalidInput)?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let tls = timeout(SEND_TIMEOUT, handshake).await??;
    Ok(Connection::Stream(Either::Right(Box::new(tls))))
}

/// Creates a socket for the first usable address.
async fn datagrams(addresses: Vec<SocketAddr>) -> io::Result<UdpSocket> {
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        let any = match address.is_ipv4() {
            true => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            false => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let connected = async {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(address).await?;
            Ok(socket)
        };
        match connected.await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether the server still has the connection open. Writing to a connection that it has closed
/// would lose the message without an error.
async fn is_open(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    // The runtime asks the system about its sockets meanwhile.
    tokio::task::yield_now().await;
    loop {
        match stream.read(&mut [0; 512]).now_or_never() {
            None => return true,
            Some(Ok(1..)) => {}
            Some(Ok(0) | Err(_)) => return false,
        }
    }
}

/// Builds `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`, without line end.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    use crate::audit::record::Event;
    use crate::config::HostPort;

    fn sender(server: &std::net::TcpListener, transport: SyslogTransport) -> Syslog {
        Syslog::new(Server {
            address: HostPort {
                host: "127.0.0.1".into(),
                port: server.local_addr().unwrap().port(),
            },
            transport,
            ca: None,
        })
    }

    /// A server that takes connections and says nothing, as one that waits for another's TLS does.
    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_said_to_be_silent() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut syslog = sender(&silent, SyslogTransport::Tls);
        let undelivered = syslog.deliver(&[b"record".to_vec()]).await.unwrap_err();
        assert_eq!(
            undelivered,
            Undelivered::Later("no answer in time".to_owned())
        );
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(reason(&refused), "connection refused");
    }

    /// The server closes each connection after a message; no message goes to one that is closed.
    #[test]
    fn a_closed_connection_takes_no_message() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut syslog = sender(&server, SyslogTransport::Tcp);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        for number in 0..100 {
            let message = format!("message {number:03}").into_bytes();
            runtime
                .block_on(syslog.deliver(std::slice::from_ref(&message)))
                .unwrap();
            let (mut client, _) = server.accept().unwrap();
            let mut counted = [0; 14];
            client.read_exact(&mut counted).unwrap();
            assert!(counted.ends_with(&message), "{number}");
        }
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
