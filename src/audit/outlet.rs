//! From a sealed line to the message that another machine gets.

use std::sync::Arc;

use super::record::AuditRecord;
use super::remote::Remote;
use super::syslog::{host_name, message};

/// One place besides the file that records go to.
pub(super) struct Outlet {
    remote: Arc<Remote>,
    /// With syslog: this machine's name.
    host: Option<String>,
}

impl Outlet {
    /// Messages of RFC 5424.
    pub(super) fn syslog(remote: Arc<Remote>) -> Self {
        Self {
            remote,
            host: Some(host_name()),
        }
    }

    /// Lines as they are.
    pub(super) fn http(remote: Arc<Remote>) -> Self {
        Self { remote, host: None }
    }

    /// Hands a sealed line on. With `on_full: refuse` it waits for room.
    pub(super) fn push(&self, record: &AuditRecord, line: &[u8]) {
        self.remote.push(match &self.host {
            Some(host) => message(host, record, line),
            None => line.to_vec(),
        });
    }
}
