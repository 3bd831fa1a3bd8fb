//! State that all requests share, and the result of a reload.

use super::auth::{AdminAuth, Caller, SESSION_COOKIE, cookies};
use super::people::People;
use crate::fault::Fault;
use crate::fault_log::FaultLogLimiter;
use crate::session::ActiveService;
use crate::token::authorizations::PendingAuthorizations;
use axum::http::HeaderMap;
use serde::Serialize;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// State that all requests of the administrators' listener share.
pub(super) struct AdminState {
    pub(super) current: Arc<ActiveService>,
    pub(super) reload: Reload,
    pub(super) consents: PendingAuthorizations,
    pub(super) auth: AdminAuth,
    /// People who have signed in, and who may.
    pub(super) people: Arc<People>,
    /// Permits for connection tests, which limit how many run at once.
    pub(super) tests: Arc<Semaphore>,
    /// Permits for reading audit records, which limit how much memory that takes.
    pub(super) readings: Arc<Semaphore>,
    /// Limits the log of what anyone may ask for without a token.
    pub(super) fault_log: FaultLogLimiter,
    /// Whether the listeners are being served.
    pub(super) ready: AtomicBool,
}

impl AdminState {
    /// Caller of a request. A person's session takes precedence over a token's cookie, since it names
    /// the person.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let now = Instant::now();
        let mut ids = cookies(headers, SESSION_COOKIE);
        let person = ids.find_map(|id| self.people.caller(id, now));
        // A token in the request takes precedence over all cookies. Other schemes are meant for a
        // web server in front.
        match AdminAuth::bearer(headers) {
            Some(_) => self.auth.caller(headers),
            None => person.or_else(|| self.auth.caller(headers)),
        }
    }

    /// Logs why a browser got no further, as seldom as equal faults of a client are logged: requests
    /// that need no token could fill the log.
    pub(super) fn log_fault(&self, client: SocketAddr, fault: &Fault, what: &str) {
        if self.fault_log.allows(None, client.ip(), fault.kind()) {
            tracing::warn!(
                client = %client.ip(),
                fault = %fault.kind(),
                detail = fault.detail(),
                remedy = fault.remedy(),
                "{what}"
            );
        }
    }
}

/// Function that reloads the configuration; the error is every problem, and the old one stays.
pub type Reload = Arc<dyn Fn() -> Reloading + Send + Sync>;

/// Future of a reload in progress.
pub type Reloading = Pin<Box<dyn Future<Output = Result<ReloadReport, Vec<String>>> + Send>>;

/// Result of a reload, for administrators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// Listeners that are served now.
    pub listeners: usize,
    /// Accounts that clients may use now.
    pub accounts: usize,
    /// Sessions that end at their next reply boundary, since their account or password is gone.
    pub sessions_ended: usize,
    /// Changed keys that take effect only after a restart.
    pub restart: Vec<&'static str>,
}

/// Handle that reports when the relay serves.
#[derive(Clone)]
pub struct Readiness(pub(super) Arc<AdminState>);

impl Readiness {
    /// Reports that the relay serves from now on.
    pub fn ready(&self) {
        self.0.ready.store(true, Ordering::Release);
    }
}

/// Maximum size of a request's body, in octets.
pub(super) const BODY: usize = 16 * 1024;
