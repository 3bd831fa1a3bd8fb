//! A legacy application, reduced to its socket.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use authrelay::wire::Protocol;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::clock::patient;

/// What stands at the end of what a peer sent.
pub const END: &str = "<end>";

trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Socket for T {}

pub struct Client {
    pub protocol: Protocol,
    socket: Box<dyn Socket>,
    input: Vec<u8>,
}

impl Client {
    /// Connects, and waits for nothing.
    pub async fn dial(protocol: Protocol, address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        Self {
            protocol,
            socket: Box::new(tcp),
            input: Vec::new(),
        }
    }

    /// A connection that another program makes.
    pub fn from_socket(
        protocol: Protocol,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        Self {
            protocol,
            socket: Box::new(socket),
            input: Vec::new(),
        }
    }

    /// Connects so that dropping it resets the connection, as a process that is killed with unread
    /// replies does.
    pub async fn dial_to_reset(protocol: Protocol, address: SocketAddr) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        socket2::SockRef::from(&tcp)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
        Self {
            protocol,
            socket: Box::new(tcp),
            input: Vec::new(),
        }
    }

    /// Goes on under TLS.
    pub async fn encrypt(self, config: Arc<rustls::ClientConfig>) -> Self {
        assert!(self.input.is_empty(), "in clear: {:?}", self.input);
        let name = ServerName::try_from("localhost").unwrap();
        let handshake = TlsConnector::from(config).connect(name, self.socket);
        let tls = patient("TLS with the listener", handshake).await.unwrap();
        Self {
            socket: Box::new(tls),
            ..self
        }
    }

    pub async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.try_send(text).await.unwrap();
    }

    pub async fn try_send(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        patient("sending", async {
            self.socket.write_all(text.as_ref()).await?;
            self.socket.flush().await
        })
        .await
    }

    /// Sends for as long as the relay takes it, and reads nothing.
    pub async fn sends_unread(mut self, text: String) {
        let _ = self.socket.write_all(text.as_bytes()).await;
        std::future::pending().await
    }

    /// Sends octet by octet, each in a packet of its own.
    pub async fn dribble(&mut self, text: &str) {
        for octet in text.as_bytes() {
            self.send([*octet]).await;
            tokio::task::yield_now().await;
        }
    }

    /// Ends its own direction.
    pub async fn half_close(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    /// What comes next; empty at the end.
    async fn more(&mut self) -> usize {
        let mut buffer = vec![0; 64 * 1024];
        let read = self.socket.read(&mut buffer);
        let length = patient("bytes from the relay", read).await.unwrap_or(0);
        self.input.extend_from_slice(&buffer[..length]);
        length
    }

    /// Everything up to and with `end`, or all there is and [`END`].
    pub async fn until(&mut self, end: &str) -> String {
        let mut searched = 0;
        loop {
            let found = memchr::memmem::find(&self.input[searched..], end.as_bytes());
            if let Some(at) = found {
                let rest = self.input.split_off(searched + at + end.len());
                let taken = std::mem::replace(&mut self.input, rest);
                return String::from_utf8(taken).unwrap();
            }
            searched = (self.input.len() + 1).saturating_sub(end.len());
            if self.more().await == 0 {
                return String::from_utf8(std::mem::take(&mut self.input)).unwrap() + END;
            }
        }
    }

    /// A line with its CRLF.
    pub async fn line(&mut self) -> String {
        self.until("\r\n").await
    }

    /// A reply: POP3 and IMAP lines, SMTP's lines up to the last.
    pub async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let line = self.line().await;
            let goes_on = self.protocol == Protocol::Smtp && line.as_bytes().get(3) == Some(&b'-');
            reply.push_str(&line);
            if !goes_on {
                return reply;
            }
        }
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> String {
        String::from_utf8(self.rest_bytes().await).unwrap()
    }

    pub async fn rest_bytes(&mut self) -> Vec<u8> {
        while self.more().await > 0 {}
        std::mem::take(&mut self.input)
    }

    /// Exactly so many octets.
    pub async fn exactly(&mut self, octets: usize) -> Vec<u8> {
        while self.input.len() < octets {
            assert!(self.more().await > 0, "the end after {}", self.input.len());
        }
        let rest = self.input.split_off(octets);
        std::mem::replace(&mut self.input, rest)
    }

    pub async fn ask(&mut self, text: &str, end: &str) -> String {
        self.send(text).await;
        self.until(end).await
    }

    /// Presents credentials in the protocol's plainest way and gives the reply to them.
    pub async fn log_in(&mut self, login: &str, password: &str) -> String {
        match self.protocol {
            Protocol::Imap => {
                self.send(format!("a LOGIN \"{login}\" \"{password}\"\r\n"))
                    .await;
            }
            Protocol::Pop3 => {
                let answer = self.ask(&format!("USER {login}\r\n"), "\r\n").await;
                assert!(answer.starts_with("+OK"), "{answer}");
                self.send(format!("PASS {password}\r\n")).await;
            }
            Protocol::Smtp => {
                self.send(format!("AUTH PLAIN {}\r\n", plain(login, password)))
                    .await;
            }
        }
        self.reply().await
    }

    /// Before login: the connection is open and the dialogue goes on.
    pub async fn assert_goes_on(&mut self) {
        let (command, end, answer) = match self.protocol {
            Protocol::Imap => ("probe NOOP\r\n", "\r\n", "probe OK"),
            Protocol::Pop3 => ("CAPA\r\n", "\r\n.\r\n", "+OK"),
            Protocol::Smtp => ("NOOP\r\n", "\r\n", "250 "),
        };
        let said = self.ask(command, end).await;
        assert!(said.starts_with(answer), "{said}");
    }
}

/// PLAIN's response in base64.
pub fn plain(login: &str, password: &str) -> String {
    base64(format!("\0{login}\0{password}"))
}

pub fn base64(text: impl AsRef<[u8]>) -> String {
    STANDARD.encode(text)
}
