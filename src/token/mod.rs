//! Access tokens: one request per token, however many sessions want it.
//!
//! A token belongs to a registration and what is asked for, not to a mailbox: one app-only token
//! serves all mailboxes. The broker asks ahead of expiry, remembers failures so that a polling
//! client cannot hammer the endpoint, and replaces a token that an upstream refused within bounds
//! that keep one mailbox without permission from churning the token that all share. All its times
//! are of the monotonic clock: a clock that is set wrong changes nothing.

mod endpoint;
mod entra;
mod grant;
mod slot;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

pub use endpoint::http_client;

use crate::config::Registration;
use crate::fault::{Fault, Kind};
use crate::proof::Verified;
use crate::secret::Secret;
use slot::{Next, Slot};

/// A token as it was given to one login.
#[derive(Debug, Clone)]
pub struct Token {
    /// The token itself.
    pub secret: Secret,
    /// Counts the tokens of a registration.
    generation: u64,
    /// Fetched for this login: it waited for the request.
    fresh: bool,
}

/// What a successful request brought.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) token: Secret,
    pub(crate) lifetime: Duration,
}

/// What a failed request brought.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// The endpoint's own wish.
    pub(crate) retry_after: Option<Duration>,
}

/// Tokens by what they are for: registration and scope.
type Slots = HashMap<(String, String), Arc<Shared>>;

/// Gives out tokens.
pub struct Broker {
    /// By provider.
    clients: BTreeMap<String, reqwest::Client>,
    timeout: Duration,
    slots: Mutex<Slots>,
}

/// A slot and those who wait for it.
struct Shared {
    slot: Mutex<Slot>,
    /// The request under way, if there is one. Its value is the result.
    flight: Mutex<Option<watch::Receiver<Option<Arrival>>>>,
}

/// A request's result: the token and its generation.
type Arrival = Result<(Secret, u64), Fault>;

impl Broker {
    /// `clients` are the HTTP clients by provider; `timeout` bounds a token request.
    pub fn new(clients: BTreeMap<String, reqwest::Client>, timeout: Duration) -> Self {
        Self {
            clients,
            timeout,
            slots: Mutex::default(),
        }
    }

    /// A token that opens the verified mailbox.
    pub async fn token(&self, verified: &Verified) -> Result<Token, Fault> {
        let registration = &verified.account().registration;
        let shared = self.shared(registration);
        let next = shared.lock().next();
        match next {
            Next::Use(secret, generation) => Ok(Token {
                secret,
                generation,
                fresh: false,
            }),
            Next::UseAndRefresh(secret, generation) => {
                self.flight(&shared, registration);
                Ok(Token {
                    secret,
                    generation,
                    fresh: false,
                })
            }
            Next::Refuse(fault) => Err(fault),
            Next::Fetch => {
                let mut flight = self.flight(&shared, registration);
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
        let shared = self.shared(&verified.account().registration);
        shared.lock().accepted(token.generation, verified.mailbox());
    }

    /// An upstream refused the token for this mailbox. Whether asking for another makes sense: a
    /// newer one is there, or this one was given up.
    pub fn refused(&self, verified: &Verified, token: &Token) -> bool {
        let shared = self.shared(&verified.account().registration);
        shared
            .lock()
            .refused(token.generation, token.fresh, verified.mailbox())
    }

    fn shared(&self, registration: &Registration) -> Arc<Shared> {
        let key = (registration.name.clone(), registration.scope.join(" "));
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = slots.entry(key).or_insert_with(|| {
            Arc::new(Shared {
                slot: Mutex::default(),
                flight: Mutex::default(),
            })
        });
        shared.clone()
    }

    /// Joins the request under way, or starts one. It goes on when the login that wanted it is
    /// given up: others wait for it.
    fn flight(
        &self,
        shared: &Arc<Shared>,
        registration: &Arc<Registration>,
    ) -> watch::Receiver<Option<Arrival>> {
        let mut flight = shared.flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = flight
            .as_ref()
            .filter(|flight| flight.has_changed().is_ok())
        {
            return under_way.clone();
        }
        let (sender, receiver) = watch::channel(None);
        *flight = Some(receiver.clone());
        let request = grant::request(
            registration.clone(),
            self.clients.get(&registration.provider.name).cloned(),
            self.timeout,
        );
        let shared = shared.clone();
        let name = registration.name.clone();
        tokio::spawn(async move {
            let result = request.await;
            log(&name, &result);
            let arrival = shared.lock().arrived(result);
            shared
                .flight
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            let _ = sender.send(Some(arrival));
        });
        receiver
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(registration: &str, result: &Result<Grant, Failure>) {
    match result {
        Ok(grant) => tracing::info!(
            registration,
            lifetime_s = grant.lifetime.as_secs(),
            "token obtained"
        ),
        Err(failure) => tracing::warn!(
            registration,
            fault = %failure.fault.kind(),
            detail = failure.fault.detail(),
            remedy = failure.fault.remedy(),
            "no token"
        ),
    }
}
