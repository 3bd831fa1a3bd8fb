//! The relay as a whole: listeners, sessions, and an orderly end.
//!
//! [`Server::bind`] takes every address at once or none; [`Server::serve`] runs until it is told
//! to stop, then closes the listeners, lets sessions reach a clean boundary, and after
//! `limits.drain_timeout` ends those that did not.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::config::Config;
use crate::limits::Seats;
use crate::net::identity::Identities;
use crate::net::listen;
use crate::session::{Door, Service};

/// How often consents are looked after.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A consent that was not used for so long is; Entra lets one die after 90 days.
const UNUSED: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long sessions that were ended the hard way may take for their last words.
const LAST_WORDS: Duration = Duration::from_secs(6);

/// A listener (or the administrators' one) that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("listener {name}: cannot listen on {address}: {error}")]
pub struct CannotBind {
    name: String,
    address: SocketAddr,
    error: io::Error,
}

/// Listeners that are bound, and all that their sessions will share.
pub struct Server {
    service: Arc<Service>,
    seats: Seats,
    drain_timeout: Duration,
    doors: Vec<(Arc<Door>, std::net::TcpListener)>,
    admin: Option<Admin>,
    /// What the listeners show, the administrators' one included.
    identities: Identities,
}

impl Server {
    /// Binds every listener of the configuration.
    ///
    /// # Errors
    ///
    /// [`CannotBind`] where an address cannot be had; anything else is TLS material or the
    /// machine's randomness.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        let service = Arc::new(Service::new(config)?);
        let mut doors = Vec::new();
        for listener in &config.listeners {
            let socket = listen::bind(listener.bind).map_err(|error| CannotBind {
                name: listener.name.clone(),
                address: listener.bind,
                error,
            })?;
            doors.push((Arc::new(Door::new(listener.clone())?), socket));
        }
        let admin = match &config.admin {
            Some(admin) => Some(bind_admin(admin, &service)?),
            None => None,
        };
        let shown = doors.iter().filter_map(|(door, _)| door.tls.clone());
        let identities = shown.chain(admin.as_ref().and_then(Admin::tls)).collect();
        Ok(Self {
            identities,
            admin,
            service,
            seats: Seats::new(&config.limits),
            drain_timeout: config.limits.drain_timeout,
            doors,
        })
    }

    /// Each listener's name and the address it really has; the administrators' one is `admin`.
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        let doors = self.doors.iter().filter_map(|(door, socket)| {
            Some((door.listener.name.clone(), socket.local_addr().ok()?))
        });
        let admin = self.admin.as_ref().and_then(|admin| admin.address().ok());
        doors
            .chain(admin.map(|address| ("admin".to_owned(), address)))
            .collect()
    }

    /// Serves until `shutdown`, then drains.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let accepting = TaskTracker::new();
        let sessions = TaskTracker::new();
        let closing = tokio_util::sync::CancellationToken::new();
        for (door, socket) in self.doors {
            let socket = TcpListener::from_std(socket)?;
            tracing::info!(
                listener = door.listener.name,
                protocol = door.listener.protocol.name(),
                address = %socket.local_addr()?,
                "listening"
            );
            let (service, tracker) = (self.service.clone(), sessions.clone());
            let serve = move |tcp, peer, seat| {
                let (service, door) = (service.clone(), door.clone());
                tracker.spawn(async move { service.serve(&door, tcp, peer, seat).await });
            };
            accepting.spawn(listen::accept(
                socket,
                self.seats.clone(),
                closing.clone(),
                serve,
            ));
        }
        // Health is answered until the last session has ended.
        let over = tokio_util::sync::CancellationToken::new();
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
        let keeping = tokio::spawn(keep_alive(self.service.clone()));
        let watching = tokio::spawn(self.identities.watch());
        shutdown.await;
        keeping.abort();
        watching.abort();
        tracing::info!(sessions = sessions.len(), "draining");
        self.service.drain.cancel();
        closing.cancel();
        accepting.close();
        accepting.wait().await;
        sessions.close();
        if tokio::time::timeout(self.drain_timeout, sessions.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                sessions = sessions.len(),
                "ending sessions that did not end by themselves"
            );
            self.service.stop.cancel();
            let _ = tokio::time::timeout(LAST_WORDS, sessions.wait()).await;
        }
        over.cancel();
        if let Some(admin) = admin {
            let _ = admin.await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// Looks once a day.
async fn keep_alive(service: Arc<Service>) {
    let mut days = tokio::time::interval(DAY);
    loop {
        days.tick().await;
        service.keep_alive(UNUSED).await;
    }
}

fn bind_admin(config: &crate::config::Admin, service: &Arc<Service>) -> anyhow::Result<Admin> {
    Admin::bind(config, service.clone()).map_err(|error| match error.downcast::<io::Error>() {
        Ok(error) => CannotBind {
            name: "admin".into(),
            address: config.bind,
            error,
        }
        .into(),
        Err(error) => error,
    })
}
