//! Client of the store: one connection, the breaker, and the counts of operations.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::super::awake::awake_timeout;
use super::super::breaker::{Breaker, Change};
use super::super::command::{Answer, Command, Context, Published, Reply, Store, Unavailable};
use super::super::keys::Keys;
use super::connection::{self, Connected, connect};
use super::script;
use crate::config::SharedStore;

/// Timeout of an operation.
const OPERATION: Duration = Duration::from_millis(250);

/// Pause between two attempts to connect.
const RETRY: Duration = Duration::from_millis(250);

/// Function called for each operation with its outcome: `ok`, `error`, `timeout`.
pub type Observer = dyn Fn(&'static str, &'static str) + Send + Sync;

/// Client of a Redis or Valkey server.
pub struct Redis {
    config: Arc<SharedStore>,
    keys: Arc<Keys>,
    connected: Mutex<Option<Arc<Connected>>>,
    breaker: Mutex<Breaker>,
    started: Instant,
    published: mpsc::UnboundedSender<Published>,
    /// Whether the store counts as available, and the reason if not.
    up: watch::Sender<Result<(), String>>,
    observer: Box<Observer>,
}

impl Redis {
    /// Creates a client without a connection; the receiver gets published messages.
    pub fn new(
        config: Arc<SharedStore>,
        keys: Arc<Keys>,
        observer: Box<Observer>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Published>) {
        let (published, receiver) = mpsc::unbounded_channel();
        let redis = Self {
            config,
            keys,
            connected: Mutex::default(),
            breaker: Mutex::default(),
            started: Instant::now(),
            published,
            up: watch::Sender::new(Err("no connection was made yet".to_owned())),
            observer,
        };
        (Arc::new(redis), receiver)
    }

    /// Returns whether the store counts as available; the receiver sees changes.
    pub fn up(&self) -> watch::Receiver<Result<(), String>> {
        self.up.subscribe()
    }

    /// Keeps a connection until the future is dropped.
    pub async fn keep_connected(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let gone = self
                .connected
                .lock()
                .as_ref()
                .map(|connected| connected.ended.clone());
            if let Some(gone) = gone {
                gone.cancelled().await;
                self.connected.lock().take();
            }
            if self.breaker.lock().admits(self.now()) {
                let published = &self.published;
                match connect(&self.config, &self.keys, published, failures).await {
                    Ok(connected) => {
                        *self.connected.lock() = Some(Arc::new(connected));
                        self.on_result("connect", Ok(()));
                        let _ = self.published.send(Published::Connected);
                        continue;
                    }
                    Err(away) => {
                        failures = failures.wrapping_add(1);
                        self.on_result("connect", Err((&away, "error")));
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts a result, and logs once when the store becomes unavailable or available.
    fn on_result(&self, name: &'static str, result: Result<(), (&Unavailable, &'static str)>) {
        (self.observer)(name, result.map_or_else(|(_, outcome)| outcome, |()| "ok"));
        let change = self.breaker.lock().on_result(result.is_ok(), self.now());
        match (change, result) {
            (Some(Change::Unavailable), Err((away, _))) => {
                // The next probe connects again, after asking for the current master.
                self.drop_connection();
                tracing::warn!(
                    store = self.config.address(),
                    why = away.0,
                    remedy = "mail goes on; this relay keeps to its share of each limit until the store is back",
                    "the shared store is away"
                );
                let _ = self.up.send_replace(Err(away.0.clone()));
            }
            (Some(Change::Back), _) => {
                tracing::info!(store = self.config.address(), "the shared store is back");
                let _ = self.up.send_replace(Ok(()));
            }
            (None, Ok(())) => {
                self.up
                    .send_if_modified(|up| std::mem::replace(up, Ok(())).is_err());
            }
            _ => {}
        }
    }

    fn drop_connection(&self) {
        if let Some(connected) = self.connected.lock().take() {
            connected.ended.cancel();
        }
    }

    async fn run(&self, context: &Context, command: &Command) -> Result<Answer, Unavailable> {
        let connected = self.connected.lock().clone();
        let Some(connected) = connected else {
            return Err(Unavailable("there is no connection".to_owned()));
        };
        if !self.breaker.lock().is_closed() {
            return Err(Unavailable("it failed a moment ago".to_owned()));
        }
        let asked = awake_timeout(OPERATION, script::execute(&connected, context, command)).await;
        let (result, outcome) = match asked {
            Some(Ok(answer)) => (Ok(answer), "ok"),
            Some(Err(error)) => {
                if connection::is_fatal(&error) {
                    connected.ended.cancel();
                }
                (Err(Unavailable(connection::words(&error))), "error")
            }
            None => (
                Err(Unavailable("no answer within 250 ms".to_owned())),
                "timeout",
            ),
        };
        let counted = result.as_ref().map(|_| ()).map_err(|away| (away, outcome));
        self.on_result(command.name(), counted);
        result
    }
}

impl Store for Redis {
    fn execute<'a>(&'a self, context: &'a Context, command: &'a Command) -> Reply<'a> {
        Box::pin(self.run(context, command))
    }
}
