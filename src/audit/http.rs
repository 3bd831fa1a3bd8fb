//! Sends records to a collector over HTTPS, in batches of lines (NDJSON, `application/x-ndjson`).
//!
//! A line is the record's own, byte for byte, so that the receiver can verify the chain. A batch is
//! delivered when the collector replies with 2xx. After any other reply, or none within
//! [`REQUEST_TIMEOUT`], it is sent again. A batch whose reply was lost arrives twice, with the same
//! `hash` values.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::timeout;

use super::remote::{Delivery, Receiver, Undelivered};
use crate::config::{AuditHttp, IpPreference};
use crate::outbound::http::Client;

/// Longest duration of a request, response included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of records and of octets in one request.
const BATCH: (usize, usize) = (1_000, 1024 * 1024);

/// The collector, as its queue needs it.
pub(super) const RECEIVER: Receiver = Receiver {
    message: |_, line| line.to_vec(),
    full: (
        "audit records are not sent to the collector",
        "the server of audit.http cannot be reached or is slow; the file has what it lacks",
    ),
    unreachable: (
        "the audit collector does not take records",
        "check audit.http: its url, headers and ca, and the server; it is tried again",
    ),
    again: "the audit collector takes records again",
    unsent: "audit records could not be sent to the collector before the end",
};

/// Delivers batches to one collector.
pub(super) struct Http {
    settings: AuditHttp,
    client: Client,
}

impl Http {
    /// Builds the client. The collector is contacted when there is something to send.
    ///
    /// # Errors
    ///
    /// The TLS configuration cannot be built.
    pub(super) fn new(settings: AuditHttp) -> Result<Self, rustls::Error> {
        Ok(Self {
            client: Client::new(crate::tls::client(&settings.ca.0)?, None, IpPreference::Any),
            settings,
        })
    }
}

impl Delivery for Http {
    fn address(&self) -> String {
        // Without the path, in which collectors put tokens.
        self.settings.url.host_str().unwrap_or_default().to_owned()
    }

    fn batch(&self) -> (usize, usize) {
        BATCH
    }

    async fn deliver(&mut self, messages: &[Vec<u8>]) -> Result<(), Undelivered> {
        let AuditHttp { url, headers, .. } = &self.settings;
        let body = messages.concat();
        let request = self.client.post(url, headers, "application/x-ndjson", body);
        match timeout(REQUEST_TIMEOUT, request).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(StatusCode::PAYLOAD_TOO_LARGE)) => Err(Undelivered::Smaller),
            Ok(Ok(status)) => Err(Undelivered::Later(format!("it answers {status}"))),
            Ok(Err(why)) => Err(Undelivered::Later(why)),
            Err(_) => Err(Undelivered::Later("no answer in time".to_owned())),
        }
    }
}
