//! The sections `state`, `admin` and `listeners`, and the words of `log`.

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

/// Settings of the state that is kept on disk, from `state`.
#[derive(Debug)]
pub struct State {
    /// Whether it is used: the file asks for it, or a grant keeps tokens there.
    pub wanted: bool,
    /// Where the tokens are, in files that no one else may read.
    pub directory: PathBuf,
    /// Key with which the tokens are sealed.
    pub key: StateKey,
    /// Store that several relays share, if there is one.
    pub store: Option<Arc<SharedStore>>,
}

/// Source of the sealing key, from `state.key`.
#[derive(Debug)]
pub enum StateKey {
    /// A file, written on first start.
    File(PathBuf),
    /// From the environment or a command.
    Given(Secret),
}

/// Settings of the administrators' listener, from `admin`.
#[derive(Debug)]
pub struct Admin {
    /// Where; port 0 lets the system pick.
    pub bind: SocketAddr,
    /// How browsers reach it, without a slash at the end.
    pub public_url: url::Url,
    /// HTTPS, if it is spoken.
    pub tls: Option<Arc<ServerCertificate>>,
    /// Token that administrators present for everything.
    pub token: AdminToken,
    /// Token that allows everything that changes nothing, if there is one.
    pub viewer_token: Option<AdminToken>,
    /// People who sign in, if anybody does.
    pub users: Option<Arc<Users>>,
    /// Whether `/metrics` is open to everybody.
    pub metrics_public: bool,
}

/// Source of the administrators' token, from `admin.token`.
#[derive(Debug, PartialEq, Eq)]
pub enum AdminToken {
    /// A file, written where it is absent.
    File(PathBuf),
    /// From the file itself, the environment or a command.
    Given(Secret),
}

/// An address on which one protocol is spoken to clients.
#[derive(Debug)]
pub struct Listener {
    /// Name of the listener, unique; default `protocol-port`.
    pub name: String,
    /// Protocol that the listener speaks.
    pub protocol: Protocol,
    /// Where; port 0 lets the system pick.
    pub bind: SocketAddr,
    /// Provider whose capabilities are shown before the login is known.
    pub provider: Arc<Provider>,
    /// Whether and how clients get TLS.
    pub tls: ListenerTls,
    /// With [`ListenerTls::StartTls`]: no credentials before TLS.
    pub require_tls: bool,
    /// Client networks; `None`: anyone (only on loopback and TLS binds).
    pub allow: Option<Vec<IpNet>>,
    /// Load balancers whose PROXY header is required and believed; empty: clients come themselves.
    pub proxy_protocol: Vec<IpNet>,
    /// Account for which clients send that do not log in (SMTP); never without `allow`.
    pub unauthenticated: Option<Unauthenticated>,
}

impl Listener {
    /// Whether only clients of this machine come: those that a load balancer passes on come from
    /// anywhere.
    pub fn is_loopback(&self) -> bool {
        self.bind.ip().is_loopback() && self.proxy_protocol.is_empty()
    }

    /// Whether `password: any` may open an account here: the bind is loopback or there is an
    /// `allow` list.
    pub fn accepts_any_password(&self) -> bool {
        self.is_loopback() || self.allow.is_some()
    }

    /// Whether clients must show a certificate.
    pub fn requires_client_certificate(&self) -> bool {
        let identity = self.tls.certificate();
        identity.is_some_and(|identity| identity.client_ca.is_some())
    }
}

/// TLS of a listener, from `listeners[].tls`.
#[derive(Debug, Clone)]
pub enum ListenerTls {
    /// No TLS: everything is in clear.
    None,
    /// Cleartext that the client may upgrade.
    StartTls(Arc<ServerCertificate>),
    /// TLS from the first byte.
    Implicit(Arc<ServerCertificate>),
}

impl ListenerTls {
    /// Certificate that the listener presents, unless it stays in clear.
    pub fn certificate(&self) -> Option<&Arc<ServerCertificate>> {
        match self {
            Self::None => None,
            Self::StartTls(identity) | Self::Implicit(identity) => Some(identity),
        }
    }
}
