//! Access tokens: one request per token, however many sessions want it.
//!
//! A token is for a purpose: one app-only token serves all mailboxes of a registration, a
//! person's consent serves one login. The broker asks ahead of expiry, remembers failures so that
//! a polling client cannot hammer the endpoint, and replaces a token that an upstream refused
//! within bounds that keep one mailbox without permission from churning the token that all share.
//! Its times are of the monotonic clock: a clock that is set wrong changes nothing while it runs.

mod endpoint;
mod entra;
mod grant;
mod purpose;
mod slot;
pub mod store;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use url::Url;

pub use grant::consent::{Consent, Device, Pending, claims};

use crate::config::{Account, Grant as Configured, Registration};
use crate::fault::{Fault, Kind};
use crate::outbound::http;
use crate::proof::Verified;
use crate::secret::Secret;
use grant::Request;
use purpose::{Editions, Purpose};
use slot::{Next, Slot};
use store::{Store, Version};

/// Slots; beyond it those without a token go, which clients can make as many of as a wildcard
/// account has logins, or as they have passwords to try (grant `password`).
const SLOTS: usize = 10_000;

/// A token as it was given to one login.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token itself.
    pub secret: Secret,
    /// Counts the tokens of a purpose.
    generation: u64,
    /// Fetched for this login: it waited for the request.
    fresh: bool,
}

/// What a successful request brought.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) token: Secret,
    pub(crate) lifetime: Duration,
    /// It was at hand: nobody was asked.
    pub(crate) stored: bool,
}

/// What a failed request brought.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// The endpoint's own wish.
    pub(crate) retry_after: Option<Duration>,
    /// Only a new consent helps.
    pub(crate) consent_ended: bool,
    /// Somebody was asked, and this is what came of it.
    pub(crate) asked: bool,
    /// The endpoint wants to be asked less often.
    pub(crate) throttled: bool,
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self {
            fault,
            retry_after: None,
            consent_ended: false,
            asked: false,
            throttled: false,
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The remedy that goes with throttling.
pub(crate) const THROTTLED: &str =
    "the identity provider throttles this client; it is left alone for a while";

/// Gives out tokens.
pub struct Broker {
    /// By provider.
    clients: BTreeMap<String, http::Client>,
    editions: Editions,
    timeout: Duration,
    store: Option<Arc<Store>>,
    /// Outlives a change of the configuration.
    slots: Arc<Mutex<Slots>>,
    observer: Arc<Observer>,
}

type Slots = HashMap<Purpose, Arc<Shared>>;

/// What a broker works with.
pub struct Tools<'a> {
    /// The OAuth clients.
    pub registrations: &'a BTreeMap<String, Arc<Registration>>,
    /// The HTTP clients, by provider.
    pub clients: BTreeMap<String, http::Client>,
    /// What bounds a token request.
    pub timeout: Duration,
    /// What keeps the tokens that consents bring.
    pub store: Option<Arc<Store>>,
}

/// Is told of each request: its registration, `ok`, `throttled`, `unavailable` or `refused`, and
/// how long it took.
type Observer = dyn Fn(&str, &'static str, Duration) + Send + Sync;

/// A slot and those who wait for it.
#[derive(Default)]
struct Shared {
    slot: Mutex<Slot>,
    /// The request under way, if there is one. Its value is the result.
    flight: Mutex<Option<watch::Receiver<Option<Arrival>>>>,
    /// The stored record that the slot knows.
    version: Mutex<Option<Version>>,
}

/// A request's result: the token and its generation.
type Arrival = Result<(Secret, u64), Fault>;

/// How a login's token stands, without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// None was asked for yet.
    None,
    /// It is good for so long.
    Valid(Duration),
    /// It was good.
    Expired,
    /// The last request was refused; an outage is no refusal.
    Refused,
}

impl Broker {
    /// Without a token yet.
    ///
    /// # Errors
    ///
    /// Where the machine has no random numbers.
    pub fn new(tools: Tools<'_>) -> std::io::Result<Self> {
        Ok(Self {
            editions: Editions::new(tools.registrations)?,
            clients: tools.clients,
            timeout: tools.timeout,
            store: tools.store,
            slots: Arc::default(),
            observer: Arc::new(|_, _, _| {}),
        })
    }

    /// With other tools and the same tokens, requests under way included.
    #[must_use]
    pub fn renewed(&self, tools: Tools<'_>) -> Self {
        Self {
            editions: self.editions.renewed(tools.registrations),
            clients: tools.clients,
            timeout: tools.timeout,
            store: tools.store,
            slots: self.slots.clone(),
            observer: self.observer.clone(),
        }
    }

    /// Drops what belongs to registrations that are not this one's.
    pub fn take_over(&self) {
        lock(&self.slots).retain(|purpose, _| self.editions.know(purpose));
    }

    /// Tells somebody of each request that was sent to an endpoint for a login.
    #[must_use]
    pub fn observed_by(
        mut self,
        observer: impl Fn(&str, &'static str, Duration) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// A token that opens the verified mailbox.
    ///
    /// # Errors
    ///
    /// The side to blame is the identity provider, the client (grant `password`) or authrelay
    /// (its store).
    pub async fn token(&self, verified: &Verified) -> Result<Token, Fault> {
        let purpose = self.purpose(verified);
        let shared = self.shared(&purpose);
        self.notice_new_consent(&shared, verified);
        let next = lock(&shared.slot).next();
        match next {
            Next::Use(secret, generation) => Ok(Token {
                secret,
                generation,
                fresh: false,
            }),
            Next::UseAndRefresh(secret, generation) => {
                self.flight(&shared, verified, false);
                Ok(Token {
                    secret,
                    generation,
                    fresh: false,
                })
            }
            Next::Refuse(fault) => Err(fault.known_already()),
            Next::Fetch => {
                let mut flight = self.flight(&shared, verified, false);
                // An error means that the request's task is gone without a result.
                let arrival = flight.wait_for(Option::is_some).await;
                match arrival.ok().and_then(|arrival| arrival.clone()) {
                    Some(Ok((secret, generation))) => Ok(Token {
                        secret,
                        generation,
                        fresh: true,
                    }),
                    Some(Err(fault)) => Err(fault),
                    None => Err(Fault::new(
                        Kind::Internal,
                        "the token request was abandoned",
                    )),
                }
            }
        }
    }

    /// An upstream accepted the token for this mailbox.
    pub fn accepted(&self, verified: &Verified, token: &Token) {
        let shared = self.shared(&self.purpose(verified));
        lock(&shared.slot).accepted(token.generation, verified.mailbox());
    }

    /// An upstream refused the token for this mailbox. Whether asking for another makes sense: a
    /// newer one is there, or this one was given up.
    pub fn refused(&self, verified: &Verified, token: &Token) -> bool {
        let shared = self.shared(&self.purpose(verified));
        lock(&shared.slot).refused(token.generation, token.fresh, verified.mailbox())
    }

    /// How the token of an account's login stands; `mailbox` is the one it opens.
    pub fn standing(&self, account: &Account, login: &str, mailbox: &str) -> Standing {
        let purpose = self.editions.purpose(account, login, mailbox, None);
        let slots = lock(&self.slots);
        let shared = match account.registration.grant {
            // Whichever password the client presents.
            Configured::Password(_) => slots
                .iter()
                .filter(|(other, _)| {
                    other.registration == purpose.registration && other.subject == purpose.subject
                })
                .map(|(_, shared)| shared)
                .max_by_key(|shared| lock(&shared.slot).holds()),
            _ => slots.get(&purpose),
        };
        shared.map_or(Standing::None, |shared| lock(&shared.slot).standing())
    }

    /// Redeems the refresh token of a consent that nobody has used for `age`, since providers let
    /// them die of disuse (Entra after 90 days). A consent that has ended is left alone.
    pub async fn keep_alive(&self, account: &Arc<Account>, login: &str, age: Duration) {
        let Some(store) = self.store.clone() else {
            return;
        };
        let unused = match store.load(login).await {
            Ok(Some(record)) => record.refused.is_none() && record.unused_for() >= age,
            Ok(None) | Err(_) => false,
        };
        if !unused {
            return;
        }
        let verified =
            Verified::by_operator(account.clone(), login.to_owned(), String::new(), None);
        let shared = self.shared(&self.purpose(&verified));
        self.notice_new_consent(&shared, &verified);
        let mut flight = self.flight(&shared, &verified, true);
        // What came of it is in the log, and with whoever logs in next.
        let _ = flight.wait_for(Option::is_some).await;
    }

    /// Begins a consent for `login` by a browser that comes back to `redirect`.
    ///
    /// # Errors
    ///
    /// Where the account's grant is another.
    pub fn begin_consent(
        &self,
        account: &Arc<Account>,
        login: &str,
        redirect: &Url,
    ) -> Result<Pending, Fault> {
        grant::consent::begin(account.clone(), login, redirect)
    }

    /// Redeems the code that came back and stores what it brings.
    ///
    /// # Errors
    ///
    /// The identity provider's refusal, or a store that cannot be written.
    pub async fn finish_consent(&self, pending: Pending, code: &str) -> Result<Consent, Fault> {
        let (endpoint, store) = self.tools(&pending.account)?;
        grant::consent::finish(pending, code, &endpoint, store, self.timeout)
            .await
            .map_err(|failure| failure.fault)
    }

    /// Begins a consent for `login` on another device.
    ///
    /// # Errors
    ///
    /// The identity provider's refusal, or another grant.
    pub async fn begin_device(&self, account: &Arc<Account>, login: &str) -> Result<Device, Fault> {
        let (endpoint, _) = self.tools(account)?;
        grant::consent::begin_device(account.clone(), login, &endpoint)
            .await
            .map_err(|failure| failure.fault)
    }

    /// Waits until the person has entered the code, and stores what that brings. `sleep` is
    /// awaited between questions.
    ///
    /// # Errors
    ///
    /// The identity provider's refusal, or a store that cannot be written.
    pub async fn finish_device<F>(
        &self,
        device: &Device,
        sleep: impl Fn(Duration) -> F,
    ) -> Result<Consent, Fault>
    where
        F: Future<Output = ()>,
    {
        let (endpoint, store) = self.tools(&device.account)?;
        grant::consent::finish_device(device, &endpoint, store, self.timeout, sleep)
            .await
            .map_err(|failure| failure.fault)
    }

    /// The store, if there is one.
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.store.as_ref()
    }

    fn tools(&self, account: &Account) -> Result<(endpoint::Endpoint, &Arc<Store>), Fault> {
        let client = self.clients.get(&account.registration.provider.name);
        match (client, &self.store) {
            (Some(client), Some(store)) => {
                let provider = &account.registration.provider;
                let endpoint = endpoint::Endpoint::new(client.clone(), self.timeout, provider);
                Ok((endpoint, store))
            }
            _ => Err(Fault::new(
                Kind::Internal,
                "there is no store for what a consent brings",
            )),
        }
    }

    fn purpose(&self, verified: &Verified) -> Purpose {
        self.editions.purpose(
            verified.account(),
            verified.login(),
            verified.mailbox(),
            verified.unproven(),
        )
    }

    fn shared(&self, purpose: &Purpose) -> Arc<Shared> {
        let mut slots = lock(&self.slots);
        if let Some(shared) = slots.get(purpose) {
            return shared.clone();
        }
        if slots.len() >= SLOTS {
            let used =
                |shared: &Arc<Shared>| Arc::strong_count(shared) > 1 || lock(&shared.slot).holds();
            slots.retain(|_, shared| used(shared));
        }
        let shared = Arc::new(Shared::default());
        slots.insert(purpose.clone(), shared.clone());
        shared
    }

    /// Somebody else (`authorize`, another relay) may have written the record: then what we know
    /// of it is old, a refusal included.
    fn notice_new_consent(&self, shared: &Shared, verified: &Verified) {
        let consented = verified.account().registration.grant.wants_consent();
        let (true, Some(store)) = (consented, &self.store) else {
            return;
        };
        let version = store.version(verified.login());
        let mut known = lock(&shared.version);
        if *known != version {
            *known = version;
            lock(&shared.slot).renew();
        }
    }

    /// Joins the request under way, or starts one; `anew` also where a stored token would do. It
    /// goes on when the login that wanted it is given up: others wait for it.
    fn flight(
        &self,
        shared: &Arc<Shared>,
        verified: &Verified,
        anew: bool,
    ) -> watch::Receiver<Option<Arrival>> {
        let mut flight = lock(&shared.flight);
        if let Some(under_way) = flight
            .as_ref()
            .filter(|flight| flight.has_changed().is_ok())
        {
            return under_way.clone();
        }
        // One may have ended since this login looked.
        let ended = match lock(&shared.slot).next() {
            _ if anew => None,
            Next::Use(secret, generation) => Some(Ok((secret, generation))),
            Next::Refuse(fault) => Some(Err(fault.known_already())),
            Next::UseAndRefresh(..) | Next::Fetch => None,
        };
        if ended.is_some() {
            return watch::channel(ended).1;
        }
        let (sender, receiver) = watch::channel(None);
        *flight = Some(receiver.clone());
        let registration = verified.account().registration.clone();
        let request = Request {
            account: verified.account().clone(),
            mailbox: verified.mailbox().to_owned(),
            login: verified.login().to_owned(),
            password: verified.unproven().cloned(),
            replaces: lock(&shared.slot).last(),
            anew,
            client: self.clients.get(&registration.provider.name).cloned(),
            store: self.store.clone(),
            timeout: self.timeout,
        };
        let (shared, store, observer) = (shared.clone(), self.store.clone(), self.observer.clone());
        let (login, consented) = (request.login.clone(), registration.grant.wants_consent());
        tokio::spawn(async move {
            let began = tokio::time::Instant::now();
            let result = request.send().await;
            if let Some(outcome) = outcome(&result) {
                observer(&registration.name, outcome, began.elapsed());
            }
            log(&registration.name, &result);
            if let (Some(store), true) = (store, consented) {
                // What this request wrote is known.
                *lock(&shared.version) = store.version(&login);
            }
            let arrival = lock(&shared.slot).arrived(result);
            lock(&shared.flight).take();
            let _ = sender.send(Some(arrival));
        });
        receiver
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a request came to; `None` where nobody was asked.
fn outcome(result: &Result<Grant, Failure>) -> Option<&'static str> {
    match result {
        Ok(grant) if grant.stored => None,
        Ok(_) => Some("ok"),
        Err(failure) if !failure.asked => None,
        Err(failure) if failure.throttled || failure.retry_after.is_some() => Some("throttled"),
        Err(failure) if failure.fault.kind() == Kind::Unavailable => Some("unavailable"),
        Err(_) => Some("refused"),
    }
}

fn log(registration: &str, result: &Result<Grant, Failure>) {
    match result {
        Ok(grant) => tracing::info!(
            registration,
            lifetime_s = grant.lifetime.as_secs(),
            "token obtained"
        ),
        // The client's own mistake is its session's to tell.
        Err(failure) if failure.fault.kind() == Kind::Credentials => {}
        Err(failure) => tracing::warn!(
            registration,
            fault = %failure.fault.kind(),
            detail = failure.fault.detail(),
            remedy = failure.fault.remedy(),
            "no token"
        ),
    }
}
