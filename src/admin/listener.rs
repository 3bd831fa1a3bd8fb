//! The administrators' listener: its creation, its routes, and the handlers of health and metrics.

use super::page::{blocking, style};
use super::state::BODY;
use super::state::{AdminState, Readiness, Reload};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::hmac;
use axum::extract::{DefaultBodyLimit, Query, RawQuery, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower_service::Service as _;

use super::auth::AdminAuth;
use super::people::People;
use crate::config::{self, GeneratedSecret};
use crate::fault_log::FaultLogLimiter;
use crate::secret::Secret;
use crate::session::ActiveService;
use crate::tls::reload::ReloadableTls;
use crate::token::authorizations::PendingAuthorizations;
use crate::token::store::{StateError, generated};

/// Maximum number of concurrent connection tests, each of which opens connections.
const TESTS: usize = 4;

/// Maximum number of concurrent reads of audit records, each of which holds megabytes.
const READINGS: usize = 2;

/// Administrators' listener, bound but not yet served.
pub struct Admin {
    socket: std::net::TcpListener,
    tls: Option<Arc<ReloadableTls>>,
    state: Arc<AdminState>,
}

/// Returns the value of a token, as configured or from its file, which is created if absent.
///
/// # Errors
///
/// The file cannot be read or created, or other users may read it.
pub fn token(token: &GeneratedSecret) -> Result<Secret, StateError> {
    match token {
        GeneratedSecret::Given(secret) => Ok(secret.clone()),
        GeneratedSecret::File(path) => generated(path),
    }
}

/// Computes the response of a relay that knows `token` to `/proof?nonce=NONCE`.
pub fn proof(token: &Secret, nonce: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
    super::auth::proof(&key, nonce)
}

impl Admin {
    /// Creates the listener on a bound socket.
    ///
    /// # Errors
    ///
    /// [`StateError`] if a token's file cannot be read or created; any other error concerns TLS.
    pub fn bind(
        config: &config::Admin,
        socket: std::net::TcpListener,
        current: Arc<ActiveService>,
        reload: Reload,
    ) -> anyhow::Result<Self> {
        let viewer = config.viewer_token.as_ref().map(token).transpose()?;
        let token = token(&config.token)?;
        let tls = config.tls.as_ref();
        let tls = tls.map(|identity| ReloadableTls::new("admin", identity));
        let state = AdminState {
            current,
            reload,
            consents: PendingAuthorizations::new(config.consent_redirect()),
            auth: AdminAuth::new(&token, viewer.as_ref(), config),
            people: Arc::new(People::new(config)?),
            tests: Arc::new(Semaphore::new(TESTS)),
            readings: Arc::new(Semaphore::new(READINGS)),
            fault_log: FaultLogLimiter::default(),
            ready: AtomicBool::new(false),
        };
        Ok(Self {
            socket,
            tls: tls.transpose()?.map(Arc::new),
            state: Arc::new(state),
        })
    }

    /// Returns the reloadable TLS of the listener; `None` without TLS.
    pub fn tls(&self) -> Option<Arc<ReloadableTls>> {
        self.tls.clone()
    }

    /// Returns the people who may sign in, which a reload replaces.
    pub fn people(&self) -> Arc<People> {
        self.state.people.clone()
    }

    /// Returns the address of the listener.
    ///
    /// # Errors
    ///
    /// The system does not report the address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Returns the handle that reports when the relay serves.
    pub fn readiness(&self) -> Readiness {
        Readiness(self.state.clone())
    }

    /// Serves until `stop`.
    ///
    /// # Errors
    ///
    /// The runtime cannot take the socket.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let socket = TcpListener::from_std(self.socket)?;
        let router = router(self.state);
        tokio::select! {
            () = super::http::serve(socket, self.tls, router) => {}
            () = stop => {}
        }
        Ok(())
    }
}

/// Builds the routes: at the root, and below the path of `public_url` for web servers that pass it
/// on unchanged. A path that is both is the one at the root.
fn router(state: Arc<AdminState>) -> Router {
    let base = state.auth.base().to_owned();
    let check_access = middleware::from_fn_with_state(state.clone(), super::access::check_access);
    let pages = pages()
        .layer(DefaultBodyLimit::max(BODY))
        .layer(check_access)
        .with_state(state);
    let mut below = pages.clone();
    pages.fallback(move |request: Request| below.call(without_base(request, &base)))
}

/// Removes `base` from the front of the request's path, if it stands there.
fn without_base(mut request: Request, base: &str) -> Request {
    let mut parts = request.uri().clone().into_parts();
    let path = request.uri().path().strip_prefix(base);
    let path = path.filter(|path| path.is_empty() || path.starts_with('/'));
    if let Some(path) = path {
        let path = if path.is_empty() { "/" } else { path };
        let query = request.uri().query().map(|query| format!("?{query}"));
        let rest = format!("{path}{}", query.unwrap_or_default());
        parts.path_and_query = rest.parse().ok();
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

fn pages() -> Router<Arc<AdminState>> {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/", get(super::page::status))
        .route("/login", post(super::sign_in::logged_in))
        .route("/logout", post(super::sign_in::log_out))
        .route("/oidc/start", get(super::sign_in::start))
        .route("/oidc/callback", get(super::sign_in::callback))
        .route("/audit", get(super::records::audit))
        .route("/app.js", get(super::page::script))
        .route("/style.css", get(style))
        .route("/qr.svg", get(super::page::qr))
        .route("/oauth/callback", get(returned))
        .route("/api/accounts", get(super::api::accounts))
        .route("/api/sessions", get(super::api::sessions))
        .route("/api/reload", post(super::api::reload))
        .route(
            "/api/accounts/{login}/authorize",
            post(super::api::authorize).get(super::api::progress),
        )
        .route("/api/accounts/{login}/test", post(super::api::test))
        .route("/api/accounts/{login}/token", delete(super::api::forget))
        .route("/proof", get(prove))
}

#[derive(Deserialize)]
struct Challenge {
    nonce: String,
}

/// Responds to a command's nonce with the proof that this relay knows its token.
async fn prove(
    State(state): State<Arc<AdminState>>,
    Query(challenge): Query<Challenge>,
) -> Response {
    let nonce = &challenge.nonce;
    let is_nonce =
        (32..=128).contains(&nonce.len()) && nonce.bytes().all(|octet| octet.is_ascii_hexdigit());
    match is_nonce {
        true => state.auth.prove(nonce).into_response(),
        false => {
            let text = "nonce: 32 to 128 hexadecimal digits\n";
            (StatusCode::BAD_REQUEST, text).into_response()
        }
    }
}

/// Reports readiness: 503 while starting and while draining. Faults elsewhere do not count.
async fn readyz(State(state): State<Arc<AdminState>>) -> (StatusCode, &'static str) {
    if state.current.active().state.drain.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if state.ready.load(Ordering::Acquire) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

/// Writes the metrics in Prometheus' text format, with the number of missing consents from the store.
async fn metrics(State(state): State<Arc<AdminState>>) -> Response {
    blocking(move || {
        let service = state.current.active();
        let consents = crate::status::consents(&service.accounts, &service.token_source);
        for (registration, count) in consents {
            let metrics = &service.state.metrics;
            metrics.consents(&registration, count.needed, count.attention);
        }
        service.measure();
        let header = [("content-type", "text/plain; version=0.0.4; charset=utf-8")];
        (header, service.state.metrics.text()).into_response()
    })
    .await
}

async fn returned(
    State(state): State<Arc<AdminState>>,
    Extension(client): Extension<SocketAddr>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let service = state.current.active();
    let token_source = &service.token_source;
    let accounts = |login: &str| service.find(login).cloned();
    let finished = state.consents.finish_of_any(token_source, &query, accounts);
    let result = finished.await;
    if let Err(fault) = &result {
        state.log_fault(client, fault, "no consent");
    }
    // An opaque token does not name the person who signed in: the mail service decides then.
    let verdict = match &result {
        Ok(given) if given.identity.is_none() => match service.find(&given.login) {
            Some(account) => crate::doctor::explain_failure(&service, account, &given.login).await,
            None => None,
        },
        _ => None,
    };
    super::callback::page(state.auth.base(), &result, verdict)
}
