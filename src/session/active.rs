//! The service as it is configured now. A reload puts another in its place: who is logged in stays
//! with the one that logged it in, who logs in next does so under the new one.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::record::SessionRecord;
use super::{LOGIN_MARGIN, LoginResult, Service};
use crate::accept::ServedListener;
use crate::accept::admission::SessionPermit;
use crate::auth::password::VerifiedLogin;
use crate::auth::{ClientInfo, LoginRefused};
use crate::config::{Config, Listener};
use crate::fault::{Fault, Kind};
use crate::login::front::Attempt;

/// Holds the [`Service`] that is in force.
pub struct ActiveService(RwLock<Arc<Service>>);

impl ActiveService {
    /// Begins with `service`.
    pub fn new(service: Service) -> Self {
        Self(RwLock::new(Arc::new(service)))
    }

    /// The one in force.
    pub fn active(&self) -> Arc<Service> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What [`ActiveService::replace`] will put in force.
    ///
    /// # Errors
    ///
    /// As [`Service::new`]; nothing has changed then.
    pub fn prepare(&self, config: &Config) -> anyhow::Result<Service> {
        self.active().reconfigured(config)
    }

    /// Puts another in force, and ends the sessions of accounts and passwords that are gone, each
    /// at its next reply boundary and within `limits.drain_timeout`; how many.
    pub fn replace(&self, service: Service, config: &Config) -> usize {
        let service = Arc::new(service);
        service.activate(config);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = service.clone();
        service
            .sessions
            .end_unless(config.limits.drain_timeout, |session, verified, names| {
                if verified.is_unauthenticated() {
                    let now = service.device(session.listener(), session.client());
                    return now.is_some_and(|now| now.same_mailbox_as(verified));
                }
                let visitor = ClientInfo {
                    address: session.client().ip(),
                    listener: session.listener(),
                    names,
                };
                service.accounts.still_opens(visitor, verified)
            })
    }

    /// The audit file may have been renamed: records go on in a new one.
    pub fn reopen_audit(&self) {
        if let Some(audit) = &self.active().audit {
            audit.reopen();
        }
    }

    /// Waits until the records of all sessions so far are written and sent, at most for
    /// `patience`.
    pub async fn finish_audit(&self, patience: Duration) {
        if let Some(audit) = self.active().audit.clone() {
            let _ = tokio::task::spawn_blocking(move || audit.finish(patience)).await;
        }
    }

    /// Serves one connection to its end.
    pub fn serve(
        self: Arc<Self>,
        door: Arc<ServedListener>,
        tcp: TcpStream,
        peer: SocketAddr,
        seat: SessionPermit,
    ) -> impl Future<Output = ()> + Send + 'static {
        // Boxed and made outside: a session that is relayed keeps no room for what its login took.
        let begun =
            Box::pin(async move { self.active().start(&self, &door, tcp, peer, seat).await });
        async move {
            let open = begun.await;
            if let Some(mut open) = open {
                open.relay().await;
            }
        }
    }

    /// From presented credentials, or from none where the listener is for devices, to an upstream
    /// that is logged in.
    pub(super) async fn authenticate(
        &self,
        visitor: ClientInfo<'_>,
        attempt: Option<&Attempt>,
        record: &mut SessionRecord,
        deadline: Instant,
    ) -> Result<LoginResult, Fault> {
        let started = Instant::now();
        let deadline = before(deadline, started);
        let (service, verified) = loop {
            let service = self.active();
            let proof = match attempt {
                Some(attempt) => service.check(visitor, attempt, record).await,
                None => service.trust(visitor, record),
            };
            match proof {
                Ok(verified) => {
                    record.on_verified(&verified, visitor.names);
                    // Who was checked while a reload ended the sessions of others is checked anew.
                    if Arc::ptr_eq(&service, &self.active()) {
                        break (service, verified);
                    }
                }
                Err(refused) => {
                    tokio::time::sleep_until((started + refused.delay).min(deadline)).await;
                    return Err(refused.fault);
                }
            }
        };
        let upstream = service
            .open(visitor, &verified, record, started, deadline)
            .await?;
        Ok(LoginResult { verified, upstream })
    }
}

/// Where the waits of a login end that began at `started`.
fn before(deadline: Instant, started: Instant) -> Instant {
    deadline
        .checked_sub(LOGIN_MARGIN)
        .filter(|end| *end > started)
        .unwrap_or(deadline)
}

impl Service {
    /// What a device may do that came in at `listener`, as far as that is configured by now.
    fn device(&self, listener: &Listener, client: SocketAddr) -> Option<VerifiedLogin> {
        let mut listeners = self.listeners.iter();
        let today = listeners
            .find(|other| other.name == listener.name && other.protocol == listener.protocol)?;
        VerifiedLogin::by_listener(today, client.ip())
    }

    /// What presented credentials prove.
    async fn check(
        &self,
        visitor: ClientInfo<'_>,
        attempt: &Attempt,
        record: &mut SessionRecord,
    ) -> Result<VerifiedLogin, LoginRefused> {
        let credentials = &attempt.credentials;
        let known = self.accounts.find(&credentials.login).is_some();
        record.on_attempt(&credentials.login, known);
        self.may_log_in().map_err(LoginRefused::at_once)?;
        self.accounts.check(visitor, credentials).await
    }

    /// What a client proves by having reached a listener for devices.
    fn trust(
        &self,
        visitor: ClientInfo<'_>,
        record: &mut SessionRecord,
    ) -> Result<VerifiedLogin, LoginRefused> {
        let Some(verified) = self.device(visitor.listener, record.client()) else {
            let fault = Fault::new(Kind::Order, "command before login");
            return Err(LoginRefused::at_once(fault));
        };
        record.on_attempt(verified.login(), true);
        self.may_log_in().map_err(LoginRefused::at_once)?;
        Ok(verified)
    }

    /// Nobody logs in whose login could not be recorded, where the configuration wants that.
    fn may_log_in(&self) -> Result<(), Fault> {
        match &self.audit {
            Some(audit) if audit.refuses() => Err(Fault::new(Kind::Audit, "audit records cannot be written")
                .with_remedy("free space where audit.path is, or mend the way to syslog; nobody can log in until then, as audit.on_full says")),
            _ => Ok(()),
        }
    }
}
