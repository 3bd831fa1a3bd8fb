//! Settings of `state`, `admin` and `listeners`.

use super::provider::Provider;
use super::store::SharedStore;
use super::unauthenticated::Unauthenticated;
use super::users::Users;
use crate::secret::Secret;
use crate::tls::ServerCertificate;
use crate::wire::Protocol;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Settings of the state on disk, from `state`.
#[derive(Debug)]
pub struct State {
    /// Whether state is kept: the file has `state`, or a grant stores tokens.
    pub wanted: bool,
    /// Directory of the tokens, whose files only the owner can read.
    pub directory: PathBuf,
    /// Key that seals the tokens.
    pub key: StateKey,
    /// Store shared by several relays, if configured.
    pub store: Option<Arc<SharedStore>>,
}

/// Source of the sealing key, from `state.key`.
#[derive(Debug)]
pub enum StateKey {
    /// A file, created at the first start.
    File(PathBuf),
    /// A value from the environment or a command.
    Given(Secret),
}

/// Settings of the administrators' listener, from `admin`.
#[derive(Debug)]
pub struct Admin {
    /// Address of the listener; port 0 lets the system choose one.
    pub bind: SocketAddr,
    /// URL under which browsers reach it, without trailing slash.
    pub public_url: url::Url,
    /// Certificate for HTTPS; `None`: HTTP.
    pub tls: Option<Arc<ServerCertificate>>,
    /// Token that allows everything.
    pub token: AdminToken,
    /// Token that allows read access only, if configured.
    pub viewer_token: Option<AdminToken>,
    /// People who may sign in, if configured.
    pub users: Option<Arc<Users>>,
    /// Whether `/metrics` requires no token.
    pub metrics_public: bool,
}

/// Source of the administrators' token, from `admin.token`.
#[derive(Debug, PartialEq, Eq)]
pub enum AdminToken {
    /// A file, created if absent.
    File(PathBuf),
    /// A value from the file itself, the environment or a command.
    Given(Secret),
}

/// Address on which one protocol is served.
#[derive(Debug)]
pub struct Listener {
    /// Unique name of the listener; default `protocol-port`.
    pub name: String,
    /// Protocol of the listener.
    pub protocol: Protocol,
    /// Address of the listener; port 0 lets the system choose one.
    pub bind: SocketAddr,
    /// Provider whose capabilities are advertised before the login is known.
    pub provider: Arc<Provider>,
    /// TLS mode and certificate.
    pub tls: ListenerTls,
    /// Whether credentials require TLS, with [`ListenerTls::StartTls`].
    pub require_tls: bool,
    /// Networks of allowed clients; `None`: all (only with a loopback bind or TLS).
    pub allow: Option<Vec<IpNet>>,
    /// Networks of load balancers whose PROXY header is required and trusted; empty: direct
    /// clients.
    pub proxy_protocol: Vec<IpNet>,
    /// Account for SMTP clients that do not log in; never without `allow`.
    pub unauthenticated: Option<Unauthenticated>,
}

impl Listener {
    /// Whether only local clients connect. Clients of a load balancer may come from anywhere.
    pub fn is_loopback(&self) -> bool {
        self.bind.ip().is_loopback() && self.proxy_protocol.is_empty()
    }

    /// Whether `password: any` is accepted: the bind is loopback, or there is an `allow` list.
    pub fn accepts_any_password(&self) -> bool {
        self.is_loopback() || self.allow.is_some()
    }

    /// Whether clients must present a certificate.
    pub fn requires_client_certificate(&self) -> bool {
        let identity = self.tls.certificate();
        identity.is_some_and(|identity| identity.client_ca.is_some())
    }
}

/// TLS of a listener, from `listeners[].tls`.
#[derive(Debug, Clone)]
pub enum ListenerTls {
    /// No TLS.
    None,
    /// Cleartext that the client may upgrade with STARTTLS or STLS.
    StartTls(Arc<ServerCertificate>),
    /// TLS from the first byte.
    Implicit(Arc<ServerCertificate>),
}

impl ListenerTls {
    /// Certificate that the listener presents; `None` without TLS.
    pub fn certificate(&self) -> Option<&Arc<ServerCertificate>> {
        match self {
            Self::None => None,
            Self::StartTls(identity) | Self::Implicit(identity) => Some(identity),
        }
    }
}
