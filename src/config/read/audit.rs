//! Reads `audit`.

use std::sync::Arc;

use aws_lc_rs::signature::Ed25519KeyPair;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivatePkcs8KeyDer, ServerName};

use super::super::audit::{Audit, AuditHttp, AuditPath, Syslog, SyslogTransport};
use super::super::field::Field;
use super::super::keys::{AuditHttpKeys, AuditKeys, SyslogKeys, Transport};
use super::super::value::{HostPort, https};
use super::notify::headers;
use super::writable::can_be_written;
use crate::secret::Secret;
use crate::tls;

pub(super) fn audit(field: &Field, keys: AuditKeys) -> Option<Audit> {
    if let Some(AuditPath::File(path)) = &keys.path {
        let field = field.at("path");
        if path.is_dir() {
            return field.reject("is a folder; name a file in it");
        }
        can_be_written(&field, path);
    }
    let syslog = match keys.syslog {
        Some(keys) => Some(syslog(&field.at("syslog"), keys)?),
        None => None,
    };
    let http = match keys.http {
        Some(keys) => Some(http(&field.at("http"), keys)?),
        None => None,
    };
    if keys.path.is_none() && syslog.is_none() && http.is_none() {
        return field.reject("has neither path nor syslog nor http: nothing would be recorded");
    }
    let sign = match keys.sign {
        Some(keys) => signing_key(&field.at("sign").at("key"), &keys.key)?,
        None => None,
    };
    Some(Audit {
        path: keys.path,
        envelope: keys.envelope,
        on_full: keys.on_full,
        syslog,
        http,
        sign,
    })
}

fn http(field: &Field, keys: AuditHttpKeys) -> Option<AuditHttp> {
    let url = match https(&keys.url, "") {
        Ok(url) => url,
        Err(why) => return field.at("url").reject(why),
    };
    Some(AuditHttp {
        url,
        headers: headers(keys.headers)?,
        authorities: keys.ca.optional()?.map(|ca| ca.0).unwrap_or_default(),
    })
}

/// Reads an Ed25519 key pair (RFC 8410). `Some(None)` if sources are not read.
fn signing_key(field: &Field, pem: &Secret) -> Option<Option<Arc<Ed25519KeyPair>>> {
    if pem.is_empty() {
        return Some(None);
    }
    let key = PrivatePkcs8KeyDer::from_pem_slice(pem.expose().as_bytes())
        .ok()
        .and_then(|key| Ed25519KeyPair::from_pkcs8(key.secret_pkcs8_der()).ok());
    match key {
        Some(key) => Some(Some(Arc::new(key))),
        None => field.reject(
            "is no Ed25519 private key in PEM; make one with `openssl genpkey -algorithm ed25519`",
        ),
    }
}

fn syslog(field: &Field, keys: SyslogKeys) -> Option<Syslog> {
    let HostPort(host, port) = keys.address;
    let transport = match (keys.transport, &keys.ca) {
        (Transport::Udp | Transport::Tcp, Some(_)) => {
            return field
                .at("ca")
                .reject("has no effect without transport: tls; remove it");
        }
        (Transport::Udp, None) => SyslogTransport::Udp,
        (Transport::Tcp, None) => SyslogTransport::Tcp,
        (Transport::Tls, _) => {
            let authorities = keys.ca.map(|ca| ca.0).unwrap_or_default();
            let Ok(name) = ServerName::try_from(host.clone()) else {
                return field
                    .at("address")
                    .reject("does not begin with a host name or an address");
            };
            match tls::client(&authorities) {
                Ok(config) => SyslogTransport::Tls {
                    config: Arc::new(config),
                    name,
                    authorities,
                },
                Err(error) => return field.at("ca").reject(error),
            }
        }
    };
    Some(Syslog {
        host,
        port,
        transport,
    })
}
