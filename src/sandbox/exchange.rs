//! What Exchange's three protocols have in common: accepting connections, XOAUTH2, and the end of sessions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::mailbox::Mailbox;
use super::seen::Service;
use super::stream::{Conn, Socket};
use super::{Fault, Shared, bind, imap, pop3, smtp};

/// The challenge that Google sends before it refuses.
pub(super) const CHALLENGE: &str = "eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIiwic2NvcGUiOiJodHRwczovL21haWwuZ29vZ2xlLmNvbS8ifQ==";
/// `localhost` as the bracketed server name of the greetings: base64 of UTF-16LE.
pub(super) const SERVER: &str = "TABPAEMAQQBMAEgATwBTAFQA";

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Implicit,
    Starttls,
}

/// Accepts connections until `stop`.
pub(super) fn listen(
    shared: &Arc<Shared>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
    service: Service,
    mode: Mode,
) -> io::Result<SocketAddr> {
    let listener = bind()?;
    let address = listener.local_addr()?;
    let (shared, stop, connections) = (shared.clone(), stop.clone(), tasks.clone());
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((tcp, _)) = accepted else {
                // Out of descriptors, most likely.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let shared = shared.clone();
            let end = shared.current.lock().clone();
            connections.spawn(async move {
                let _open = Open::new(&shared, service);
                // How a connection ends is the client's affair.
                let _ = end
                    .run_until_cancelled(serve(shared.clone(), service, mode, tcp))
                    .await;
            });
        }
    });
    Ok(address)
}

async fn serve(
    shared: Arc<Shared>,
    service: Service,
    mode: Mode,
    mut tcp: TcpStream,
) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let fault = shared.fault();
    match fault {
        Some(Fault::UpstreamUnreachable) => return Ok(()),
        Some(Fault::UpstreamSilent) => return silence(&mut tcp).await,
        _ => {}
    }
    let socket = match mode {
        Mode::Implicit => {
            let tls = shared.identities.acceptor(fault).accept(tcp);
            Socket::Tls(Box::new(Box::pin(tls).await?))
        }
        Mode::Starttls => Socket::Plain(tcp),
    };
    let mut conn = Conn::new(socket, shared.clone());
    match fault {
        Some(Fault::UpstreamGarbage) => {
            conn.say("SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3");
            return conn.close().await;
        }
        Some(Fault::UpstreamEndless) => {
            let (a, line) = ([b'A'; 16 * 1024], b"* OK +OK 220 ");
            conn.put(line);
            loop {
                conn.send(&a).await?;
            }
        }
        Some(Fault::UpstreamBusyGreeting) => {
            conn.say(match service {
                Service::Imap => "* BYE Server Unavailable. 15",
                Service::Pop3 => "-ERR Server Unavailable. 21",
                Service::Smtp => "421 4.3.2 Service not active",
            });
            return conn.close().await;
        }
        _ => {}
    }
    match service {
        Service::Imap => imap::serve(conn, shared).await,
        Service::Pop3 => pop3::serve(conn, shared).await,
        Service::Smtp => smtp::serve(conn, shared).await,
    }
}

/// Reads until the client closes, and never answers.
async fn silence(tcp: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 512];
    while tcp.read(&mut buffer).await? > 0 {}
    tcp.shutdown().await
}

/// Counts a connection while it is open.
struct Open(Arc<Shared>, Service);

impl Open {
    fn new(shared: &Arc<Shared>, service: Service) -> Self {
        shared.log.connected(service);
        Self(shared.clone(), service)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.log.disconnected(self.1);
    }
}

/// Session logged in by XOAUTH2, counted as such until this is dropped.
pub(super) struct Login {
    pub user: String,
    pub mailbox: Arc<Mailbox>,
    pub expires: Instant,
    shared: Arc<Shared>,
    service: Service,
}

impl Drop for Login {
    fn drop(&mut self) {
        self.shared.log.logged_out(self.service);
    }
}

/// Outcome of an XOAUTH2 payload.
pub(super) enum Outcome {
    Accepted(Login),
    Refused,
    /// Refused, by way of [`CHALLENGE`].
    Challenged,
    /// Refused for now.
    Throttled,
    /// Refused with BYE or 421; then the connection ends.
    Bye,
    /// Refused with this text over SMTP, as `Refused` elsewhere.
    Policy(&'static str),
    /// Refused over SMTP with this reply.
    Reply(&'static str),
}

/// High Volume Email's reply to a login under this fault.
fn high_volume(fault: Fault) -> Option<&'static str> {
    Some(match fault {
        Fault::HveTokenEnds => {
            "535 5.7.142 Authentication unsuccessful, the access token is about to expire."
        }
        Fault::HveTokenEnded => {
            "535 5.7.143 Authentication unsuccessful, the access token has expired."
        }
        Fault::HvePermission => {
            "535 5.7.144 Authentication unsuccessful, the access token does not have the required API permissions."
        }
        Fault::HveNotListed => {
            "550 5.7.240 The application is not allowed to use this High Volume Email account."
        }
        Fault::HveMalformed => "501 5.5.124 Invalid XOAUTH2 authentication data.",
        _ => return None,
    })
}

/// Judges an XOAUTH2 payload in base64. Hangs or fails where the fault of the moment says so.
pub(super) async fn judge(
    shared: &Arc<Shared>,
    service: Service,
    payload: &[u8],
) -> io::Result<Outcome> {
    let Some((user, token)) = decode(payload) else {
        shared.log.attempted(service, "<malformed>");
        return Ok(Outcome::Refused);
    };
    shared.log.attempted(service, &user);
    let fault = shared.fault();
    let smtp = service == Service::Smtp;
    match fault {
        Some(Fault::AuthHangs) => std::future::pending().await,
        Some(Fault::AuthDrop) => return Err(io::ErrorKind::ConnectionAborted.into()),
        Some(Fault::AuthRefused) => return Ok(Outcome::Refused),
        Some(Fault::AuthChallenge) => return Ok(Outcome::Challenged),
        Some(Fault::AuthThrottled) => return Ok(Outcome::Throttled),
        Some(Fault::AuthBye) => return Ok(Outcome::Bye),
        Some(Fault::SmtpDisabled) if smtp => {
            return Ok(Outcome::Policy(
                "SmtpClientAuthentication is disabled for the Tenant. \
                 Visit https://aka.ms/smtp_auth_disabled for more information.",
            ));
        }
        Some(fault) if smtp && high_volume(fault).is_some() => {
            return Ok(high_volume(fault).map_or(Outcome::Refused, Outcome::Reply));
        }
        Some(Fault::SecurityDefaults) if smtp => {
            return Ok(Outcome::Policy(
                "user is locked by your organization's security defaults policy. \
                 Contact your administrator.",
            ));
        }
        _ => {}
    }
    let (Some(token), Some(mailbox)) = (shared.tokens.check(&token, fault), shared.mailbox(&user))
    else {
        return Ok(Outcome::Refused);
    };
    shared.log.logged_in(service);
    Ok(Outcome::Accepted(Login {
        user,
        mailbox,
        expires: token.expires,
        shared: shared.clone(),
        service,
    }))
}

/// `user=` USER ^A `auth=Bearer ` TOKEN ^A ^A, in base64.
fn decode(payload: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(payload).ok()?).ok()?;
    let (user, rest) = text.strip_prefix("user=")?.split_once('\u{1}')?;
    let token = rest
        .strip_prefix("auth=Bearer ")?
        .strip_suffix("\u{1}\u{1}")?;
    let clean = |text: &str| !text.is_empty() && !text.contains(char::is_control);
    (clean(user) && clean(token)).then(|| (user.to_owned(), token.to_owned()))
}

/// Text of a SASL payload in a transcript, without the token.
pub(super) fn shown(payload: &[u8]) -> String {
    match decode(payload) {
        Some((user, _)) => format!("<xoauth2 {user}>"),
        None => format!("<{} octets>", payload.len()),
    }
}

/// `VERB` in upper case, and what follows the first space.
pub(super) fn split_verb(line: &[u8]) -> (String, &[u8]) {
    let at = line
        .iter()
        .position(|&byte| byte == b' ')
        .unwrap_or(line.len());
    let (verb, rest) = line.split_at(at);
    (
        String::from_utf8_lossy(verb).to_ascii_uppercase(),
        rest.strip_prefix(b" ").unwrap_or(rest),
    )
}
