//! Membership of this relay in a group with a shared store (`state.store`), and its background
//! tasks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cluster::command::{Published, Unavailable};
use crate::cluster::identity::Identity;
use crate::cluster::keys::Keys;
use crate::cluster::member::Member;
use crate::cluster::redis::{Findings, Redis, examine};
use crate::config::{Config, SharedStore, State};
use crate::metrics::Metrics;
use crate::token::store::{Store, key_of};

/// Longest wait for the shared store at start, and for leaving the group at stop.
const PATIENCE: Duration = Duration::from_millis(1_500);
const GOODBYE: Duration = Duration::from_millis(300);

/// Interval at which the metrics are updated.
const LOOK: Duration = Duration::from_secs(1);

/// Shared state of one relay among several; survives reloads.
pub struct Sharing {
    config: Arc<SharedStore>,
    directory: PathBuf,
    member: Arc<Member>,
    redis: Arc<Redis>,
    published: Mutex<Option<mpsc::UnboundedReceiver<Published>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Sharing {
    /// Creates the shared state if `state.store` is configured. Nothing is connected yet.
    ///
    /// # Errors
    ///
    /// The state directory cannot be written.
    pub(super) fn new(
        config: &Config,
        store: Option<&Arc<Store>>,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<Option<Arc<Self>>> {
        let (Some(shared), Some(store)) = (&config.state.store, store) else {
            return Ok(None);
        };
        let identity = Identity::open(&config.state.directory, config.relay.as_deref())?;
        let counted = metrics.clone();
        let observer = move |operation: &str, outcome: &str| counted.on_store(operation, outcome);
        let keys = store.keys().clone();
        let (redis, published) = Redis::new(shared.clone(), keys.clone(), Box::new(observer));
        let member = Member::new(identity, keys, redis.clone(), redis.up());
        Ok(Some(Arc::new(Self {
            config: shared.clone(),
            directory: config.state.directory.clone(),
            member,
            redis,
            published: Mutex::new(Some(published)),
            tasks: Mutex::default(),
        })))
    }

    /// This relay's membership.
    pub fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Whether the store is reachable.
    ///
    /// # Errors
    ///
    /// The reason why it is not, as text.
    pub fn state(&self) -> Result<(), String> {
        self.member.up().borrow().clone()
    }

    /// Whether `state` differs from the one this relay started with, which requires a restart.
    pub fn is_another(&self, state: &State) -> bool {
        let same_store = state
            .store
            .as_ref()
            .is_some_and(|store| store.url.expose() == self.config.url.expose());
        let key = key_of(state).and_then(|key| Keys::new(&key));
        let same_key =
            key.is_none_or(|key| key.name("key", &[]) == self.member.keys().name("key", &[]));
        !same_store || !same_key || state.directory != self.directory
    }

    /// Examines the store over a separate connection: reachability, TLS, password, version,
    /// eviction policy, clock, key.
    ///
    /// # Errors
    ///
    /// The store cannot be used.
    pub async fn examine(&self) -> Result<Findings, Unavailable> {
        examine(&self.config, self.member.keys()).await
    }

    /// Connects to the store and starts the background tasks. Returns when this relay has rejoined,
    /// or after a short wait: mail is relayed without the store too.
    pub async fn start(&self, metrics: Arc<Metrics>) {
        let Some(published) = self.published.lock().take() else {
            return;
        };
        let member = self.member.clone();
        let looks = async move {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                looks.tick().await;
                let up = member.up().borrow().is_ok();
                metrics.sharing(up, member.relays());
            }
        };
        {
            let mut tasks = self.tasks.lock();
            tasks.spawn(self.redis.clone().keep_connected());
            tasks.spawn(self.member.clone().live(published));
            tasks.spawn(looks);
        }
        let mut up = self.member.up();
        let back = async {
            let _ = up.wait_for(Result::is_ok).await;
            self.member.rejoin().await;
        };
        if tokio::time::timeout(PATIENCE, back).await.is_err() {
            tracing::warn!("the shared store does not answer; this relay begins without it");
        }
    }

    /// Connects a command-line process, which is not a relay: it only reads and writes records.
    ///
    /// # Errors
    ///
    /// The reason why the store cannot be used.
    pub async fn connect_cli(&self) -> Result<(), String> {
        self.member.become_cli();
        self.tasks.lock().spawn(self.redis.clone().keep_connected());
        let mut up = self.member.up();
        let connected = up.wait_for(Result::is_ok);
        // The result of the last attempt is known by then.
        let _ = tokio::time::timeout(PATIENCE, connected).await;
        self.member.rejoin().await;
        self.member.trouble().map_or(Ok(()), Err)
    }

    /// Leaves the group, so that other relays do not wait for this one. Waits for a redemption first,
    /// but not beyond `until`.
    pub async fn stop(&self, until: tokio::time::Instant) {
        let _ = tokio::time::timeout_at(until, self.member.until_idle()).await;
        let _ = tokio::time::timeout(GOODBYE, self.member.leave()).await;
        self.tasks.lock().abort_all();
    }
}
