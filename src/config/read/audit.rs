//! `audit`.

use std::sync::Arc;

use rustls_pki_types::ServerName;

use super::super::audit::{Audit, AuditPath, OnFull, Syslog, SyslogTransport};
use super::super::field::Field;
use super::Reader;
use crate::net::tls;

#[derive(Clone, Copy)]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Reader<'_> {
    pub(super) fn audit(&self, field: &Field<'_>) -> Option<Audit> {
        let mut section = field.section()?;
        let path = section.take("path");
        let path = match &path {
            Some(field) if field.text() == Some("-") => Some(Some(AuditPath::Stdout)),
            Some(field) => match self.sources.path(field)? {
                path if path.is_dir() => field.wrong("is a folder; name a file in it"),
                path => Some(Some(AuditPath::File(path))),
            },
            None => Some(None),
        };
        let envelope = section
            .take("envelope")
            .map_or(Some(true), |field| field.boolean());
        let on_full = section
            .take("on_full")
            .map_or(Some(OnFull::Continue), |field| {
                field.one_of(&[("continue", OnFull::Continue), ("refuse", OnFull::Refuse)])
            });
        let syslog = match section.take("syslog") {
            Some(field) => self.syslog(&field).map(Some),
            None => Some(None),
        };
        section.finish();
        let audit = Audit {
            path: path?,
            envelope: envelope?,
            on_full: on_full?,
            syslog: syslog?,
        };
        if audit.path.is_none() && audit.syslog.is_none() {
            return field.wrong("has neither path nor syslog: nothing would be recorded");
        }
        Some(audit)
    }

    fn syslog(&self, field: &Field<'_>) -> Option<Syslog> {
        let mut section = field.section()?;
        let address_field = section.require(
            "address",
            "the server's host and port, as in 127.0.0.1:6514",
        );
        let address = address_field.as_ref().and_then(address);
        let transport = section
            .take("transport")
            .map_or(Some(Transport::Tls), |field| {
                field.one_of(&[
                    ("udp", Transport::Udp),
                    ("tcp", Transport::Tcp),
                    ("tls", Transport::Tls),
                ])
            });
        let ca = section.take("ca");
        section.finish();
        let transport = transport?;
        if let (Transport::Udp | Transport::Tcp, Some(ca)) = (transport, &ca) {
            return ca.wrong("has no effect without transport: tls; remove it");
        }
        let authorities = match &ca {
            Some(ca) => self.sources.certificates(ca)?,
            None => Vec::new(),
        };
        let (host, port) = address?;
        let transport = match transport {
            Transport::Udp => SyslogTransport::Udp,
            Transport::Tcp => SyslogTransport::Tcp,
            Transport::Tls => {
                let Ok(name) = ServerName::try_from(host.clone()) else {
                    return address_field?.wrong("does not begin with a host name or an address");
                };
                match tls::client(&authorities) {
                    Ok(config) => SyslogTransport::Tls {
                        config: Arc::new(config),
                        name,
                        authorities,
                    },
                    Err(error) => return ca.as_ref().unwrap_or(field).wrong(error),
                }
            }
        };
        Some(Syslog {
            host,
            port,
            transport,
        })
    }
}

/// `host:port`; an IPv6 address in brackets.
fn address(field: &Field<'_>) -> Option<(String, u16)> {
    let text = field.word()?;
    let parts = text.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        (!host.is_empty() && !host.contains(char::is_whitespace)).then(|| (host.to_owned(), port))
    });
    match parts {
        Some(parts) => Some(parts),
        None => {
            field.wrong("must be a host and a port, as in 127.0.0.1:6514 or logs.example.com:6514")
        }
    }
}
