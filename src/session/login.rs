//! One login: from an accepted connection to a relayed session, or to the end of the connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::record::{SessionOutcome, SessionRecord};
use super::relaying::{RelayingSession, SessionBackend};
use super::service::{ActiveService, Service};
use super::upstream::LoggedIn;
use crate::accept::admission::SessionPermit;
use crate::accept::{ServedListener, identify_client};
use crate::auth::password::VerifiedLogin;
use crate::config::ListenerTls;
use crate::fault::{Fault, Kind};
use crate::login::SuccessReply;
use crate::login::front::Front;
use crate::relay::{self, ClosedBy, Drain, Driver, Machine, STOP_TIMEOUT, draining};
use crate::stream::Stream;

/// Longest time for a rejected client to receive the reason.
const REJECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// A login in progress, from the first octet to [`Login::hand_over`].
pub(super) struct Login<'a> {
    /// Service under which the client was accepted.
    pub(super) service: Arc<Service>,
    /// Holder of the active service, which checks the credentials.
    pub(super) active: &'a ActiveService,
    pub(super) served: &'a ServedListener,
    pub(super) client: Stream,
    pub(super) record: SessionRecord,
    /// Time at which `limits.login_timeout` ends.
    pub(super) deadline: Instant,
}

pub(super) struct LoginResult {
    pub(super) verified: VerifiedLogin,
    /// Upstream connection; `None` if each MAIL opens its own.
    pub(super) upstream: Option<LoggedIn>,
}

/// Reason why a connection ends without a login.
pub(super) enum LoginEnd {
    /// The client left before it was logged in.
    ClientLeft,
    /// A fault; the client already has its reply, or gets none.
    Fault(Fault),
    /// The last attempt was refused with a reply that ends the connection (SMTP's 421).
    Refused,
}

impl ActiveService {
    /// Serves one connection until it ends.
    pub fn serve(
        self: Arc<Self>,
        served: Arc<ServedListener>,
        tcp: TcpStream,
        peer: SocketAddr,
        permit: SessionPermit,
    ) -> impl Future<Output = ()> + Send + 'static {
        // Boxed separately, so that a relayed session does not keep the memory of its login.
        let login = Box::pin(async move { start(&self, &served, tcp, peer, permit).await });
        async move {
            let session = login.await;
            if let Some(mut session) = session {
                let id = &session.driver.backend().record.session.id;
                let span = tracing::debug_span!("relay", session = id);
                relay::run(&mut session.driver, &session.drain, &session.stop)
                    .instrument(span)
                    .await;
            }
        }
    }
}

/// Drives an accepted connection to the end of its login. `None`: the connection ended before.
async fn start(
    active: &ActiveService,
    served: &ServedListener,
    mut tcp: TcpStream,
    peer: SocketAddr,
    mut permit: SessionPermit,
) -> Option<Box<RelayingSession>> {
    let service = active.active();
    let deadline = Instant::now() + service.limits.login_timeout;
    let fault_log = &service.state.fault_log;
    let client = tokio::select! {
        client = identify_client(&served.listener, fault_log, &mut tcp, peer, deadline) => client?,
        () = service.state.stop.cancelled() => return None,
    };
    let mut login = Login {
        record: SessionRecord::new(&service, &served.listener, client),
        service,
        active,
        served,
        client: Stream::new(tcp),
        deadline,
    };
    if !permit.admit(client.ip()) {
        Box::pin(login.reject()).await;
        return None;
    }
    match login.run().await {
        Ok((result, front)) => Some(login.hand_over(front, result, permit).await),
        Err(end) => {
            login.end(end).await;
            None
        }
    }
}

impl Login<'_> {
    /// Runs the dialogue with the client under the login's deadline. The futures of its parts are
    /// boxed where they are large: a connection that waits for a command holds none of them.
    async fn run(&mut self) -> Result<(LoginResult, Box<dyn Front>), LoginEnd> {
        let (deadline, stop) = (self.deadline, self.service.state.stop.clone());
        let dialogue = Box::pin(self.dialogue());
        let end = tokio::select! {
            end = timeout_at(deadline, dialogue) => end,
            () = stop.cancelled() => Ok(Err(LoginEnd::Fault(draining()))),
        };
        let fault = match end {
            Ok(Err(LoginEnd::Fault(fault))) if fault.kind() == Kind::Draining => fault,
            Ok(end) => return end,
            Err(_) => {
                let seconds = self.service.limits.login_timeout.as_secs_f32();
                Fault::new(Kind::LoginTimeout, format!("no login within {seconds} s"))
            }
        };
        let reply = fault.reply(self.record.protocol(), None).text;
        briefly(&self.service, self.client.write(&reply)).await;
        Err(LoginEnd::Fault(fault))
    }

    /// Ends a connection without a login.
    async fn end(&mut self, end: LoginEnd) {
        match end {
            LoginEnd::ClientLeft => return self.record.closed_by = Some(ClosedBy::Client),
            LoginEnd::Fault(fault) => self.record.on_end(&fault),
            // The fault is already recorded.
            LoginEnd::Refused => self.record.closed_by = Some(ClosedBy::Authrelay),
        }
        briefly(&self.service, self.client.finish()).await;
    }

    /// Rejects a connection beyond the limits with a reply.
    async fn reject(&mut self) {
        let fault = Fault::new(Kind::Sessions, "more sessions than the limits allow")
            .with_remedy("let applications close their sessions, or raise limits.sessions or limits.sessions_per_client");
        self.record.outcome = SessionOutcome::of(&fault);
        self.record.on_end(&fault);
        let service = self.service.clone();
        let reply = async {
            if let (ListenerTls::Implicit(_), Some(tls)) =
                (&self.served.listener.tls, &self.served.tls)
            {
                let encrypted = self
                    .client
                    .encrypt_as_server(tls.current(), tls.requires_client_certificates());
                if encrypted.await.is_err() {
                    return;
                }
            }
            let reply = fault.reply(self.served.listener.protocol, None).text;
            if self.client.write(&reply).await.is_ok() {
                self.client.finish().await;
            }
        };
        briefly(&service, reply).await;
    }

    /// Starts the relay. Each side gets the octets that the other has already sent, exactly once.
    async fn hand_over(
        self,
        mut front: Box<dyn Front>,
        result: LoginResult,
        permit: SessionPermit,
    ) -> Box<RelayingSession> {
        let Self {
            service,
            client,
            record,
            ..
        } = self;
        let protocol = record.protocol();
        let LoginResult { verified, upstream } = result;
        let provider = &verified.account().registration.provider;
        let capabilities = service.state.capabilities(provider, protocol);
        let (tracker, submission) = service.tracker(protocol, &verified, &capabilities);
        let (upstream, accepted, said_down) = match upstream {
            Some(LoggedIn { stream, ready, .. }) => (Some(stream), ready.accepted, ready.leftover),
            // Each MAIL opens its own upstream.
            None => {
                let accepted = SuccessReply {
                    untagged: Bytes::new(),
                    text: Bytes::from_static(b"235 2.7.0 Authentication successful"),
                };
                (None, accepted, Bytes::new())
            }
        };
        let reply = front.accept(&accepted);
        // Octets sent by the client after its credentials.
        let said_up = front.leftover();
        let now = Instant::now();
        let drain = record.session.drain.clone();
        record.session.counts.add(0, reply.len());
        let backend = SessionBackend { record, submission };
        let machine = Machine::new(tracker, service.limits.idle_timeout, now);
        let mut driver = Driver::new(machine, client, upstream, backend, now);
        std::future::poll_fn(|cx| {
            driver.begin(&reply, &said_up, &said_down, now, cx);
            std::task::Poll::Ready(())
        })
        .await;
        Box::new(RelayingSession {
            driver,
            drain,
            stop: service.state.stop.clone(),
            _permit: permit,
        })
    }
}

/// Gives a client time to receive its final reply: [`REJECTION_TIMEOUT`], or [`STOP_TIMEOUT`] after
/// a stop.
pub(super) async fn briefly<T>(service: &Service, reply: impl Future<Output = T>) {
    let stopped = async {
        service.state.stop.cancelled().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        _ = tokio::time::timeout(REJECTION_TIMEOUT, reply) => {}
        () = stopped => {}
    }
}

/// Waits until the time of a drain request has passed.
pub(super) async fn overdue(drain: &Drain) {
    let within = drain.requested().await;
    tokio::time::sleep(within).await;
}
