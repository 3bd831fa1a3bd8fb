//! Holds the active service. After a reload existing sessions keep the service that logged them in,
//! and new logins use the new one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;

use super::service::Service;
use crate::auth::ClientInfo;
use crate::config::Config;

/// Holder of the active [`Service`].
pub struct ActiveService(RwLock<Arc<Service>>);

impl ActiveService {
    /// Creates the holder with `service` as the active one.
    pub fn new(service: Service) -> Self {
        Self(RwLock::new(Arc::new(service)))
    }

    /// Returns the active service.
    pub fn active(&self) -> Arc<Service> {
        self.0.read().clone()
    }

    /// Makes `service` the active one. Drains the sessions whose account or password no longer
    /// exists, each at its next reply boundary and within `limits.drain_timeout`. Returns how many.
    pub fn replace(&self, service: Service, config: &Config) -> usize {
        let service = Arc::new(service);
        service.activate(config);
        *self.0.write() = service.clone();
        service.state.sessions.end_unless(
            config.limits.drain_timeout,
            |session, verified, names| {
                if verified.is_unauthenticated() {
                    let now = service.unauthenticated_login(&session.listener, session.client);
                    return now.is_some_and(|now| now.same_mailbox_as(verified));
                }
                let client = ClientInfo {
                    address: session.client.ip(),
                    listener: &session.listener,
                    names,
                };
                service.authenticator.still_opens(client, verified)
            },
        )
    }

    /// Reopens the audit file, which may have been renamed.
    pub fn reopen_audit(&self) {
        if let Some(audit) = &self.active().state.audit {
            audit.reopen();
        }
    }

    /// Waits until the records of all sessions so far are written and sent, at most for `patience`.
    pub async fn finish_audit(&self, patience: Duration) {
        if let Some(audit) = self.active().state.audit.clone() {
            let _ = tokio::task::spawn_blocking(move || audit.finish(patience)).await;
        }
    }
}
