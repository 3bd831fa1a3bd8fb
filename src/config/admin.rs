//! Reads `admin`: the administrators' listener.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::field::Field;
use super::key::{Key, section};
use super::listener::{Listener, check_address};
use super::source::{self, GeneratedSecret};
use super::state::State;
use super::users::Users;
use super::value::BaseUrl;
use crate::tls::{CertificateFiles, ServerCertificate};

section! {
    /// `admin`.
    pub(super) struct AdminKeys {
        /// Address and port. An address that is not loopback requires `tls`
        bind: Key<SocketAddr> => "an address and port, as in 127.0.0.1:8025",
        /// URL by which browsers reach the listener, including the path if a web server in front adds one. The redirect URI is `/oauth/callback` below it
        public_url: Key<BaseUrl>: "`http://localhost:PORT`",
        /// HTTPS, with a certificate chain and its key in PEM
        tls: Key<Arc<ServerCertificate>>: "none",
        /// Token of administrators, at least 16 octets; an absent file is created
        token: Key<GeneratedSecret>: "`{file: STATE/admin-token}`",
        /// Token that allows requests that change nothing: the pages, `GET /api/…`, `/metrics`; at least 16 octets
        viewer_token: Key<GeneratedSecret>: "none",
        /// People who [sign in](docs/operations.md#people) by OpenID Connect. The redirect URI is `/oidc/callback` below `public_url`
        users: Key<Users>: "none",
        /// Whether `/metrics` is open without a token, under any `Host`
        metrics_public: bool = "true",
    }
}

section! {
    /// `admin.tls`.
    struct TlsFiles for Arc<ServerCertificate> {
        /// Chain in PEM, leaf first
        certificate: PathBuf => "the path of a certificate chain in PEM",
        /// Private key in PEM
        key: PathBuf => "the path of the certificate's private key in PEM",
    }
}

impl TlsFiles {
    fn build(self, field: &Field) -> Option<Arc<ServerCertificate>> {
        let files = CertificateFiles {
            certificate: self.certificate,
            key: self.key,
            client_ca: None,
        };
        super::pem::server_certificate(field, files)
    }
}

/// Settings of the administrators' listener, from `admin`.
#[derive(Debug)]
pub struct Admin {
    /// Address of the listener; port 0 lets the system choose one.
    pub bind: SocketAddr,
    /// URL under which browsers reach it, without trailing slash.
    pub public_url: Url,
    /// Certificate for HTTPS; `None`: HTTP.
    pub tls: Option<Arc<ServerCertificate>>,
    /// Token that allows everything.
    pub token: GeneratedSecret,
    /// Token that allows read access only, if configured.
    pub viewer_token: Option<GeneratedSecret>,
    /// People who may sign in, if configured.
    pub users: Option<Arc<Users>>,
    /// Whether `/metrics` requires no token.
    pub metrics_public: bool,
}

pub(super) fn admin(
    field: &Field,
    keys: AdminKeys,
    state: Option<&State>,
    listeners: &[Arc<Listener>],
) -> Option<Admin> {
    let (bind, tls) = (keys.bind.required()?, keys.tls.optional()?);
    let bind_field = field.at("bind");
    if tls.is_none() && !bind.ip().is_loopback() {
        bind_field
            .problem("is not loopback, and its token would cross the network in clear: set tls");
    }
    check_address(&bind_field, bind, listeners);
    let public_url = match keys.public_url.optional() {
        Some(Some(BaseUrl(url))) => Some(url),
        Some(None) => default_url(bind, tls.is_some()),
        None => None,
    };
    if field.has_key("users") {
        if !bind.ip().is_loopback() && !field.has_key("public_url") {
            field.missing("public_url", "how browsers reach the relay, as in https://relay.example.com: admin.users needs it");
        }
        if let Some(url) = &public_url {
            Users::check_public_url(&field.at("users"), url);
        }
    }
    let token = match keys.token.optional()? {
        Some(token) => token,
        None => GeneratedSecret::File(state?.directory.join("admin-token")),
    };
    let viewer_token = keys.viewer_token.optional()?;
    if let Some(viewer) = &viewer_token {
        check_viewer_token(&field.at("viewer_token"), viewer, &token);
    }
    Some(Admin {
        bind,
        public_url: public_url?,
        tls,
        token,
        viewer_token,
        users: keys.users.optional()?.map(Arc::new),
        metrics_public: keys.metrics_public,
    })
}

/// Checks that the viewers' token is not the operators', which allows everything.
fn check_viewer_token(field: &Field, viewer: &GeneratedSecret, operator: &GeneratedSecret) {
    let value = |token: &GeneratedSecret| match token {
        GeneratedSecret::Given(secret) => Some(secret.clone()).filter(|secret| !secret.is_empty()),
        GeneratedSecret::File(path) => source::content(path).filter(|_| field.sources().are_read()),
    };
    let is_same_file = matches!(viewer, GeneratedSecret::File(_)) && viewer == operator;
    let is_same = value(viewer).is_some_and(|viewer| value(operator) == Some(viewer));
    if is_same_file || is_same {
        field.problem("is admin.token, which may do everything: make another");
    }
}

/// Default URL, with `localhost` for loopback: Entra accepts `http://localhost` with any port as a
/// redirect URI.
fn default_url(bind: SocketAddr, tls: bool) -> Option<Url> {
    let scheme = if tls { "https" } else { "http" };
    let host = match bind.ip() {
        ip if ip.is_loopback() || ip.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Url::parse(&format!("{scheme}://{host}:{}", bind.port())).ok()
}
