//! Binding, serving and draining: the process from its listeners' start to its end.

use super::control::Control;
use super::inherited::Inherited;
use super::limits::LAST_ANSWERS;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::listening::BoundListener;
use crate::admin::Admin;
use crate::config::Config;
use crate::platform::manager;
use crate::session::{ActiveService, Service};

/// Interval at which consents are looked after: those that need attention are asked about at least
/// so often.
const CONSENT_POLL: Duration = Duration::from_secs(12 * 3600);

/// Time after which an unused consent is refreshed; Entra ends one after 90 days.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Interval at which the files of certificates are looked at: a look is three `stat`s.
const CERTIFICATE_POLL: Duration = Duration::from_secs(10);

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
    /// [`CannotBind`](super::CannotBind) where an address cannot be had; anything else is TLS
    /// material, the state's directory or the machine's randomness.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        Self::inheriting(config, Inherited::default())
    }

    /// Binds as [`Server::bind`] does, with sockets that another process has bound (systemd's
    /// socket activation).
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

    /// Each listener's name and the address it really has; the administrators' one is `admin`.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let listeners = self.bound.iter().filter_map(BoundListener::address);
        let admin = self.admin.as_ref().and_then(|admin| admin.address().ok());
        listeners
            .chain(admin.map(|address| ("admin".to_owned(), address)))
            .collect()
    }

    /// Control that puts changed configurations in force while the server serves.
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
        let ends = tokio::spawn(super::ends::warn_daily(
            control.current().clone(),
            control.certificates(),
        ));
        let watching = tokio::spawn(manager::watchdog());
        manager::ready();
        shutdown.await;
        manager::stopping();
        alerts.abort();
        keeping.abort();
        identities.abort();
        ends.abort();
        let over_by = control.drain().await;
        let token_source = control.current().active().token_source().clone();
        let _ = tokio::time::timeout_at(over_by + LAST_ANSWERS, token_source.finish()).await;
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
