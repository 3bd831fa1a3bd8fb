//! Connections of the administrators' listener: each in a task of its own, TLS included, none for
//! ever.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::net::identity::ServerTls;

/// Connections at once.
const CONNECTIONS: usize = 256;

/// For the handshake, and for a request's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause after running out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves for ever.
pub(super) async fn serve(socket: TcpListener, tls: Option<Arc<ServerTls>>, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Ends with this future.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let tcp = match socket.accept().await {
            Ok((tcp, _)) => tcp,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let tls = tls.as_ref().map(|tls| tls.current());
        let (acceptor, router) = (tls.map(TlsAcceptor::from), router.clone());
        connections.spawn(async move {
            let _place = place;
            connection(tcp, acceptor, router).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// How it ends is the browser's affair.
async fn connection(tcp: TcpStream, acceptor: Option<TlsAcceptor>, router: Router) {
    let _ = tcp.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    match acceptor {
        None => {
            let _ = http.serve_connection(TokioIo::new(tcp), service).await;
        }
        Some(acceptor) => {
            if let Ok(Ok(tls)) = tokio::time::timeout(PATIENCE, acceptor.accept(tcp)).await {
                let _ = http.serve_connection(TokioIo::new(tls), service).await;
            }
        }
    }
}
