//! Reads `audit`: destinations of audit records, envelopes, signature.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, ServerName};
use url::Url;

use super::field::Field;
use super::key::{Value, section, words};
use super::kind::Kind;
use super::value::{Certificates, Headers, HostPort};
use super::writable::check_file;
use crate::secret::Secret;

section! {
    /// Settings of audit records, from `audit`.
    pub struct Audit for Audit {
        /// File of JSON lines, mode 0600; `-` is stdout
        pub path: Option<AuditPath>: "no file",
        /// Whether records include SMTP senders, recipients, sizes and final replies
        pub envelope: bool = "true",
        /// If records cannot be written: `continue` keeps 8 MiB of them, then drops and counts further ones; `refuse` refuses logins
        pub on_full: OnFull = "continue",
        /// Syslog server (RFC 5424) that gets the records in addition to `path`
        pub syslog: Option<Syslog>: "none",
        /// Collector that gets the records by POST, in batches of NDJSON, in addition to `path`
        pub http: Option<AuditHttp>: "none",
        /// Signs the head of the hash chain each hour and at the end; `audit verify --public-key` checks the signatures
        pub sign: Option<HeadKey>: "no signed heads",
    }
}

impl Audit {
    fn build(self, field: &Field) -> Option<Self> {
        if let Some(AuditPath::File(path)) = &self.path {
            check_file(&field.at("path"), path)?;
        }
        if self.path.is_none() && self.syslog.is_none() && self.http.is_none() {
            return field.reject("has neither path nor syslog nor http: nothing would be recorded");
        }
        Some(self)
    }

    /// Keys whose values differ from `other`.
    pub fn changes(&self, other: &Self) -> Vec<&'static str> {
        [
            ("audit.path", self.path != other.path),
            ("audit.envelope", self.envelope != other.envelope),
            ("audit.on_full", self.on_full != other.on_full),
            ("audit.syslog", self.syslog != other.syslog),
            ("audit.http", self.http != other.http),
            ("audit.sign", self.sign != other.sign),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}

section! {
    /// Settings of an HTTP collector, from `audit.http`.
    #[derive(PartialEq, Eq)]
    pub struct AuditHttp {
        /// URL of the collector: https, or http to loopback
        pub url: Url => "the collector's URL",
        /// Headers of the request, for example `Authorization`
        pub headers: Headers = "{}": "none",
        /// PEM files of authorities that are trusted in addition to the public roots
        pub ca: Certificates = "[]": "none",
    }
}

/// Key that signs the heads of the chain; `None` if secrets are not read.
#[derive(Debug, Clone)]
pub struct HeadKey(pub Option<Arc<Ed25519KeyPair>>);

section! {
    /// `audit.sign`.
    struct SignKeys for HeadKey {
        /// Ed25519 private key in PEM (PKCS #8), as `openssl genpkey -algorithm ed25519` prints it
        key: Secret => "an Ed25519 private key in PEM: openssl genpkey -algorithm ed25519",
    }
}

impl SignKeys {
    /// Parses the key pair (RFC 8410).
    fn build(self, field: &Field) -> Option<HeadKey> {
        if self.key.is_empty() {
            return Some(HeadKey(None));
        }
        let pair = PrivatePkcs8KeyDer::from_pem_slice(self.key.expose().as_bytes())
            .ok()
            .and_then(|key| Ed25519KeyPair::from_pkcs8(key.secret_pkcs8_der()).ok());
        let pair = field.at("key").accept(pair.ok_or(
            "is not an Ed25519 private key in PEM; make one with `openssl genpkey -algorithm ed25519`",
        ))?;
        Some(HeadKey(Some(Arc::new(pair))))
    }
}

impl PartialEq for HeadKey {
    fn eq(&self, other: &Self) -> bool {
        let public = |key: &Self| Some(key.0.as_ref()?.public_key().as_ref().to_vec());
        public(self) == public(other)
    }
}

/// Destination of audit records, from `audit.path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditPath {
    /// Standard output, written `-`.
    Stdout,
    /// A file, a pipe or a device.
    File(PathBuf),
}

impl Value for AuditPath {
    fn read(field: &Field) -> Option<Self> {
        if field.is_word("-") {
            return Some(Self::Stdout);
        }
        PathBuf::read(field).map(Self::File)
    }

    fn kind() -> Kind {
        Kind::text("path, `-`")
    }
}

words! {
    /// Behaviour when records cannot be written, from `audit.on_full`.
    pub enum OnFull {
        /// Clients are served; records are dropped, counted and the drop is recorded.
        Continue = "continue",
        /// Logins are refused until records can be written.
        Refuse = "refuse",
    }
}

section! {
    /// Settings of a syslog server, from `audit.syslog`.
    #[derive(PartialEq, Eq)]
    pub struct Syslog for Syslog {
        /// Host and port of the server, as in `127.0.0.1:6514`
        pub address: HostPort => "the server's host and port, as in 127.0.0.1:6514",
        /// Transport to the server
        pub transport: SyslogTransport = "tls",
        /// With `tls`: PEM files of authorities trusted besides the public roots
        pub ca: Option<Certificates>,
    }
}

words! {
    /// Transport to the syslog server, from `audit.syslog.transport`.
    pub enum SyslogTransport {
        /// UDP, one datagram per message (RFC 5426).
        Udp = "udp",
        /// TCP with octet counting (RFC 6587).
        Tcp = "tcp",
        /// TLS with octet counting (RFC 5425).
        Tls = "tls",
    }
}

impl Syslog {
    fn build(self, field: &Field) -> Option<Self> {
        match self.transport {
            SyslogTransport::Tls if self.server_name().is_none() => field
                .at("address")
                .reject("does not begin with a host name or an address"),
            SyslogTransport::Udp | SyslogTransport::Tcp if self.ca.is_some() => field
                .at("ca")
                .reject("has no effect without transport: tls; remove it"),
            _ => Some(self),
        }
    }

    /// Name that the server's certificate must contain.
    pub fn server_name(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.address.host.clone()).ok()
    }
}
