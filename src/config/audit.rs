//! `audit`: where records go.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rustls_pki_types::{CertificateDer, ServerName};
use url::Url;

use super::key::words;
use crate::secret::Secret;

/// `audit`.
#[derive(Debug, Clone)]
pub struct Audit {
    /// The file, if there is one.
    pub path: Option<AuditPath>,
    /// Whether records have SMTP senders, recipients, sizes and final replies.
    pub envelope: bool,
    /// What happens when records cannot be written.
    pub on_full: OnFull,
    /// A syslog server, besides.
    pub syslog: Option<Syslog>,
    /// A collector that takes batches over HTTPS, besides.
    pub http: Option<AuditHttp>,
    /// What signs heads.
    pub sign: Option<Arc<Ed25519KeyPair>>,
}

impl Audit {
    /// Keys by which it differs from `other`.
    pub fn changes(&self, other: &Self) -> Vec<&'static str> {
        [
            ("audit.path", self.path != other.path),
            ("audit.envelope", self.envelope != other.envelope),
            ("audit.on_full", self.on_full != other.on_full),
            ("audit.syslog", self.syslog != other.syslog),
            ("audit.http", self.http != other.http),
            ("audit.sign", public(&self.sign) != public(&other.sign)),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}

fn public(key: &Option<Arc<Ed25519KeyPair>>) -> Option<&[u8]> {
    key.as_ref().map(|key| key.public_key().as_ref())
}

/// `audit.http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHttp {
    /// Where batches are POSTed: https, or http to loopback.
    pub url: Url,
    /// Headers of each request, by name.
    pub headers: Vec<(String, Secret)>,
    /// Trusted besides the public roots.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// `audit.path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditPath {
    /// `-`.
    Stdout,
    /// A file, a pipe or a device.
    File(PathBuf),
}

words! {
    /// `audit.on_full`.
    pub enum OnFull {
        /// Clients go on; records are dropped, counted and said.
        Continue = "continue",
        /// Nobody logs in until records can be written.
        Refuse = "refuse",
    }
}

/// `audit.syslog`.
#[derive(Debug, Clone)]
pub struct Syslog {
    /// Name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it is spoken to.
    pub transport: SyslogTransport,
}

impl Syslog {
    /// Host and port.
    pub fn address(&self) -> impl fmt::Display {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl PartialEq for Syslog {
    fn eq(&self, other: &Self) -> bool {
        let transport = match (&self.transport, &other.transport) {
            (SyslogTransport::Udp, SyslogTransport::Udp)
            | (SyslogTransport::Tcp, SyslogTransport::Tcp) => true,
            (
                SyslogTransport::Tls {
                    authorities: mine, ..
                },
                SyslogTransport::Tls { authorities, .. },
            ) => mine == authorities,
            _ => false,
        };
        transport && (&self.host, self.port) == (&other.host, other.port)
    }
}

/// `audit.syslog.transport`.
#[derive(Debug, Clone)]
pub enum SyslogTransport {
    /// RFC 5426.
    Udp,
    /// RFC 6587, octet counting.
    Tcp,
    /// RFC 5425.
    Tls {
        /// What the server is verified with.
        config: Arc<rustls::ClientConfig>,
        /// The name that its certificate must bear.
        name: ServerName<'static>,
        /// What is trusted besides the public roots.
        authorities: Vec<CertificateDer<'static>>,
    },
}
