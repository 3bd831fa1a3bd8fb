//! Who may ask for what: the token or a browser's cookie made of it, no unknown `Host`, nothing
//! that changes something from another site.
//!
//! Open to everybody are health, the OAuth callback (its state is its key) and, if configured,
//! the metrics.

use std::sync::Arc;

use aws_lc_rs::hmac;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use subtle::ConstantTimeEq as _;

use super::Panel;
use crate::config;
use crate::secret::Secret;

/// The cookie's name.
pub(super) const COOKIE_NAME: &str = "authrelay";

/// Nothing but what the page itself brings.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

pub(super) struct Gate {
    token: Secret,
    /// What a browser keeps instead of the token.
    cookie: Secret,
    /// Names under which the listener may be asked, besides addresses and `localhost`.
    host: String,
    metrics_public: bool,
}

impl Gate {
    pub(super) fn new(token: &Secret, config: &config::Admin) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
        let tag = hmac::sign(&key, b"authrelay browser cookie");
        let cookie: String = tag
            .as_ref()
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        Self {
            token: token.clone(),
            cookie: Secret::from(cookie),
            host: config
                .public_url
                .host_str()
                .unwrap_or_default()
                .to_lowercase(),
            metrics_public: config.metrics_public,
        }
    }

    /// Whether somebody typed in the token.
    pub(super) fn is_token(&self, presented: &Secret) -> bool {
        *presented == self.token
    }

    /// What a browser is given for the token: until it closes.
    pub(super) fn cookie(&self, encrypted: bool) -> String {
        let secure = if encrypted { "; Secure" } else { "" };
        let value = self.cookie.expose();
        format!("{COOKIE_NAME}={value}; Path=/; HttpOnly; SameSite=Strict{secure}")
    }

    /// `Authorization: Bearer TOKEN`, or the cookie.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let same = |given: &str, secret: &Secret| {
            bool::from(given.as_bytes().ct_eq(secret.expose().as_bytes()))
        };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
        bearer.is_some_and(|token| same(token, &self.token))
            || cookies(headers).any(|cookie| same(cookie, &self.cookie))
    }

    /// DNS rebinding needs a name of the attacker's.
    fn knows(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        name.parse::<std::net::IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || name.eq_ignore_ascii_case(&self.host)
    }
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

/// Whether a browser says that the request comes from another site.
fn is_foreign(headers: &HeaderMap, host: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text("sec-fetch-site");
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    headers.get(ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or("null");
        let origin = origin.split_once("://").map_or("", |(_, host)| host);
        !origin.eq_ignore_ascii_case(host)
    })
}

/// Every request goes through here.
pub(super) async fn gate(
    State(panel): State<Arc<Panel>>,
    request: Request,
    next: Next,
) -> Response {
    let gate = &panel.gate;
    let path = request.uri().path();
    let health =
        matches!(path, "/livez" | "/readyz") || (path == "/metrics" && gate.metrics_public);
    let open = health || matches!(path, "/oauth/callback" | "/style.css" | "/login");
    let host = request.headers().get(HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = if !health && !gate.knows(host) {
        (
            StatusCode::MISDIRECTED_REQUEST,
            "this name is not the relay's: ask by its address, by localhost, or by the host of admin.public_url\n",
        )
            .into_response()
    } else if !reading && is_foreign(request.headers(), host) {
        (
            StatusCode::FORBIDDEN,
            "another site may change nothing here\n",
        )
            .into_response()
    } else if !open && !gate.admits(request.headers()) && path == "/" {
        super::page::log_in(false)
    } else if !open && !gate.admits(request.headers()) {
        (
            StatusCode::UNAUTHORIZED,
            [("www-authenticate", "Bearer")],
            "the admin token is needed: Authorization: Bearer TOKEN (admin.token says where it is)\n",
        )
            .into_response()
    } else {
        next.run(request).await
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
