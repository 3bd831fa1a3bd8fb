//! Listeners: their sockets, and their current configuration.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::inherited::Inherited;
use crate::accept::ServedListener;
use crate::accept::listen;
use crate::config::Listener;

/// A bound listener that is not served yet.
pub(super) struct BoundListener {
    pub(super) served: ServedListener,
    pub(super) socket: std::net::TcpListener,
}

impl BoundListener {
    pub(super) fn new(listener: Arc<Listener>, inherited: &mut Inherited) -> anyhow::Result<Self> {
        let served = ServedListener::new(listener)?;
        let socket = bind(&served.listener.name, served.listener.bind, inherited)?;
        Ok(Self { served, socket })
    }

    /// Binds a listener in a serving process; `going` are the listeners that will be closed.
    pub(super) fn beside<'l>(
        listener: Arc<Listener>,
        going: impl Iterator<Item = &'l std::net::TcpListener> + Clone,
    ) -> anyhow::Result<Self> {
        let served = ServedListener::new(listener)?;
        let (name, address) = (&served.listener.name, served.listener.bind);
        let overlapping = going.filter(|going| {
            let bound = going.local_addr();
            bound.is_ok_and(|bound| bound.port() == address.port())
        });
        let socket = listen::bind(address)
            .or_else(|error| match error.kind() {
                io::ErrorKind::AddrInUse => listen::bind_beside(address, overlapping),
                _ => Err(error),
            })
            .map_err(cannot_bind(name, address))?;
        Ok(Self { served, socket })
    }

    /// Makes the socket known to each thread.
    pub(super) fn on(self, threads: &[Handle]) -> io::Result<ReadyListener> {
        let on_thread = |thread: &Handle| {
            let _entered = thread.enter();
            let socket = TcpListener::from_std(self.socket.try_clone()?)?;
            Ok((thread.clone(), socket))
        };
        let sockets = threads.iter().map(on_thread).collect::<io::Result<_>>()?;
        Ok(ReadyListener {
            listener: self,
            sockets,
        })
    }

    pub(super) fn address(&self) -> Option<(String, SocketAddr)> {
        let address = self.socket.local_addr().ok()?;
        Some((self.served.listener.name.clone(), address))
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
    bound.map_err(cannot_bind(name, address))
}

/// A listener, or the administrators' listener, that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("listener {name}: cannot listen on {address}: {error}")]
pub struct CannotBind {
    name: String,
    address: SocketAddr,
    error: io::Error,
}

fn cannot_bind(name: &str, address: SocketAddr) -> impl FnOnce(io::Error) -> CannotBind {
    let name = name.to_owned();
    move |error| CannotBind {
        name,
        address,
        error,
    }
}

/// A bound listener whose socket each thread knows.
pub(super) struct ReadyListener {
    listener: BoundListener,
    sockets: Vec<(Handle, TcpListener)>,
}

pub(super) struct AcceptingListener {
    /// Socket; the accepting tasks have copies.
    pub(super) socket: std::net::TcpListener,
    served: watch::Sender<Arc<ServedListener>>,
    /// Cancelled when no more clients are to be accepted.
    pub(super) close: CancellationToken,
}

impl AcceptingListener {
    /// Begins to accept: `accept` is called for each thread, with the socket's copy on it.
    pub(super) fn new(ready: ReadyListener, accept: impl Fn(&Self, Handle, TcpListener)) -> Self {
        let BoundListener { served, socket } = ready.listener;
        tracing::info!(
            listener = served.listener.name,
            protocol = served.listener.protocol.name(),
            address = socket.local_addr().ok().map(tracing::field::display),
            "listening"
        );
        let open = Self {
            socket,
            served: watch::Sender::new(Arc::new(served)),
            close: CancellationToken::new(),
        };
        for (thread, socket) in ready.sockets {
            accept(&open, thread, socket);
        }
        open
    }

    /// Whether `listener` has the same socket. With port 0 the names are compared.
    pub(super) fn is(&self, listener: &Listener) -> bool {
        let mine = self.served();
        let mine = &mine.listener;
        mine.bind == listener.bind && (mine.bind.port() != 0 || mine.name == listener.name)
    }

    /// Sets the configuration for the next client.
    pub(super) fn change(&self, served: ServedListener) {
        self.served.send_replace(Arc::new(served));
    }

    pub(super) fn served(&self) -> Arc<ServedListener> {
        self.served.borrow().clone()
    }

    /// Function that returns the current configuration; call it for each client.
    pub(super) fn all_served(&self) -> impl Fn() -> Arc<ServedListener> + Send + Sync + 'static {
        let served = self.served.subscribe();
        move || served.borrow().clone()
    }
}
