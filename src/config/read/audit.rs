//! `audit`.

use std::sync::Arc;

use rustls_pki_types::ServerName;

use super::super::audit::{Audit, AuditPath, Syslog, SyslogTransport};
use super::super::field::Field;
use super::super::keys::{AuditKeys, SyslogKeys, Transport};
use super::super::value::HostPort;
use super::writable::can_be_written;
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
    if keys.path.is_none() && syslog.is_none() {
        return field.reject("has neither path nor syslog: nothing would be recorded");
    }
    Some(Audit {
        path: keys.path,
        envelope: keys.envelope,
        on_full: keys.on_full,
        syslog,
    })
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
