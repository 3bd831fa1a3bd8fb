//! Who may ask for what: a token or a browser's cookie made of it, no unknown `Host`, nothing that
//! changes something from another site, no request that takes for ever to come.
//!
//! Open to everybody are health, the OAuth callback (its state is its key), the proof that the
//! relay knows its token and, if configured, the metrics.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::http::Busy;
use super::{AdminState, BODY};
use crate::config;
use crate::secret::Secret;

/// The cookie's name.
const COOKIE_NAME: &str = "authrelay";

/// How long a request's body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may take: a test of three protocols, each step at its slowest, takes less.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// Nothing but what the page itself brings.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Look.
    Viewer,
    /// Change something, too.
    Operator,
}

/// A token, and what a browser keeps instead of it.
struct Credential {
    token: Secret,
    cookie: Secret,
    role: Role,
}

pub(super) struct AdminAuth {
    /// The operators' first.
    credentials: Vec<Credential>,
    /// What proves to a command that this relay knows the operators' token.
    proof: hmac::Key,
    public_url: Url,
    /// HTTPS is spoken here or in front.
    is_secure: bool,
    metrics_public: bool,
}

impl AdminAuth {
    pub(super) fn new(token: &Secret, viewer: Option<&Secret>, config: &config::Admin) -> Self {
        let credential = |token: &Secret, role| Credential {
            token: token.clone(),
            cookie: Secret::from(tag(token, b"authrelay browser cookie")),
            role,
        };
        let viewer = viewer.map(|token| credential(token, Role::Viewer));
        let operator = credential(token, Role::Operator);
        Self {
            credentials: [operator].into_iter().chain(viewer).collect(),
            proof: hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes()),
            is_secure: config.tls.is_some() || config.public_url.scheme() == "https",
            public_url: config.public_url.clone(),
            metrics_public: config.metrics_public,
        }
    }

    /// The path under which browsers find the relay, without a slash at its end.
    pub(super) fn base(&self) -> &str {
        self.public_url.path().trim_end_matches('/')
    }

    /// What a browser is given for a token that somebody typed in, until it closes; `None` where
    /// it is no token.
    pub(super) fn cookie(&self, presented: &Secret) -> Option<String> {
        let mut credentials = self.credentials.iter();
        let found = credentials.find(|credential| credential.token == *presented)?;
        Some(self.set_cookie(found.cookie.expose(), ""))
    }

    /// What has a browser forget its cookie.
    pub(super) fn no_cookie(&self) -> String {
        self.set_cookie("", "; Max-Age=0")
    }

    fn set_cookie(&self, value: &str, more: &str) -> String {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let base = self.base();
        format!("{COOKIE_NAME}={value}; Path={base}/; HttpOnly; SameSite=Strict{secure}{more}")
    }

    /// The proof for a command's nonce: nobody else can make it.
    pub(super) fn prove(&self, nonce: &str) -> String {
        proof(&self.proof, nonce)
    }

    /// `Authorization: Bearer TOKEN`, or the cookie.
    fn role(&self, headers: &HeaderMap) -> Option<Role> {
        let same = |given: &str, secret: &Secret| {
            bool::from(given.as_bytes().ct_eq(secret.expose().as_bytes()))
        };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            let is_bearer = scheme.eq_ignore_ascii_case("bearer");
            is_bearer.then_some(token.trim())
        });
        let presents = |credential: &&Credential| {
            bearer.is_some_and(|token| same(token, &credential.token))
                || cookies(headers).any(|cookie| same(cookie, &credential.cookie))
        };
        self.credentials
            .iter()
            .find(presents)
            .map(|found| found.role)
    }

    /// DNS rebinding needs a name of the attacker's.
    fn knows(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let public = self.public_url.host_str().unwrap_or_default();
        name.parse::<std::net::IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || name.eq_ignore_ascii_case(public)
    }

    /// Whether a browser says that the request comes from another site. A web server in front may
    /// have put a `Host` of its own: what browsers call this site is `public_url`.
    fn is_foreign(&self, headers: &HeaderMap, host: &str) -> bool {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let site = text("sec-fetch-site");
        if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
            return true;
        }
        headers.get(ORIGIN).is_some_and(|origin| {
            let origin = origin.to_str().unwrap_or("null");
            let authority = origin.split_once("://").map_or("", |(_, host)| host);
            !authority.eq_ignore_ascii_case(host)
                && origin != self.public_url.origin().ascii_serialization()
        })
    }
}

/// What a relay answers to a nonce, and a command expects.
pub(super) fn proof(key: &hmac::Key, nonce: &str) -> String {
    let text = format!("authrelay knows its admin token\0{nonce}");
    hex(hmac::sign(key, text.as_bytes()).as_ref())
}

fn tag(token: &Secret, text: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
    hex(hmac::sign(&key, text).as_ref())
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE_NAME)
        .map(|(_, value)| value)
}

/// Every request goes through here.
pub(super) async fn check_access(
    State(panel): State<Arc<AdminState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let role = panel.gate.role(request.headers());
    let mut response = match refusal(&panel.gate, &request, role) {
        Some(response) => response,
        None => {
            request
                .extensions_mut()
                .insert(role.unwrap_or(Role::Viewer));
            answer(request, next).await
        }
    };
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

/// What is answered instead, where the request may not go on.
fn refusal(gate: &AdminAuth, request: &Request, role: Option<Role>) -> Option<Response> {
    let path = request.uri().path();
    let path = path.strip_prefix(gate.base()).unwrap_or(path);
    let path = if path.is_empty() { "/" } else { path };
    let health =
        matches!(path, "/livez" | "/readyz") || (path == "/metrics" && gate.metrics_public);
    let open = health || matches!(path, "/oauth/callback" | "/style.css" | "/login" | "/proof");
    let host = request.headers().get(HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    if !health && !gate.knows(host) {
        let text = "this name is not the relay's: ask by its address, by localhost, or by the host of admin.public_url\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, text).into_response());
    }
    if !reading && gate.is_foreign(request.headers(), host) {
        let text = "another site may change nothing here\n";
        return Some((StatusCode::FORBIDDEN, text).into_response());
    }
    match role {
        _ if open => None,
        Some(Role::Operator) => None,
        Some(Role::Viewer) if reading || path == "/logout" => None,
        Some(Role::Viewer) => {
            let text = "admin.viewer_token is for looking; this takes admin.token\n";
            Some((StatusCode::FORBIDDEN, text).into_response())
        }
        None if path == "/" => Some(super::page::log_in(gate, false)),
        None => {
            let header = [("www-authenticate", "Bearer")];
            let text = "the admin token is needed: Authorization: Bearer TOKEN (admin.token says where it is)\n";
            Some((StatusCode::UNAUTHORIZED, header, text).into_response())
        }
    }
}

/// Takes the whole of the request, then works on it.
async fn answer(request: Request, next: Next) -> Response {
    let busy = request.extensions().get::<Busy>().cloned();
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let _busy = busy.map(|busy| busy.begin());
    let request = Request::from_parts(head, Body::from(body));
    match tokio::time::timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::GATEWAY_TIMEOUT.into_response(),
    }
}
