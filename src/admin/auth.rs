//! Authentication of requests: tokens, cookies of browsers, and the roles that they give.

use crate::config;
use crate::secret::Secret;
use crate::text::hex;
use aws_lc_rs::hmac;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE, ORIGIN};
use std::time::Duration;
use subtle::ConstantTimeEq as _;
use url::Url;

/// Name of the cookie that is derived from a token.
pub(super) const COOKIE_NAME: &str = "authrelay";

/// Name of the cookie with the id of a person's session.
pub(super) const SESSION_COOKIE: &str = "authrelay-session";

/// Name of the cookie with a sealed sign-in in progress.
pub(super) const SIGN_IN_COOKIE: &str = "authrelay-sign-in";

/// Maximum number of cookies of one name that are compared; a browser sends one.
const COOKIES: usize = 4;

/// Role that a credential gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Read access only.
    Viewer,
    /// Read access and actions.
    Operator,
}

impl Role {
    /// Name of the role, for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
        }
    }
}

/// Originator of a request with a valid credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// Name on pages and in audit records: a person's, `token` or `viewer_token`.
    pub(super) name: String,
    pub(super) role: Role,
    /// Whether a person has signed in, rather than presented a token.
    pub(super) is_person: bool,
}

impl Caller {
    /// Description of the caller, for pages.
    pub(super) fn shown(&self) -> String {
        match (self.is_person, self.role) {
            (true, role) => format!("{}, {}", self.name, role.name()),
            (false, Role::Operator) => "with the admin token".to_owned(),
            (false, Role::Viewer) => "with the viewer token".to_owned(),
        }
    }

    /// Caller who has signed in.
    pub(super) fn person(name: String, role: Role) -> Self {
        Self {
            name,
            role,
            is_person: true,
        }
    }
}

/// A token, and the cookie that a browser keeps instead of it.
struct Credential {
    /// Name of the token in audit records.
    name: &'static str,
    token: Secret,
    cookie: Secret,
    role: Role,
}

pub(super) struct AdminAuth {
    /// Accepted credentials, the operators' first.
    credentials: Vec<Credential>,
    /// Key that proves to a command that this relay knows the operators' token.
    proof: hmac::Key,
    public_url: Url,
    /// Whether HTTPS is spoken here or by a web server in front.
    is_secure: bool,
    pub(super) metrics_public: bool,
}

impl AdminAuth {
    pub(super) fn new(token: &Secret, viewer: Option<&Secret>, config: &config::Admin) -> Self {
        let credential = |name, token: &Secret, role| Credential {
            name,
            token: token.clone(),
            cookie: Secret::from(tag(token, b"authrelay browser cookie")),
            role,
        };
        let viewer = viewer.map(|token| credential("viewer_token", token, Role::Viewer));
        let operator = credential("token", token, Role::Operator);
        Self {
            credentials: [operator].into_iter().chain(viewer).collect(),
            proof: hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes()),
            is_secure: config.tls.is_some() || config.public_url.scheme() == "https",
            public_url: config.public_url.clone(),
            metrics_public: config.metrics_public,
        }
    }

    /// Path under which browsers reach the relay, without a slash at its end.
    pub(super) fn base(&self) -> &str {
        self.public_url.path().trim_end_matches('/')
    }

    /// Makes the cookie for a token that a person typed in, valid until the browser closes; `None`
    /// if the token is wrong.
    pub(super) fn cookie(&self, presented: &Secret) -> Option<String> {
        let mut credentials = self.credentials.iter();
        let found = credentials.find(|credential| credential.token == *presented)?;
        let value = found.cookie.expose();
        Some(self.set_cookie(COOKIE_NAME, value, "SameSite=Strict"))
    }

    /// Makes the cookie of a session, valid until the browser closes or the session ends.
    pub(super) fn session_cookie(&self, id: &Secret) -> String {
        self.set_cookie(SESSION_COOKIE, id.expose(), "SameSite=Lax")
    }

    /// Makes the cookie of a sign-in in progress, which the browser brings back from the identity
    /// provider.
    pub(super) fn sign_in_cookie(&self, sealed: &str, lifetime: Duration) -> String {
        let attributes = format!("SameSite=Lax; Max-Age={}", lifetime.as_secs());
        self.set_cookie(SIGN_IN_COOKIE, sealed, &attributes)
    }

    /// Makes the header that deletes a cookie in a browser.
    pub(super) fn no_cookie(&self, name: &str) -> String {
        self.set_cookie(name, "", "SameSite=Strict; Max-Age=0")
    }

    fn set_cookie(&self, name: &str, value: &str, attributes: &str) -> String {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let base = self.base();
        format!("{name}={value}; Path={base}/; HttpOnly; {attributes}{secure}")
    }

    /// Address of a page, as browsers have it.
    pub(super) fn public(&self, path: &str) -> String {
        let origin = self.public_url.origin().ascii_serialization();
        format!("{origin}{}{path}", self.base())
    }

    /// Computes the proof for a command's nonce, which requires the token.
    pub(super) fn prove(&self, nonce: &str) -> String {
        proof(&self.proof, nonce)
    }

    /// Token of `Authorization: Bearer TOKEN`, valid or not.
    pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        let is_bearer = scheme.eq_ignore_ascii_case("bearer");
        is_bearer.then_some(token.trim())
    }

    /// Caller with `Authorization: Bearer TOKEN`, or with a cookie derived from a token.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let same = |given: &str, secret: &Secret| {
            bool::from(given.as_bytes().ct_eq(secret.expose().as_bytes()))
        };
        let bearer = Self::bearer(headers);
        let presents = |credential: &&Credential| {
            bearer.is_some_and(|token| same(token, &credential.token))
                || cookies(headers, COOKIE_NAME).any(|cookie| same(cookie, &credential.cookie))
        };
        let found = self.credentials.iter().find(presents)?;
        Some(Caller {
            name: found.name.to_owned(),
            role: found.role,
            is_person: false,
        })
    }

    /// Whether a request's Host names this relay. DNS rebinding would need a name of the attacker.
    pub(super) fn is_own_host(&self, host: &str) -> bool {
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
    pub(super) fn is_foreign(&self, headers: &HeaderMap, host: &str) -> bool {
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

/// Computes the answer of a relay to a nonce, which a command compares.
pub(super) fn proof(key: &hmac::Key, nonce: &str) -> String {
    let text = format!("authrelay knows its admin token\0{nonce}");
    hex(hmac::sign(key, text.as_bytes()).as_ref())
}

fn tag(token: &Secret, text: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes());
    hex(hmac::sign(&key, text).as_ref())
}

/// Returns the values of a cookie in a request, at most the first few.
pub(super) fn cookies<'a>(
    headers: &'a HeaderMap,
    wanted: &'a str,
) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(name, _)| *name == wanted)
        .map(|(_, value)| value)
        .take(COOKIES)
}
