//! The service as it is configured now. A reload puts another in its place: who is logged in stays
//! with the one that logged it in, who logs in next does so under the new one.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::record::Record;
use super::upstream::LoggedIn;
use super::{Door, MARGIN, Service};
use crate::accounts::Visitor;
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
    /// at its next clean boundary; how many.
    pub fn put(&self, service: Service, config: &Config) -> usize {
        let service = Arc::new(service);
        service.take_over(config);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = service.clone();
        service.sessions.end_unless(|session, verified, names| {
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
    pub async fn serve(&self, door: &Door, tcp: TcpStream, peer: SocketAddr, seat: Seat) {
        self.get().serve(self, door, tcp, peer, seat).await;
    }

    /// From presented credentials to an upstream that is logged in.
    pub(super) async fn attempt(
        &self,
        visitor: Visitor<'_>,
        attempt: &Attempt,
        record: &mut Record,
        deadline: Instant,
    ) -> Result<LoggedIn, Fault> {
        let started = Instant::now();
        let deadline = before(deadline, started);
        let (service, verified) = loop {
            let service = self.get();
            let known = service.accounts.find(&attempt.credentials.login).is_some();
            record.attempt(&attempt.credentials.login, known);
            service.may_log_in()?;
            match service.accounts.check(visitor, &attempt.credentials).await {
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
        service
            .open(visitor, &verified, record, started, deadline)
            .await
    }

    /// For a client that does not log in: the listener's own account.
    pub(super) async fn device(
        &self,
        listener: &Listener,
        record: &mut Record,
        deadline: Instant,
    ) -> Result<LoggedIn, Fault> {
        let started = Instant::now();
        let address = record.client().ip();
        let Some(verified) = Verified::by_listener(listener, address) else {
            return Err(Fault::new(Kind::Order, "command before login"));
        };
        let service = self.get();
        record.attempt(verified.login(), true);
        service.may_log_in()?;
        record.verified(&verified, &[]);
        let visitor = Visitor {
            address,
            listener,
            names: &[],
        };
        let deadline = before(deadline, started);
        service
            .open(visitor, &verified, record, started, deadline)
            .await
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
    /// Nobody logs in whose login could not be recorded, where the configuration wants that.
    fn may_log_in(&self) -> Result<(), Fault> {
        match &self.audit {
            Some(audit) if audit.refuses() => Err(Fault::new(Kind::Audit, "audit records cannot be written")
                .remedy_is("free space where audit.path is, or mend the way to syslog; nobody can log in until then, as audit.on_full says")),
            _ => Ok(()),
        }
    }
}
