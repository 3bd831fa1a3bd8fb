//! Settings of audit records: destinations, envelopes, signature.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rustls_pki_types::{CertificateDer, ServerName};
use url::Url;

use super::key::words;
use crate::secret::Secret;

/// Settings of audit records, from `audit`.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Destination on this machine, if any.
    pub path: Option<AuditPath>,
    /// Whether records contain SMTP senders, recipients, sizes and final replies.
    pub envelope: bool,
    /// Behaviour when records cannot be written.
    pub on_full: OnFull,
    /// Syslog server that also gets the records.
    pub syslog: Option<Syslog>,
    /// HTTPS collector that also gets the records, in batches.
    pub http: Option<AuditHttp>,
    /// Key that signs the heads of the chain.
    pub sign: Option<Arc<Ed25519KeyPair>>,
}

impl Audit {
    /// Keys whose values differ from `other`.
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

/// Settings of an HTTP collector, from `audit.http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditHttp {
    /// URL to which batches are POSTed: https, or http to loopback.
    pub url: Url,
    /// Headers of each request, by name.
    pub headers: Vec<(String, Secret)>,
    /// Authorities trusted in addition to the public roots.
    pub authorities: Vec<CertificateDer<'static>>,
}

/// Destination of audit records, from `audit.path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditPath {
    /// Standard output, written `-`.
    Stdout,
    /// A file, a pipe or a device.
    File(PathBuf),
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

/// Settings of a syslog server, from `audit.syslog`.
#[derive(Debug, Clone)]
pub struct Syslog {
    /// Host name or address of the server.
    pub host: String,
    /// TCP or UDP port of the server.
    pub port: u16,
    /// Transport to the server.
    pub transport: SyslogTransport,
}

impl Syslog {
    /// Formats the host and port of the server.
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

/// Transport to the syslog server, from `audit.syslog.transport`.
#[derive(Debug, Clone)]
pub enum SyslogTransport {
    /// UDP, one datagram per message (RFC 5426).
    Udp,
    /// TCP with octet counting (RFC 6587).
    Tcp,
    /// TLS with octet counting (RFC 5425).
    Tls {
        /// TLS configuration that verifies the server.
        config: Arc<rustls::ClientConfig>,
        /// Name that the server's certificate must contain.
        name: ServerName<'static>,
        /// Authorities trusted in addition to the public roots.
        authorities: Vec<CertificateDer<'static>>,
    },
}
