//! Connections of the administrators' listener. Each has its own task, TLS included, and a longest
//! duration; there is always room for one more.
//!
//! A connection either waits for its client (a handshake, a request, a reader) or works on a
//! request. If all places are taken, the one that has waited longest is closed, so
//! that clients that send incomplete requests cannot keep health from being answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Notify};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::tls::reload::ReloadableTls;

/// Largest number of connections at once.
const CONNECTIONS: usize = 256;

/// Longest time for the handshake and for the head of a request. The limit of a body is in `access`.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest duration of a connection, which also ends clients that read an answer slowly.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Pause after the process ran out of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Lock of a connection, held while its request is being worked on.
#[derive(Debug, Clone, Default)]
pub(super) struct Busy(pub(super) Arc<Mutex<()>>);

/// Open connections, the oldest first.
#[derive(Default)]
struct Connections(VecDeque<(AbortHandle, Busy)>);

impl Connections {
    /// Makes room for one more connection; `false` if all of them are busy with a request.
    fn has_room(&mut self) -> bool {
        self.0.retain(|(task, _)| !task.is_finished());
        if self.0.len() < CONNECTIONS {
            return true;
        }
        let waits = |(_, busy): &(AbortHandle, Busy)| busy.0.try_lock().is_ok();
        let oldest = self.0.iter().position(waits);
        let oldest = oldest.and_then(|index| self.0.remove(index));
        if let Some((task, _)) = &oldest {
            task.abort();
        }
        oldest.is_some()
    }
}

/// Serves connections until the task is dropped.
pub(super) async fn serve(socket: TcpListener, tls: Option<Arc<ReloadableTls>>, router: Router) {
    let mut places = Connections::default();
    // Ends with this future.
    let mut connections = JoinSet::new();
    let ended = Arc::new(Notify::new());
    loop {
        let (tcp, client) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        while !places.has_room() {
            ended.notified().await;
        }
        let tls = tls.as_ref().map(|tls| tls.current());
        let (acceptor, busy) = (tls.map(TlsAcceptor::from), Busy::default());
        let router = router
            .clone()
            .layer(Extension(busy.clone()))
            .layer(Extension(client));
        let ended = ended.clone();
        let task = connections.spawn(async move {
            let _ =
                tokio::time::timeout(CONNECTION_TIMEOUT, connection(tcp, acceptor, router)).await;
            ended.notify_one();
        });
        places.0.push_back((task, busy));
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection; its errors concern only the browser.
async fn connection(tcp: TcpStream, acceptor: Option<TlsAcceptor>, router: Router) {
    let _ = tcp.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT);
    match acceptor {
        None => {
            let _ = http.serve_connection(TokioIo::new(tcp), service).await;
        }
        Some(acceptor) => {
            if let Ok(Ok(tls)) = tokio::time::timeout(READ_TIMEOUT, acceptor.accept(tcp)).await {
                let _ = http.serve_connection(TokioIo::new(tls), service).await;
            }
        }
    }
}
