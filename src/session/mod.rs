//! One client's connection from accept to end: the only place that drives all the others.
//!
//! ```text
//!     (PROXY header) ─▶ allowed? ─▶ (TLS) ─▶ login::front ─▶ accounts ─▶ token ─▶ outbound ─▶ login::back ─▶ relay
//! ```
//!
//! One deadline covers everything up to the end of the login. What was learned is on the
//! `SessionRecord` at any moment, so that a session that is cancelled or panics is logged too.

mod active;
mod dialogue;
mod record;
mod registry;
mod relaying;
mod submission;
mod upstream;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::accept::ServedListener;
use crate::accept::admission::SessionPermit;
use crate::audit::{self, Audit};
use crate::auth::Authenticator;
use crate::auth::password::VerifiedLogin;
use crate::config::{Account, Config, Limits, Listener, ListenerTls, Provider};
use crate::fault::{Fault, Kind};
use crate::fault_log::FaultLogLimiter;
use crate::history::LoginHistory;
use crate::login::front::Front;
use crate::metrics::Metrics;
use crate::outbound::http;
use crate::relay::{ClosedBy, Connection as _, Drain, Driver, Machine};
use crate::stream::Stream;
use crate::throttle::Throttles;
use crate::tls;
use crate::token::store::Store;
use crate::token::{TokenSource, TokenSourceConfig};
use crate::wire::Protocol;
pub use active::ActiveService;
use registry::SessionRegistry;
pub use registry::SessionStatus;

use record::SessionRecord;
use relaying::{Relayed, RelayingSession, SessionBackend};
use upstream::LoggedIn;

/// All waits of a login together end so long before its deadline, so that the client gets their
/// own fault and not the deadline's.
const LOGIN_MARGIN: Duration = Duration::from_secs(2);

/// How long a client that is turned away may take to hear it.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it may take where everything has to stop.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// What all sessions share, under one configuration.
pub struct Service {
    limits: Limits,
    accounts: Authenticator,
    /// As configured, in the file's order.
    configured: Vec<Arc<Account>>,
    listeners: Vec<Arc<Listener>>,
    token_source: Arc<TokenSource>,
    history: Arc<LoginHistory>,
    metrics: Arc<Metrics>,
    /// What mail services allow mailboxes.
    throttles: Arc<Throttles>,
    fault_log: Arc<FaultLogLimiter>,
    sessions: Arc<SessionRegistry>,
    audit: Option<Audit>,
    /// By provider.
    tls: UpstreamsTls,
    /// Capabilities that upstreams showed, by provider and protocol.
    learned: Arc<Mutex<Learned>>,
    /// End at the next clean boundary.
    pub drain: CancellationToken,
    /// End now.
    pub stop: CancellationToken,
}

type UpstreamsTls = BTreeMap<String, Arc<rustls::ClientConfig>>;

type Learned = HashMap<(String, Protocol), Arc<[String]>>;

/// Registrations' endpoints and providers' upstreams, and how they are reached.
fn outbound_clients(config: &Config) -> anyhow::Result<(UpstreamsTls, TokenSourceConfig<'_>)> {
    let mut tls = BTreeMap::new();
    let mut clients = BTreeMap::new();
    for provider in config.providers.values() {
        let client = tls::client(&provider.ca)?;
        clients.insert(
            provider.name.clone(),
            http::Client::new(client.clone(), provider.egress.clone(), provider.ip),
        );
        tls.insert(provider.name.clone(), Arc::new(client));
    }
    let store = match config.state.wanted {
        true => Some(Store::open(&config.state)?),
        false => None,
    };
    let tools = TokenSourceConfig {
        registrations: &config.registrations,
        clients,
        timeout: config.limits.upstream_timeout,
        store,
    };
    Ok((tls, tools))
}

/// Why a login phase ended without a login.
enum LoginEnd {
    /// The client left.
    Left,
    /// Told to the client or not to be told: its connection ends.
    Fault(Fault),
    /// The last attempt was refused with a reply that ends the connection (SMTP's 421).
    Refused,
}

impl Service {
    /// Whatever `config` says.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let (tls, tools) = outbound_clients(config)?;
        let metrics = Arc::new(Metrics::new(config));
        let counted = metrics.clone();
        let broker = TokenSource::new(tools)?.observed_by(move |registration, outcome, took| {
            counted.token_request(registration, outcome, took);
        });
        Ok(Self {
            limits: config.limits.clone(),
            accounts: Authenticator::new(config)?,
            configured: config.accounts.clone(),
            listeners: config.listeners.clone(),
            token_source: Arc::new(broker),
            history: Arc::default(),
            metrics,
            throttles: Arc::default(),
            fault_log: Arc::default(),
            sessions: Arc::default(),
            audit: None,
            tls,
            learned: Arc::default(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Opens what `config` wants audit records in.
    ///
    /// # Errors
    ///
    /// As [`Audit::start`].
    pub fn audited(mut self, config: &Config) -> Result<Self, audit::AuditError> {
        self.audit = config.audit.as_ref().map(Audit::start).transpose()?;
        Ok(self)
    }

    /// Whatever `config` says, with all that was learned and is held so far: tokens, lockouts,
    /// counts, sessions.
    fn reconfigured(&self, config: &Config) -> anyhow::Result<Self> {
        let (tls, tools) = outbound_clients(config)?;
        Ok(Self {
            limits: config.limits.clone(),
            accounts: self.accounts.reconfigured(config),
            configured: config.accounts.clone(),
            listeners: config.listeners.clone(),
            token_source: Arc::new(self.token_source.reconfigured(tools)),
            history: self.history.clone(),
            metrics: self.metrics.clone(),
            throttles: self.throttles.clone(),
            fault_log: self.fault_log.clone(),
            sessions: self.sessions.clone(),
            audit: self.audit.clone(),
            tls,
            learned: self.learned.clone(),
            drain: self.drain.clone(),
            stop: self.stop.clone(),
        })
    }

    /// What is counted and held follows `config`, now that this is in force.
    fn activate(&self, config: &Config) {
        self.metrics.renew(config);
        self.accounts.activate(config);
        self.token_source.activate();
    }

    /// The sessions that are open.
    pub fn sessions(&self) -> &SessionRegistry {
        &self.sessions
    }

    /// The accounts, in the file's order.
    pub fn accounts(&self) -> &[Arc<Account>] {
        &self.configured
    }

    /// The listeners, in the file's order.
    pub fn listeners(&self) -> &[Arc<Listener>] {
        &self.listeners
    }

    /// The account of a login, in any case.
    pub fn find(&self, login: &str) -> Option<&Arc<Account>> {
        self.accounts.find(login)
    }

    /// Where tokens come from.
    pub fn token_source(&self) -> &Arc<TokenSource> {
        &self.token_source
    }

    /// How TLS is spoken to a provider's upstreams.
    pub fn upstream_tls(&self, provider: &str) -> Option<Arc<rustls::ClientConfig>> {
        self.tls.get(provider).cloned()
    }

    /// `limits.upstream_timeout`.
    pub fn step_timeout(&self) -> Duration {
        self.limits.upstream_timeout
    }

    /// Keeps the consents alive that nobody has used for `age`, and asks about those that need
    /// attention; logins of wildcard accounts that have consented included.
    pub async fn refresh_unused(&self, age: Duration) {
        let Some(store) = self.token_source.store().cloned() else {
            return;
        };
        let logins = tokio::task::spawn_blocking(move || store.logins()).await;
        for login in logins.unwrap_or_default() {
            if let Some(account) = self.accounts.find(&login)
                && account.registration.grant.needs_consent()
            {
                self.token_source.refresh_unused(account, &login, age).await;
            }
        }
    }

    /// Whether audit records are asked for and cannot be written at the moment.
    pub fn is_audit_failing(&self) -> bool {
        self.audit.as_ref().is_some_and(Audit::is_failing)
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What is remembered of logins.
    pub fn history(&self) -> &LoginHistory {
        &self.history
    }

    /// From an accepted connection to a session that is logged in, under the newest configuration
    /// by then; nothing where it came to an end before.
    async fn start(
        self: Arc<Self>,
        newest: &ActiveService,
        door: &ServedListener,
        mut tcp: TcpStream,
        peer: SocketAddr,
        mut seat: SessionPermit,
    ) -> Option<Box<RelayingSession>> {
        let deadline = Instant::now() + self.limits.login_timeout;
        let peer = tokio::select! {
            client = crate::accept::identify_client(&door.listener, &self.fault_log, &mut tcp, peer, deadline) => client?,
            () = self.stop.cancelled() => return None,
        };
        let mut record = SessionRecord::new(&self, &door.listener, peer);
        let mut client = Stream::new(tcp);
        if !seat.admit(peer.ip()) {
            let fault = Fault::new(Kind::Sessions, "one session more than the limits allow")
                .with_remedy("let applications close their sessions, or raise limits.sessions or limits.sessions_per_client");
            record.on_failure(&fault);
            self.briefly(self.reject(door, &mut client, &fault)).await;
            return None;
        }
        let login = self.log_in(newest, door, &mut client, &mut record, deadline);
        match login.await {
            Ok((result, front)) => Some(
                self.clone()
                    .hand_over(client, front, result, record, seat)
                    .await,
            ),
            Err(exit) => {
                match exit {
                    LoginEnd::Left => {
                        record.closed_by(ClosedBy::Client);
                        return None;
                    }
                    LoginEnd::Fault(fault) => record.on_end(&fault),
                    // The record has the fault.
                    LoginEnd::Refused => record.closed_by(ClosedBy::Authrelay),
                }
                self.briefly(client.finish()).await;
                None
            }
        }
    }

    /// Gives a client the time to take its final reply: [`REJECTION_TIMEOUT`], and [`STOP_TIMEOUT`] from
    /// when everything has to stop.
    async fn briefly<T>(&self, reply: impl Future<Output = T>) {
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(STOP_TIMEOUT).await;
        };
        tokio::select! {
            _ = tokio::time::timeout(REJECTION_TIMEOUT, reply) => {}
            () = stopped => {}
        }
    }

    async fn reject(&self, door: &ServedListener, client: &mut Stream, fault: &Fault) {
        if let (ListenerTls::Implicit(_), Some(config)) = (&door.listener.tls, &door.tls)
            && client
                .encrypt_as_server(config.current(), config.requires_client_certificates())
                .await
                .is_err()
        {
            return;
        }
        let words = fault.reply(door.listener.protocol, None).text;
        if client.write(&words).await.is_ok() {
            client.finish().await;
        }
    }

    /// Everything up to the end of the login, under its deadline.
    async fn log_in(
        &self,
        newest: &ActiveService,
        door: &ServedListener,
        client: &mut Stream,
        record: &mut SessionRecord,
        deadline: Instant,
    ) -> Result<(LoginResult, Box<dyn Front>), LoginEnd> {
        let dialogue = self.client_dialogue(newest, door, client, record, deadline);
        let end = tokio::select! {
            end = timeout_at(deadline, dialogue) => end,
            () = self.stop.cancelled() => Ok(Err(LoginEnd::Fault(draining()))),
        };
        let fault = match end {
            Ok(Err(LoginEnd::Fault(fault))) if fault.kind() == Kind::Draining => fault,
            Ok(end) => return end,
            Err(_) => {
                let seconds = self.limits.login_timeout.as_secs_f32();
                Fault::new(Kind::LoginTimeout, format!("no login within {seconds} s"))
            }
        };
        let words = fault.reply(door.listener.protocol, None).text;
        self.briefly(client.write(&words)).await;
        Err(LoginEnd::Fault(fault))
    }

    /// Begins the relay: each side gets what the other has said already, exactly once.
    async fn hand_over(
        self: Arc<Self>,
        client: Stream,
        mut front: Box<dyn Front>,
        login: LoginResult,
        record: SessionRecord,
        seat: SessionPermit,
    ) -> Box<RelayingSession> {
        let protocol = record.protocol();
        let LoginResult { verified, upstream } = login;
        let capabilities = self.capabilities(&verified.account().registration.provider, protocol);
        let (tracker, submission) = self.tracker(protocol, &verified, &capabilities);
        let (upstream, accepted, said_down) = match upstream {
            Some(LoggedIn { stream, ready, .. }) => {
                (Some(Relayed::new(stream)), ready.accepted, ready.leftover)
            }
            None => (None, submission::accepted_here(), Bytes::new()),
        };
        let words = front.accept(&accepted);
        // What came after the credentials; what came after the upstream's success is there.
        let said_up = front.leftover();
        let now = Instant::now();
        let drain = record.drain().clone();
        record.byte_counters().add(0, words.len());
        let backend = SessionBackend { record, submission };
        let machine = Machine::new(tracker, self.limits.idle_timeout, now);
        let mut client = Relayed::new(client);
        // A client that does not read, an upstream that does not: the relay's own deadlines hold.
        std::future::poll_fn(|cx| {
            client.send(cx, &words);
            std::task::Poll::Ready(())
        })
        .await;
        let mut driver = Driver::new(machine, client, upstream, backend, now);
        std::future::poll_fn(|cx| {
            driver.begin(&said_up, &said_down, now, cx);
            std::task::Poll::Ready(())
        })
        .await;
        Box::new(RelayingSession {
            driver,
            drain,
            stop: self.stop.clone(),
            _seat: seat,
        })
    }

    /// What the provider's upstream lists, as far as that is known.
    fn capabilities(&self, provider: &Provider, protocol: Protocol) -> Arc<[String]> {
        let key = (provider.name.clone(), protocol);
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        match learned.get(&key) {
            Some(learned) => learned.clone(),
            None => provider.capabilities.of(protocol).into(),
        }
    }
}

/// A login that succeeded.
struct LoginResult {
    verified: VerifiedLogin,
    /// None where each MAIL has an upstream of its own.
    upstream: Option<LoggedIn>,
}

/// A session that has to end has had the time for it.
async fn overdue(drain: &Drain) {
    let within = drain.requested().await;
    tokio::time::sleep(within).await;
}

fn draining() -> Fault {
    Fault::new(Kind::Draining, "shutting down")
}
