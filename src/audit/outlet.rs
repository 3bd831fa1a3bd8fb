//! Converts sealed lines to the messages for other machines.

use std::sync::Arc;

use super::record::AuditRecord;
use super::remote::Remote;
use super::syslog::{host_name, message};

/// Destination of records other than the file.
pub(super) struct Outlet {
    remote: Arc<Remote>,
    /// Name of this machine, for syslog.
    host: Option<String>,
}

impl Outlet {
    /// Creates an outlet for RFC 5424 messages.
    pub(super) fn syslog(remote: Arc<Remote>) -> Self {
        Self {
            remote,
            host: Some(host_name()),
        }
    }

    /// Creates an outlet for unchanged lines.
    pub(super) fn http(remote: Arc<Remote>) -> Self {
        Self { remote, host: None }
    }

    /// Passes a sealed line on. With `on_full: refuse` this waits for space.
    pub(super) fn push(&self, record: &AuditRecord, line: &[u8]) {
        self.remote.push(match &self.host {
            Some(host) => message(host, record, line),
            None => line.to_vec(),
        });
    }
}
