//! Binding, serving and draining: the process from start to end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::control::Control;
use super::ends;
use super::inherited::Inherited;
use super::limits::LAST_ANSWERS;
use super::listening::BoundListener;
use crate::admin::Admin;
use crate::config::Config;
use crate::platform::manager;
use crate::session::{ActiveService, Service};
use crate::tls::reload;

/// Interval for checking consents; those that need attention are retried at least this often.
const CONSENT_POLL: Duration = Duration::from_secs(12 * 3600);

/// Age from which an unused consent is refreshed; Entra ends one after 90 days.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Interval for checking certificate files; a check is three `stat` calls.
const CERTIFICATE_POLL: Duration = Duration::from_secs(10);

/// Bound listeners and the state that their sessions share.
pub struct Server {
    control: Arc<Control>,
    bound: Vec<BoundListener>,
    admin: Option<Admin>,
}

impl Server {
    /// Binds every listener of the configuration. Call within the runtime.
    ///
    /// # Errors
    ///
    /// [`CannotBind`](super::CannotBind) if an address cannot be bound. Other errors concern TLS
    /// files, the state directory or randomness.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        Self::inheriting(config, Inherited::default())
    }

    /// Binds as [`Server::bind`] does, using sockets inherited from systemd.
    ///
    /// # Errors
    ///
    /// Those of [`Server::bind`].
    pub fn inheriting(config: &Config, mut inherited: Inherited) -> anyhow::Result<Self> {
        let service = Service::new(config)?;
        let listeners = config.listeners.iter();
        let listeners = listeners.map(|listener| (listener.name.as_str(), listener.bind));
        let admin = config.admin.iter().map(|admin| ("admin", admin.bind));
        inherited.assign(&listeners.chain(admin).collect::<Vec<_>>());
        let notes = service.token_source.store().map(|store| store.notes());
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
                let socket = super::listening::bind("admin", admin.bind, &mut inherited)?;
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

    /// Names of the listeners and their actual addresses; the administrators' listener is `admin`.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let listeners = self.bound.iter().filter_map(BoundListener::address);
        let admin = self.admin.as_ref().and_then(|admin| admin.address().ok());
        listeners
            .chain(admin.map(|address| ("admin".to_owned(), address)))
            .collect()
    }

    /// Control of the server, for use while it serves.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Serves until `shutdown`, then drains.
    ///
    /// # Errors
    ///
    /// The runtime cannot use the sockets.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let control = self.control;
        let service = control.current().active();
        let sharing = service.state.sharing.clone();
        if let Some(sharing) = &sharing {
            sharing.start(service.state.metrics.clone()).await;
        }
        drop(service);
        control.open(self.bound)?;
        // Health checks are answered until the last session has ended.
        let over = tokio_util::sync::CancellationToken::new();
        let admin = match self.admin {
            Some(admin) => {
                control.set_admin(&admin);
                tracing::info!(address = %admin.address()?, "admin listening");
                let readiness = admin.readiness();
                let served = tokio::spawn(admin.serve(over.clone().cancelled_owned()));
                readiness.ready();
                Some(served)
            }
            None => None,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(control.clone().watch_for_alerts());
        tasks.spawn(keep_alive(control.current().clone()));
        tasks.spawn(watch_identities(control.clone()));
        let certificates = control.certificates();
        tasks.spawn(ends::warn_daily(control.current().clone(), certificates));
        let watching = tokio::spawn(manager::watchdog());
        manager::ready();
        shutdown.await;
        manager::stopping();
        tasks.abort_all();
        let over_by = control.drain().await;
        let token_source = control.current().active().token_source.clone();
        let _ = tokio::time::timeout_at(over_by + LAST_ANSWERS, token_source.finish(over_by)).await;
        if let Some(sharing) = sharing {
            sharing.stop(over_by).await;
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

/// Refreshes unused consents twice a day.
async fn keep_alive(current: Arc<ActiveService>) {
    let mut looks = tokio::time::interval(CONSENT_POLL);
    loop {
        looks.tick().await;
        current.active().refresh_unused(UNUSED).await;
    }
}

/// Watches certificate files and, with `reload: watch`, the configuration's files.
async fn watch_identities(control: Arc<Control>) {
    let mut looks = tokio::time::interval(CERTIFICATE_POLL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        reload::refresh(&control.identities()).await;
        control.look_at_files().await;
    }
}
