//! The relay as a whole: listeners, sessions, reloads, and an orderly end.
//!
//! [`Server::bind`] takes every address at once or none; [`Server::serve`] runs until it is told
//! to stop, then closes the listeners, lets sessions reach a clean boundary, and after
//! `limits.drain_timeout` ends those that did not. Meanwhile its [`Control`] puts changed
//! configurations in force.

mod alerts;
mod control;
mod ends;
mod inherited;
mod listening;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::admin::Admin;
use crate::config::Config;
use crate::platform::manager;
use crate::session::{ActiveService, Service};
pub use control::Control;
pub use inherited::Inherited;
use listening::BoundListener;

/// How often consents are looked after: those that need attention are asked about at least so often.
const CONSENT_POLL: Duration = Duration::from_secs(12 * 3600);

/// A consent that was not used for so long is; Entra lets one die after 90 days.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often the files of certificates are looked at: a look is three `stat`s.
const CERTIFICATE_POLL: Duration = Duration::from_secs(10);

/// How long the last audit records may take.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long sessions that were ended the hard way may take for their last words.
const FINAL_REPLY_TIMEOUT: Duration = Duration::from_millis(400);

/// When everything is over after `limits.drain_timeout`; the process has a second.
const LAST: Duration = Duration::from_millis(700);

/// How long the administrators' connections may take for their end.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// A listener (or the administrators' one) that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listener {name}: cannot listen on {address}: {error}")]
pub struct CannotBind {
    name: String,
    address: SocketAddr,
    error: io::Error,
}

/// Tells the log what `config` allows and its owner should know.
pub fn warn(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}

/// Listeners that are bound, and all that their sessions will share.
pub struct Server {
    control: Arc<Control>,
    bound: Vec<BoundListener>,
    admin: Option<Admin>,
}

impl Server {
    /// Binds every listener of the configuration.
    ///
    /// # Errors
    ///
    /// [`CannotBind`] where an address cannot be had; anything else is TLS material, the state's
    /// directory or the machine's randomness.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        Self::inheriting(config, Inherited::default())
    }

    /// The same with sockets that somebody else has bound (systemd's socket activation).
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    pub fn inheriting(config: &Config, mut inherited: Inherited) -> anyhow::Result<Self> {
        let service = Service::new(config)?;
        let listeners = config.listeners.iter();
        let listeners = listeners.map(|listener| (listener.name.as_str(), listener.bind));
        let admin = config.admin.iter().map(|admin| ("admin", admin.bind));
        inherited.assign(&listeners.chain(admin).collect::<Vec<_>>());
        let notes = service.token_source().store().map(|store| store.notes());
        for note in notes.unwrap_or_default() {
            tracing::warn!("{note}");
        }
        let mut bound = Vec::new();
        for listener in &config.listeners {
            bound.push(BoundListener::new(listener.clone(), &mut inherited)?);
        }
        let current = Arc::new(ActiveService::new(service.audited(config)?));
        let control = Arc::new(Control::new(config, current.clone()));
        let admin = match &config.admin {
            Some(admin) => {
                let socket = listening::bind("admin", admin.bind, &mut inherited)?;
                let reload = control.clone().reload_on_demand();
                Some(Admin::bind(admin, socket, current, reload)?)
            }
            None => None,
        };
        inherited.warn_unused();
        Ok(Self {
            control,
            bound,
            admin,
        })
    }

    /// Each listener's name and the address it really has; the administrators' one is `admin`.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let listeners = self.bound.iter().filter_map(BoundListener::address);
        let admin = self.admin.as_ref().and_then(|admin| admin.address().ok());
        listeners
            .chain(admin.map(|address| ("admin".to_owned(), address)))
            .collect()
    }

    /// What puts changed configurations in force while the server serves.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Serves until `shutdown`, then drains.
    ///
    /// # Errors
    ///
    /// Where the runtime cannot take the sockets.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let control = self.control;
        let service = control.current().active();
        let sharing = service.sharing().cloned();
        if let Some(sharing) = &sharing {
            sharing.start(service.metrics().clone()).await;
        }
        drop(service);
        control.open(self.bound)?;
        // Health is answered until the last session has ended.
        let over = tokio_util::sync::CancellationToken::new();
        control.set_admin_tls(self.admin.as_ref().and_then(Admin::tls));
        let admin = match self.admin {
            Some(admin) => {
                tracing::info!(address = %admin.address()?, "admin listening");
                let readiness = admin.readiness();
                let served = tokio::spawn(admin.serve(over.clone().cancelled_owned()));
                readiness.ready();
                Some(served)
            }
            None => None,
        };
        let alerts = tokio::spawn(control.start_alerts());
        let keeping = tokio::spawn(keep_alive(control.current().clone()));
        let identities = tokio::spawn(watch_identities(control.clone()));
        let ends = tokio::spawn(ends::warn_daily(control.clone()));
        let watching = tokio::spawn(manager::watchdog());
        manager::ready();
        shutdown.await;
        manager::stopping();
        alerts.abort();
        keeping.abort();
        identities.abort();
        ends.abort();
        let over_by = control.drain().await;
        let broker = control.current().active().token_source().clone();
        let _ = tokio::time::timeout_at(over_by + LAST_ANSWERS, broker.finish()).await;
        if let Some(sharing) = sharing {
            sharing.stop().await;
        }
        over.cancel();
        if let Some(admin) = admin {
            let _ = tokio::time::timeout(LAST_ANSWERS, admin).await;
        }
        watching.abort();
        tracing::info!("stopped");
        Ok(())
    }
}

/// Looks twice a day.
async fn keep_alive(current: Arc<ActiveService>) {
    let mut looks = tokio::time::interval(CONSENT_POLL);
    loop {
        looks.tick().await;
        current.active().refresh_unused(UNUSED).await;
    }
}

/// Certificates that are replaced on disk are shown soon.
async fn watch_identities(control: Arc<Control>) {
    let mut looks = tokio::time::interval(CERTIFICATE_POLL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        control.identities().refresh().await;
        control.look_at_files().await;
    }
}
