//! An entry of the cache, and the token request in progress for it. Its result goes to the cached
//! token, the log, the metrics and all waiting logins.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::cache_key::CacheKey;
use super::failure::{Class, TokenError};
use super::grant::{Redeems, Request};
use super::issued::{IssuedToken, Token};
use super::life::CachedToken;
use super::sharing::SharedRecords;
use super::store::RecordVersion;
use crate::fault::Fault;

/// Observer of requests: registration, `ok`, `throttled`, `unavailable` or `refused`, and the
/// duration.
pub(super) type Observer = dyn Fn(&str, &'static str, Duration) + Send + Sync;

/// Result of a request.
pub(super) type FlightResult = Result<Token, Fault>;

/// A cached token, and the logins that wait for it.
pub(super) struct CacheEntry {
    pub(super) life: Mutex<CachedToken>,
    /// Request in progress, if any; its value is the result.
    pub(super) flight: Mutex<Option<watch::Receiver<Option<FlightResult>>>>,
    /// Version of the stored record from which the entry was created.
    pub(super) version: Mutex<Option<RecordVersion>>,
}

/// A token request in progress.
pub(super) struct Flight {
    pub(super) entry: Arc<CacheEntry>,
    pub(super) observer: Arc<Observer>,
    pub(super) request: Request,
    /// Records shared with other relays, and the token's key, if the request is made for all.
    pub(super) sharing: Option<(Arc<SharedRecords>, CacheKey)>,
}

impl Flight {
    /// Sends the request and distributes the result.
    pub(super) async fn run(self, sender: watch::Sender<Option<FlightResult>>) {
        let began = Instant::now();
        let request = &self.request;
        let result = match &self.sharing {
            Some((shared, purpose)) => shared.send(request, purpose).await,
            None => request.send(Redeems::Any).await,
        };
        if let Some(outcome) = outcome(&result) {
            (self.observer)(&request.account.registration.name, outcome, began.elapsed());
        }
        self.note_version();
        let unstored = result.as_ref().is_ok_and(|grant| grant.unstored);
        let result = self.on_result(result);
        self.entry.flight.lock().take();
        let _ = sender.send(Some(result));
        if let (true, Some(store)) = (unstored, &request.store) {
            store.until_stored(&request.login).await;
            self.note_version();
            self.entry.life.lock().on_stored();
        }
    }

    /// Stores the version of the record that this request wrote.
    fn note_version(&self) {
        let Request { account, store, .. } = &self.request;
        if let (Some(store), true) = (store, account.registration.grant.needs_consent()) {
            *self.entry.version.lock() = store.version(&self.request.login);
        }
    }

    fn on_result(&self, result: Result<IssuedToken, TokenError>) -> FlightResult {
        let (registration, now) = (&self.request.account.registration, Instant::now());
        let mut life = self.entry.life.lock();
        match result {
            Ok(grant) => {
                tracing::info!(
                    registration = registration.name,
                    lifetime_s = grant.left().as_secs(),
                    "token obtained"
                );
                let margin = registration.provider.token_margin;
                Ok(life.on_obtained(&grant, margin, now))
            }
            Err(failure) => {
                let fault = failure.fault.clone();
                let is_client = failure.class == Class::Client;
                let consent = registration.grant.needs_consent();
                if !life.on_failed(failure, consent, now) {
                    return Err(fault.already_logged());
                }
                // The client's own mistake is logged by its session.
                if !is_client {
                    tracing::warn!(
                        registration = registration.name,
                        fault = %fault.kind(),
                        detail = fault.detail(),
                        remedy = fault.remedy(),
                        "no token"
                    );
                }
                Err(fault)
            }
        }
    }
}

/// Outcome of a request for the metrics; `None` if no endpoint was asked.
fn outcome(result: &Result<IssuedToken, TokenError>) -> Option<&'static str> {
    match result {
        Ok(grant) if grant.stored => None,
        Ok(_) => Some("ok"),
        Err(failure) => failure.asked.then(|| failure.class.outcome()),
    }
}
