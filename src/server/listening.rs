//! Listeners: their sockets, and what is behind the door at the moment.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::limits::CannotBind;

use super::inherited::Inherited;
use crate::accept::ServedListener;
use crate::accept::listen;
use crate::config::Listener;

/// A listener that is bound and not served yet.
pub(super) struct BoundListener {
    pub(super) door: ServedListener,
    pub(super) socket: std::net::TcpListener,
}

impl BoundListener {
    pub(super) fn new(listener: Arc<Listener>, inherited: &mut Inherited) -> anyhow::Result<Self> {
        let door = ServedListener::new(listener)?;
        let socket = bind(&door.listener.name, door.listener.bind, inherited)?;
        Ok(Self { door, socket })
    }

    /// In a process that serves: `going` are listeners that will be closed for it.
    pub(super) fn beside<'l>(
        listener: Arc<Listener>,
        going: impl Iterator<Item = &'l TcpListener> + Clone,
    ) -> anyhow::Result<Self> {
        let door = ServedListener::new(listener)?;
        let (name, address) = (&door.listener.name, door.listener.bind);
        let overlapping = going.filter(|going| {
            let bound = going.local_addr();
            bound.is_ok_and(|bound| bound.port() == address.port())
        });
        let socket = listen::bind(address)
            .or_else(|error| match error.kind() {
                io::ErrorKind::AddrInUse => listen::bind_beside(address, overlapping),
                _ => Err(error),
            })
            .map_err(|error| CannotBind {
                name: name.clone(),
                address,
                error,
            })?;
        Ok(Self { door, socket })
    }

    pub(super) fn address(&self) -> Option<(String, SocketAddr)> {
        let address = self.socket.local_addr().ok()?;
        Some((self.door.listener.name.clone(), address))
    }
}

pub(super) fn bind(
    name: &str,
    address: SocketAddr,
    inherited: &mut Inherited,
) -> Result<std::net::TcpListener, CannotBind> {
    let bound = inherited
        .take(name)
        .map_or_else(|| listen::bind(address), Ok);
    bound.map_err(|error| CannotBind {
        name: name.to_owned(),
        address,
        error,
    })
}

/// A listener that is served.
pub(super) struct AcceptingListener {
    /// Shared with the task that accepts.
    pub(super) socket: Arc<TcpListener>,
    door: Arc<RwLock<Arc<ServedListener>>>,
    /// Accept no more.
    pub(super) close: CancellationToken,
}

impl AcceptingListener {
    pub(super) fn new(socket: Arc<TcpListener>, door: ServedListener) -> Self {
        Self {
            socket,
            door: Arc::new(RwLock::new(Arc::new(door))),
            close: CancellationToken::new(),
        }
    }

    /// Whether `listener` is this one, as far as its socket goes. Ports that the system picked
    /// are told apart by name.
    pub(super) fn is(&self, listener: &Listener) -> bool {
        let mine = self.served();
        let mine = &mine.listener;
        mine.bind == listener.bind && (mine.bind.port() != 0 || mine.name == listener.name)
    }

    /// What the next client finds.
    pub(super) fn change(&self, door: ServedListener) {
        *self.door.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(door);
    }

    pub(super) fn served(&self) -> Arc<ServedListener> {
        doors(&self.door)()
    }

    /// To ask for the door at each client.
    pub(super) fn all_served(&self) -> impl Fn() -> Arc<ServedListener> + Send + Sync + 'static {
        doors(&self.door)
    }
}

fn doors(
    door: &Arc<RwLock<Arc<ServedListener>>>,
) -> impl Fn() -> Arc<ServedListener> + Send + Sync + 'static {
    let door = door.clone();
    move || door.read().unwrap_or_else(PoisonError::into_inner).clone()
}
