//! An emulated Microsoft 365 on loopback: Entra's token endpoint and Exchange's IMAP, POP3 and
//! SMTP, with the quirks of the real ones and with faults on demand.
//!
//! It serves `authrelay sandbox` and the integration tests. It is independent of the
//! product: they share no parser and no TLS set-up. It keeps mail in memory, trusts every client
//! on loopback, and must never be reachable from a network.

mod clock;
mod entra;
mod exchange;
mod fault;
mod imap;
mod mailbox;
mod pop3;
mod relay;
mod seen;
mod sending;
mod smtp;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use fault::{Fault, UnknownFault};
pub use relay::Ports;
pub use seen::{Counts, Seen};

use exchange::Mode;
use mailbox::Mailbox;
use seen::{Log, Service};

/// The login of [`Sandbox::proxy_yaml`]'s account.
pub const LOGIN: &str = "tickets@contoso.test";
/// Its local password.
pub const PASSWORD: &str = "sandbox-local-7Qx2";
/// The mailbox it opens.
pub const MAILBOX: &str = LOGIN;
/// A second mailbox, which the same tokens open.
pub const SHARED_MAILBOX: &str = "helpdesk@contoso.test";
/// The tenant's id.
pub const TENANT: &str = "c0a70500-0000-4000-8000-00000000c057";
/// The application's id.
pub const CLIENT_ID: &str = "11111111-2222-3333-4444-555555555555";
/// The application's secret.
pub const CLIENT_SECRET: &str = "sbx8Q~client.secret-4Kd0vYz1";

/// Behaviour without faults.
#[derive(Debug, Clone)]
pub struct Options {
    /// `expires_in` of the tokens; Exchange's IMAP sessions end with their token.
    pub lifetime: Duration,
    /// Approximate size of a token in octets; at least that of its claims.
    pub token_size: usize,
    /// Delay before the token endpoint answers.
    pub token_delay: Duration,
    /// Whether refusals come five seconds late, as Exchange's do.
    pub tarpit: bool,
    /// Maximum number of messages in flight of one mailbox; Exchange allows 3.
    pub smtp_connections: Option<usize>,
    /// Maximum number of messages of one mailbox in a minute; more are delayed. Exchange allows 30.
    pub smtp_messages: Option<usize>,
    /// Number of polls for which a device code stays pending.
    pub device_polls: u32,
    /// Further mailboxes that exist.
    pub mailboxes: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(3599),
            token_size: 2048,
            token_delay: Duration::ZERO,
            tarpit: false,
            smtp_connections: Some(3),
            smtp_messages: Some(30),
            device_polls: 1,
            mailboxes: Vec::new(),
        }
    }
}

/// The running emulation; it ends when this is dropped.
pub struct Sandbox {
    shared: Arc<Shared>,
    addresses: Addresses,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Debug, Clone, Copy)]
struct Addresses {
    token: SocketAddr,
    token_tls: SocketAddr,
    imap: SocketAddr,
    imap_starttls: SocketAddr,
    pop3: SocketAddr,
    pop3_starttls: SocketAddr,
    smtp: SocketAddr,
    smtp_implicit: SocketAddr,
}

/// What all servers share.
struct Shared {
    options: Options,
    identities: tls::Identities,
    tokens: tokens::Tokens,
    log: Log,
    fault: watch::Sender<Option<Fault>>,
    mailboxes: Mutex<BTreeMap<String, Arc<Mailbox>>>,
    /// Cancelled, and replaced, to end all open connections.
    current: Mutex<CancellationToken>,
}

impl Sandbox {
    /// Serves on ports of 127.0.0.1 that the system picks.
    pub async fn start(options: Options) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            identities: tls::Identities::new()?,
            tokens: tokens::Tokens::default(),
            log: Log::default(),
            fault: watch::Sender::new(None),
            mailboxes: Mutex::default(),
            current: Mutex::new(stop.child_token()),
            options,
        });
        for name in [MAILBOX, SHARED_MAILBOX] {
            shared.add_mailbox(name);
        }
        for name in &shared.options.mailboxes {
            shared.add_mailbox(name);
        }
        let tasks = TaskTracker::new();
        let (token, token_tls) = entra::serve(&shared, &stop, &tasks)?;
        let mail = |service, mode| exchange::listen(&shared, &stop, &tasks, service, mode);
        let addresses = Addresses {
            token,
            token_tls,
            imap: mail(Service::Imap, Mode::Implicit)?,
            imap_starttls: mail(Service::Imap, Mode::Starttls)?,
            pop3: mail(Service::Pop3, Mode::Implicit)?,
            pop3_starttls: mail(Service::Pop3, Mode::Starttls)?,
            smtp: mail(Service::Smtp, Mode::Starttls)?,
            smtp_implicit: mail(Service::Smtp, Mode::Implicit)?,
        };
        Ok(Self {
            shared,
            addresses,
            stop,
            tasks,
        })
    }

    /// Ends everything and returns when it has ended.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// IMAP under implicit TLS.
    pub fn imap(&self) -> SocketAddr {
        self.addresses.imap
    }

    /// IMAP with STARTTLS.
    pub fn imap_starttls(&self) -> SocketAddr {
        self.addresses.imap_starttls
    }

    /// POP3 under implicit TLS.
    pub fn pop3(&self) -> SocketAddr {
        self.addresses.pop3
    }

    /// POP3 with STLS.
    pub fn pop3_starttls(&self) -> SocketAddr {
        self.addresses.pop3_starttls
    }

    /// SMTP submission with STARTTLS, as Exchange Online has it.
    pub fn smtp(&self) -> SocketAddr {
        self.addresses.smtp
    }

    /// SMTP submission under implicit TLS.
    pub fn smtp_implicit(&self) -> SocketAddr {
        self.addresses.smtp_implicit
    }

    /// The token endpoint over HTTP.
    pub fn token_url(&self) -> String {
        format!("{}/{TENANT}/oauth2/v2.0/token", self.authority())
    }

    /// The token endpoint over HTTPS, under [`Self::ca_pem`].
    pub fn token_url_tls(&self) -> String {
        let port = self.addresses.token_tls.port();
        format!("https://localhost:{port}/{TENANT}/oauth2/v2.0/token")
    }

    /// Base URL of the identity provider, over HTTP.
    pub fn authority(&self) -> String {
        format!("http://{}", self.addresses.token)
    }

    /// The certificate that signed those of the servers, which are for `localhost` and 127.0.0.1.
    pub fn ca_pem(&self) -> &str {
        &self.shared.identities.ca_pem
    }

    /// Sets the fault, or none, from now on.
    pub fn set_fault(&self, fault: Option<Fault>) {
        if fault == Some(Fault::TokenStale) {
            self.shared.tokens.mark_stale();
        }
        self.shared.fault.send_replace(fault);
    }

    /// The current fault.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.fault()
    }

    /// Everything observed until now.
    pub fn seen(&self) -> Seen {
        self.shared.log.snapshot()
    }

    /// Returns when `condition` holds of the observations; put a timeout around it.
    pub async fn wait_for(&self, condition: impl FnMut(&Seen) -> bool) -> Seen {
        self.shared.log.wait_for(condition).await
    }

    /// Appends a message to a mailbox's INBOX and tells sessions in IDLE; creates the mailbox.
    pub fn deliver(&self, mailbox: &str, message: impl Into<Bytes>) {
        self.shared.add_mailbox(mailbox).deliver(message.into());
    }

    /// The messages in a mailbox's INBOX.
    pub fn messages(&self, mailbox: &str) -> Vec<Bytes> {
        let Some(mailbox) = self.shared.mailbox(mailbox) else {
            return Vec::new();
        };
        let messages = mailbox.messages();
        messages.into_iter().map(|message| message.bytes).collect()
    }

    /// Creates a mailbox unless it exists.
    pub fn add_mailbox(&self, name: &str) {
        self.shared.add_mailbox(name);
    }

    /// Issues a valid token for any mailbox, for clients that speak to the sandbox directly.
    pub fn issue_token(&self) -> io::Result<String> {
        let options = &self.shared.options;
        self.shared
            .tokens
            .issue(options.token_size, options.lifetime, "", None, None)
    }

    /// Every token issued so far is refused from now on; open sessions go on.
    pub fn revoke_tokens(&self) {
        self.shared.tokens.revoke_all();
    }

    /// Closes every connection to the mail services, as a failing load balancer does.
    pub fn disconnect(&self) {
        let mut current = self.shared.current.lock();
        current.cancel();
        *current = self.stop.child_token();
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Shared {
    fn fault(&self) -> Option<Fault> {
        *self.fault.borrow()
    }

    fn mailbox(&self, name: &str) -> Option<Arc<Mailbox>> {
        self.mailboxes
            .lock()
            .get(&name.to_ascii_lowercase())
            .cloned()
    }

    fn add_mailbox(&self, name: &str) -> Arc<Mailbox> {
        self.mailboxes
            .lock()
            .entry(name.to_ascii_lowercase())
            .or_insert_with(|| Mailbox::new(name))
            .clone()
    }
}

/// Listener with a backlog for ten thousand clients that connect at once.
fn bind() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    socket.listen(16_384)
}
