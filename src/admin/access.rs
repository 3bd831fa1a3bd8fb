//! Access control of the administrators' listener: a token, a cookie derived from it, or a session.
//! Refused are unknown `Host` headers, changes requested by other sites, and requests that take too
//! long to arrive.
//!
//! Open without a credential are health, the sign-in, both callbacks (protected by `state`), the
//! proof that the relay knows its token and, if configured, the metrics.

use super::auth::{Caller, Role};
use super::http::Busy;
use super::state::{AdminState, BODY};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use std::time::Duration;

/// Longest time for a request's body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for a response. A test of three protocols takes less, even if each step takes its
/// longest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// Content-Security-Policy of every page: only the page's own script and style.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Characters of a login on an audit record.
const LOGIN_CAP: usize = 320;

/// Paths that require no credential.
const OPEN: [&str; 6] = [
    "/oauth/callback",
    "/oidc/start",
    "/oidc/callback",
    "/style.css",
    "/login",
    "/proof",
];

/// Pages for people. Without a credential they show how to sign in.
const PAGES: [&str; 2] = ["/", "/audit"];

/// Action of a request, and the login that it concerns, as the audit records them.
fn action(request: &Request) -> Option<(&'static str, Option<String>)> {
    let mut parts = request.uri().path().strip_prefix("/api/")?.split('/');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next()];
    let (action, login) = match (request.method(), parts) {
        (&Method::POST, [Some("reload"), None, ..]) => return Some(("reload", None)),
        (&Method::POST, [Some("accounts"), Some(login), Some("authorize"), None]) => {
            ("authorize", login)
        }
        (&Method::POST, [Some("accounts"), Some(login), Some("test"), None]) => ("test", login),
        (&Method::DELETE, [Some("accounts"), Some(login), Some("token"), None]) => {
            ("forget", login)
        }
        _ => return None,
    };
    let login = percent_encoding::percent_decode_str(login).decode_utf8_lossy();
    let login = login.to_lowercase().chars().take(LOGIN_CAP).collect();
    Some((action, Some(login)))
}

/// Checks the access rights and the origin of every request, and records actions in the audit.
pub(super) async fn check_access(
    State(state): State<Arc<AdminState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = state.caller(request.headers());
    let action = action(&request);
    let refusal = refusal(&state, &request, caller.as_ref());
    let is_refused = refusal.is_some();
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = match refusal {
        Some(response) => response,
        None => {
            if let Some(caller) = caller.clone() {
                request.extensions_mut().insert(caller);
            }
            answer(request, next).await
        }
    };
    if let (Some((action, login)), Some(caller)) = (action, caller) {
        let outcome = match response.status().is_success() {
            true => "accepted",
            false if is_refused => "refused",
            false => "failed",
        };
        let service = state.current.active();
        service.record_action(&caller.name, action, login, outcome);
    }
    if is_api {
        response = with_json_error(response).await;
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // `no-referrer` would have forms say `Origin: null`, and be refused here.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Responds to a request that is not allowed.
fn refusal(state: &AdminState, request: &Request, caller: Option<&Caller>) -> Option<Response> {
    let auth = &state.auth;
    let path = request.uri().path();
    let health =
        matches!(path, "/livez" | "/readyz") || (path == "/metrics" && auth.metrics_public);
    let open = health || OPEN.contains(&path);
    let host = request.headers().get(HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if !health && !auth.is_own_host(host) {
        let text = "the relay is not known by this host name: use its address, localhost, or the host of admin.public_url\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, text).into_response());
    }
    if !reading && auth.is_foreign(request.headers(), host) {
        let text = "requests from other sites may not change anything here\n";
        return Some((StatusCode::FORBIDDEN, text).into_response());
    }
    match caller {
        _ if open => None,
        Some(caller) if caller.role == Role::Operator || reading || path == "/logout" => None,
        Some(viewer) => Some(only_looking(viewer)),
        None if reading && PAGES.contains(&path) => Some(super::sign_in::log_in(state)),
        None => {
            let header = [("www-authenticate", "Bearer")];
            let text = "the admin token is required: Authorization: Bearer TOKEN (admin.token says where it is)\n";
            Some((StatusCode::UNAUTHORIZED, header, text).into_response())
        }
    }
}

/// Refuses what a viewer may not do, for scripts and for the page.
fn only_looking(viewer: &Caller) -> Response {
    let what = match viewer.is_person {
        true => format!(
            "{} is a viewer, who may only look: tests and changes require an operator (admin.users.operators)",
            viewer.name
        ),
        false => "admin.viewer_token only allows looking: tests and changes require admin.token"
            .to_owned(),
    };
    super::api::error(StatusCode::FORBIDDEN, &what)
}

/// Turns an error's text into JSON, as scripts expect it of `/api/…`: `{"error": …}`.
async fn with_json_error(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if !is_error || is_json {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, BODY).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let error = match text.trim() {
        "" => status.canonical_reason().unwrap_or_default(),
        text => text,
    };
    head.headers.remove(CONTENT_TYPE);
    head.headers.remove(CONTENT_LENGTH);
    let mut response = super::api::error(status, error);
    response.headers_mut().extend(head.headers);
    response
}

/// Reads the whole request, then passes it on.
async fn answer(request: Request, next: Next) -> Response {
    let busy = request.extensions().get::<Busy>().cloned();
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let _busy = busy.and_then(|busy| busy.0.try_lock_owned().ok());
    let request = Request::from_parts(head, Body::from(body));
    match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}
