//! Reads `admin`: the administrators' listener.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::field::Field;
use super::key::section;
use super::listener::{Listener, check_address};
use super::source::{self, GeneratedSecret};
use super::state::State;
use super::users::Users;
use super::value::BASE_URL;
use crate::tls::{CertificateFiles, ServerCertificate};

section! {
    /// Settings of the administrators' listener, from `admin`.
    pub struct Admin from AdminKeys {
        /// Address and port. An address that is not loopback requires `tls`
        pub bind: SocketAddr => "an address and port, as in 127.0.0.1:8025",
        /// URL by which browsers reach the listener, including the path if a web server in front adds one. The redirect URI is `/oauth/callback` below it
        pub public_url: Url[BASE_URL]: "`http://localhost:PORT`",
        /// HTTPS, with a certificate chain and its key in PEM
        pub tls: Option<Arc<ServerCertificate>>: "none",
        /// Token of administrators, at least 16 octets; an absent file is created
        pub token: GeneratedSecret: "`{file: STATE/admin-token}`",
        /// Token that allows requests that change nothing: the pages, `GET /api/…`, `/metrics`; at least 16 octets
        pub viewer_token: Option<GeneratedSecret>: "none",
        /// People who [sign in](docs/operations.md#people) by OpenID Connect. The redirect URI is `/oidc/callback` below `public_url`
        pub users: Option<Arc<Users>>: "none",
        /// Whether `/metrics` is open without a token, under any `Host`
        pub metrics_public: bool = "true",
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

impl Admin {
    /// Redirect URI of consents, as registered at the identity provider.
    pub fn consent_redirect(&self) -> Url {
        self.below("oauth/callback")
    }

    /// Redirect URI of people's sign-in, as registered at their identity provider.
    pub fn sign_in_redirect(&self) -> Url {
        self.below("oidc/callback")
    }

    fn below(&self, path: &str) -> Url {
        let mut url = self.public_url.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        url
    }
}

/// Completes the keys of `admin`, and checks them against each other and the other sections.
pub(super) fn admin(
    field: &Field,
    mut keys: AdminKeys,
    state: Option<&State>,
    listeners: &[Arc<Listener>],
) -> Option<Admin> {
    let bind = *keys.bind.given()?;
    let tls = keys.tls.clone().optional()?;
    let bind_field = field.at("bind");
    if tls.is_none() && !bind.ip().is_loopback() {
        bind_field
            .problem("is not loopback, and its token would cross the network in clear: set tls");
    }
    check_address(&bind_field, bind, listeners);
    if field.has_key("users") && !bind.ip().is_loopback() && !field.has_key("public_url") {
        field.missing(
            "public_url",
            "how browsers reach the relay, as in https://relay.example.com: admin.users needs it",
        );
    }
    keys.public_url
        .default_from(|| default_url(bind, tls.is_some()));
    if let (true, Some(url)) = (field.has_key("users"), keys.public_url.given()) {
        Users::check_public_url(&field.at("users"), url);
    }
    keys.token
        .default_from(|| Some(GeneratedSecret::File(state?.directory.join("admin-token"))));
    if let (Some(viewer), Some(token)) = (keys.viewer_token.given(), keys.token.given()) {
        check_viewer_token(&field.at("viewer_token"), viewer, token);
    }
    keys.finish()
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
