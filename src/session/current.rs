//! The service as it is configured now. A reload puts another in its place: who is logged in stays
//! with the one that logged it in, who logs in next does so under the new one.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::record::Record;
use super::{Door, LoginResult, MARGIN, Service};
use crate::accounts::{Refused, Visitor};
use crate::config::{Config, Listener};
use crate::fault::{Fault, Kind};
use crate::limits::Seat;
use crate::login::front::Attempt;
use crate::proof::Verified;

/// Holds the [`Service`] that is in force.
pub struct Current(RwLock<Arc<Service>>);

impl Current {
    /// Begins with `service`.
    pub fn new(service: Service) -> Self {
        Self(RwLock::new(Arc::new(service)))
    }

    /// The one in force.
    pub fn get(&self) -> Arc<Service> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What [`Current::put`] will put in force.
    ///
    /// # Errors
    ///
    /// As [`Service::new`]; nothing has changed then.
    pub fn prepare(&self, config: &Config) -> anyhow::Result<Service> {
        self.get().renewed(config)
    }

    /// Puts another in force, and ends the sessions of accounts and passwords that are gone, each
    /// at its next reply boundary and within `limits.drain_timeout`; how many.
    pub fn put(&self, service: Service, config: &Config) -> usize {
        let service = Arc::new(service);
        service.take_over(config);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = service.clone();
        service
            .sessions
            .end_unless(config.limits.drain_timeout, |session, verified, names| {
                if verified.is_device() {
                    let now = service.device(session.listener(), session.client());
                    return now.is_some_and(|now| now.opens_the_same_as(verified));
                }
                let visitor = Visitor {
                    address: session.client().ip(),
                    listener: session.listener(),
                    names,
                };
                service.accounts.still_opens(visitor, verified)
            })
    }

    /// The audit file may have been renamed: records go on in a new one.
    pub fn reopen_audit(&self) {
        if let Some(audit) = &self.get().audit {
            audit.reopen();
        }
    }

    /// Waits until the records of all sessions so far are written and sent, at most for
    /// `patience`.
    pub async fn finish_audit(&self, patience: Duration) {
        if let Some(audit) = self.get().audit.clone() {
            let _ = tokio::task::spawn_blocking(move || audit.finish(patience)).await;
        }
    }

    /// Serves one connection to its end.
    pub fn serve(
        self: Arc<Self>,
        door: Arc<Door>,
        tcp: TcpStream,
        peer: SocketAddr,
        seat: Seat,
    ) -> impl Future<Output = ()> + Send + 'static {
        // Boxed and made outside: a session that is relayed keeps no room for what its login took.
        let begun = Box::pin(async move { self.get().begin(&self, &door, tcp, peer, seat).await });
        async move {
            let open = begun.await;
            if let Some(mut open) = open {
                open.relay().await;
            }
        }
    }

    /// From presented credentials, or from none where the listener is for devices, to an upstream
    /// that is logged in.
    pub(super) async fn attempt(
        &self,
        visitor: Visitor<'_>,
        attempt: Option<&Attempt>,
        record: &mut Record,
        deadline: Instant,
    ) -> Result<LoginResult, Fault> {
        let started = Instant::now();
        let deadline = before(deadline, started);
        let (service, verified) = loop {
            let service = self.get();
            let proof = match attempt {
                Some(attempt) => service.check(visitor, attempt, record).await,
                None => service.trust(visitor, record),
            };
            match proof {
                Ok(verified) => {
                    record.verified(&verified, visitor.names);
                    // Who was checked while a reload ended the sessions of others is checked anew.
                    if Arc::ptr_eq(&service, &self.get()) {
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
        .checked_sub(MARGIN)
        .filter(|end| *end > started)
        .unwrap_or(deadline)
}

impl Service {
    /// What a device may do that came in at `listener`, as far as that is configured by now.
    fn device(&self, listener: &Listener, client: SocketAddr) -> Option<Verified> {
        let mut listeners = self.listeners.iter();
        let today = listeners
            .find(|other| other.name == listener.name && other.protocol == listener.protocol)?;
        Verified::by_listener(today, client.ip())
    }

    /// What presented credentials prove.
    async fn check(
        &self,
        visitor: Visitor<'_>,
        attempt: &Attempt,
        record: &mut Record,
    ) -> Result<Verified, Refused> {
        let credentials = &attempt.credentials;
        let known = self.accounts.find(&credentials.login).is_some();
        record.attempt(&credentials.login, known);
        self.may_log_in().map_err(Refused::at_once)?;
        self.accounts.check(visitor, credentials).await
    }

    /// What a client proves by having reached a listener for devices.
    fn trust(&self, visitor: Visitor<'_>, record: &mut Record) -> Result<Verified, Refused> {
        let Some(verified) = self.device(visitor.listener, record.client()) else {
            let fault = Fault::new(Kind::Order, "command before login");
            return Err(Refused::at_once(fault));
        };
        record.attempt(verified.login(), true);
        self.may_log_in().map_err(Refused::at_once)?;
        Ok(verified)
    }

    /// Nobody logs in whose login could not be recorded, where the configuration wants that.
    fn may_log_in(&self) -> Result<(), Fault> {
        match &self.audit {
            Some(audit) if audit.refuses() => Err(Fault::new(Kind::Audit, "audit records cannot be written")
                .remedy_is("free space where audit.path is, or mend the way to syslog; nobody can log in until then, as audit.on_full says")),
            _ => Ok(()),
        }
    }
}
