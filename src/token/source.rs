//! The token source: cache, one request at a time, observers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::cache_key::{CacheKey, RegistrationVersions};
use super::endpoint::Endpoint;
use super::flight::{CacheEntry, Flight, FlightResult, Observer};
use super::grant::Request;
use super::issued::{Token, TokenState, now};
use super::life::{CachedToken, Decision};
use super::sharing::{SharedRecords, jitter};
use super::store::{StateError, Store};
use crate::auth::password::VerifiedLogin;
use crate::cluster::member::Member;
use crate::config::{Account, Registration};
use crate::fault::{Fault, Kind};
use crate::outbound::http;

/// Maximum number of cache entries; beyond it those without a token are dropped. Clients can create
/// many: one per login of a wildcard account, or per password tried with the grant `password`.
const MAX_CACHED: usize = 10_000;

/// Source of access tokens: cache, one request at a time, backoff.
pub struct TokenSource {
    /// HTTP clients for token requests, by provider.
    clients: BTreeMap<String, http::Client>,
    versions: RegistrationVersions,
    pub(super) timeout: Duration,
    pub(super) store: Option<Arc<Store>>,
    /// Records shared with other relays, if any.
    shared: Option<Arc<SharedRecords>>,
    /// Cached tokens; they survive a reload.
    cache: Arc<Mutex<Cache>>,
    /// Redemptions of refresh tokens in progress; they survive a reload.
    redemptions: TaskTracker,
    observer: Arc<Observer>,
}

type Cache = HashMap<CacheKey, Arc<CacheEntry>>;

/// Part of a configuration that the token source uses. A reload replaces it; cached tokens stay.
pub struct TokenSourceConfig<'a> {
    /// Registrations of OAuth clients, by name.
    pub registrations: &'a BTreeMap<String, Arc<Registration>>,
    /// HTTP clients, by provider.
    pub clients: BTreeMap<String, http::Client>,
    /// Longest time of a token request.
    pub timeout: Duration,
    /// Store of consents' tokens.
    pub store: Option<Arc<Store>>,
}

impl TokenSource {
    /// Creates a source without tokens.
    ///
    /// # Errors
    ///
    /// The machine has no random numbers.
    pub fn new(config: TokenSourceConfig<'_>) -> std::io::Result<Self> {
        Ok(Self {
            versions: RegistrationVersions::new(
                config.registrations,
                config.store.as_ref().map(|store| &**store.keys()),
            )?,
            shared: None,
            clients: config.clients,
            timeout: config.timeout,
            store: config.store,
            cache: Arc::default(),
            redemptions: TaskTracker::new(),
            observer: Arc::new(|_, _, _| {}),
        })
    }

    /// Creates the source of another configuration with the same tokens and requests in progress.
    #[must_use]
    pub fn reconfigured(&self, config: TokenSourceConfig<'_>) -> Self {
        Self {
            versions: self.versions.reconfigured(config.registrations),
            clients: config.clients,
            timeout: config.timeout,
            store: match (config.store, &self.store) {
                (Some(store), Some(before)) => Some(store.take_over(before)),
                (store, _) => store,
            },
            shared: self.shared.clone(),
            cache: self.cache.clone(),
            redemptions: self.redemptions.clone(),
            observer: self.observer.clone(),
        }
    }

    /// Deletes the stored consent of a login on every relay. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`StateError`]: it cannot be deleted.
    pub async fn forget(&self, login: &str) -> Result<bool, StateError> {
        let Some(store) = self.store.clone() else {
            return Ok(false);
        };
        self.before_act(login).await;
        let forgotten = store.forget(login, self.timeout).await?;
        if forgotten {
            self.after_act(login).await;
        }
        Ok(forgotten)
    }

    /// Reason why other relays do not have the change of a login's record yet; `None` if they have, or
    /// there are none.
    pub fn unshared(&self, login: &str) -> Option<String> {
        self.shared.as_ref()?.unshared(login)
    }

    /// Records shared with other relays, if any.
    pub(crate) fn shared(&self) -> Option<&Arc<SharedRecords>> {
        self.shared.as_ref()
    }

    /// Shares tokens and consents with other relays.
    #[must_use]
    pub fn shared_by(mut self, member: Arc<Member>) -> Self {
        let store = self.store.clone();
        self.shared = store.map(|store| SharedRecords::new(member, store));
        self
    }

    /// Drops the tokens of registrations that changed or no longer exist.
    pub fn activate(&self) {
        self.cache
            .lock()
            .retain(|key, _| self.versions.is_current(key));
    }

    /// Sets the observer of requests sent to endpoints for logins.
    #[must_use]
    pub fn observed_by(
        mut self,
        observer: impl Fn(&str, &'static str, Duration) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Returns a token that opens the verified mailbox.
    ///
    /// # Errors
    ///
    /// The side to blame is the identity provider, the client (grant `password`) or authrelay (its
    /// store).
    pub async fn token(&self, verified: &VerifiedLogin) -> Result<Token, Fault> {
        let entry = self.cache_entry(verified);
        self.reload_if_changed(&entry, verified);
        let next = entry.life.lock().next(Instant::now());
        match next {
            Decision::Use(token) => Ok(token),
            Decision::UseAndRefresh(token) => {
                self.flight(&entry, verified, false);
                Ok(token)
            }
            Decision::Refuse(fault) => Err(fault.already_logged()),
            Decision::Fetch => {
                let mut flight = self.flight(&entry, verified, false);
                // An error means that the request's task ended without a result.
                let result = flight.wait_for(Option::is_some).await;
                let result = result.ok().and_then(|result| result.clone());
                let abandoned = || Fault::new(Kind::Internal, "the token request was abandoned");
                result.unwrap_or_else(|| Err(abandoned()))
            }
        }
    }

    /// Records that an upstream accepted the token for this mailbox.
    pub fn on_accepted(&self, verified: &VerifiedLogin, token: &Token) {
        let entry = self.cache_entry(verified);
        let mut life = entry.life.lock();
        life.on_accepted(token.generation, verified.mailbox(), Instant::now());
    }

    /// Records that an upstream refused the token for this mailbox. Returns whether to try again: a
    /// newer token exists, or this one was discarded. False if it was fetched for this login, or
    /// accepted for another mailbox or already replaced within the last minute.
    pub fn on_refused(&self, verified: &VerifiedLogin, token: &Token) -> bool {
        let entry = self.cache_entry(verified);
        let mut life = entry.life.lock();
        let (generation, fresh) = (token.generation, token.fresh);
        life.on_refused(generation, fresh, verified.mailbox(), Instant::now())
    }

    /// State of the token of an account's login; `mailbox` is the one it opens.
    pub fn token_state(&self, account: &Account, login: &str, mailbox: &str) -> TokenState {
        let key = self.versions.cache_key(account, login, mailbox, None);
        let cache = self.cache.lock();
        let entry = match account.registration.grant.needs_client_password() {
            // Any password that the client presents.
            true => cache
                .iter()
                .filter(|(other, _)| {
                    other.registration == key.registration && other.subject == key.subject
                })
                .map(|(_, entry)| entry)
                .max_by_key(|entry| entry.life.lock().has_token()),
            false => cache.get(&key),
        };
        // What is cached says nothing of a record that `authorize` or `forget` wrote since.
        let is_current = |entry: &&Arc<CacheEntry>| match &self.store {
            Some(store) if account.registration.grant.needs_consent() => {
                *entry.version.lock() == store.version(login)
            }
            _ => true,
        };
        entry.filter(is_current).map_or(TokenState::None, |entry| {
            entry.life.lock().token_state(Instant::now())
        })
    }

    /// Redeems the refresh token of a consent that was unused for `age`, since providers let unused
    /// ones expire (Entra after 90 days), or that needs attention, which may have been resolved. An
    /// ended consent is skipped.
    pub async fn refresh_unused(&self, account: &Arc<Account>, login: &str, age: Duration) {
        let Some(store) = self.store.clone() else {
            return;
        };
        let owner = super::store::Owner::of(&account.registration);
        let record = store.load(login).await.ok().flatten();
        let due = record
            .and_then(|record| record.of(&owner))
            .is_some_and(|record| {
                let asks = record.attention.is_some() || record.unused_for() >= age;
                record.refused.is_none() && asks
            });
        if !due {
            return;
        }
        let verified =
            VerifiedLogin::by_operator(account.clone(), login.to_owned(), String::new(), None);
        let entry = self.cache_entry(&verified);
        self.reload_if_changed(&entry, &verified);
        entry.life.lock().ask_again();
        let mut flight = self.flight(&entry, &verified, true);
        // The result is logged and cached.
        let _ = flight.wait_for(Option::is_some).await;
    }

    /// Lets the next request ask again after a refusal that may have been resolved, since a user
    /// waits for the result.
    pub fn ask_again(&self, verified: &VerifiedLogin) {
        self.cache_entry(verified).life.lock().ask_again();
    }

    /// Waits for redemptions in progress, at most until `until`, and tries to write pending records:
    /// the process ends, and a refresh token that may be redeemed once would be lost with its answer.
    pub async fn finish(&self, until: Instant) {
        self.redemptions.close();
        let _ = tokio::time::timeout_at(until, self.redemptions.wait()).await;
        if let Some(store) = &self.store {
            store.write_all_pending().await;
        }
    }

    /// The store of consents, if there is one.
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.store.as_ref()
    }

    fn cache_key(&self, verified: &VerifiedLogin) -> CacheKey {
        self.versions.cache_key(
            verified.account(),
            verified.login(),
            verified.mailbox(),
            verified.unverified_password(),
        )
    }

    fn cache_entry(&self, verified: &VerifiedLogin) -> Arc<CacheEntry> {
        let key = self.cache_key(verified);
        let mut cache = self.cache.lock();
        if let Some(entry) = cache.get(&key) {
            return entry.clone();
        }
        if cache.len() >= MAX_CACHED {
            let used = |entry: &Arc<CacheEntry>| {
                Arc::strong_count(entry) > 1 || entry.life.lock().has_token()
            };
            cache.retain(|_, entry| used(entry));
        }
        let entry = Arc::new(CacheEntry {
            life: Mutex::new(CachedToken::new(jitter())),
            flight: Mutex::default(),
            version: Mutex::default(),
        });
        cache.insert(key, entry.clone());
        entry
    }

    /// Endpoints of the account's provider; `None` without an HTTP client for it.
    pub(super) fn endpoint(&self, account: &Account) -> Option<Endpoint> {
        let provider = &account.registration.provider;
        let client = self.clients.get(&provider.name)?;
        Some(Endpoint::new(client.clone(), self.timeout, provider))
    }

    /// Forgets the cached token and failures if another process (`authorize`, another relay) has
    /// written the record.
    fn reload_if_changed(&self, entry: &CacheEntry, verified: &VerifiedLogin) {
        let consented = verified.account().registration.grant.needs_consent();
        let (true, Some(store)) = (consented, &self.store) else {
            return;
        };
        let version = store.version(verified.login());
        let mut known = entry.version.lock();
        if *known != version {
            *known = version;
            entry.life.lock().renew();
        }
    }

    /// Joins the request in progress, or starts one; with `force_refresh` even if a stored token could be
    /// used. The request continues when its login is cancelled, since others may wait for it.
    fn flight(
        &self,
        entry: &Arc<CacheEntry>,
        verified: &VerifiedLogin,
        force_refresh: bool,
    ) -> watch::Receiver<Option<FlightResult>> {
        let mut flight = entry.flight.lock();
        if let Some(running) = flight
            .as_ref()
            .filter(|flight| flight.has_changed().is_ok())
        {
            return running.clone();
        }
        // A request may have ended since this login checked.
        let ended = match entry.life.lock().next(Instant::now()) {
            _ if force_refresh => None,
            Decision::Use(token) => Some(Ok(token)),
            Decision::Refuse(fault) => Some(Err(fault.already_logged())),
            Decision::UseAndRefresh(..) | Decision::Fetch => None,
        };
        if ended.is_some() {
            return watch::channel(ended).1;
        }
        let (sender, receiver) = watch::channel(None);
        *flight = Some(receiver.clone());
        let registration = &verified.account().registration;
        let request = Request {
            account: verified.account().clone(),
            mailbox: verified.mailbox().to_owned(),
            login: verified.login().to_owned(),
            password: verified.unverified_password().cloned(),
            replaces: entry.life.lock().last(),
            force_refresh,
            since: now(),
            endpoint: self.endpoint(verified.account()),
            store: self.store.clone(),
            timeout: self.timeout,
        };
        let shared = self.shared.clone();
        let flight = Flight {
            entry: entry.clone(),
            observer: self.observer.clone(),
            sharing: shared
                .filter(|_| SharedRecords::shares(&registration.grant))
                .map(|shared| (shared, self.cache_key(verified))),
            request,
        };
        let flight = flight.run(sender);
        match registration.grant.needs_consent() {
            true => self.redemptions.spawn(flight),
            false => tokio::spawn(flight),
        };
        receiver
    }
}
