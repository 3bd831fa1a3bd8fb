//! Sends records to a collector over HTTPS, in batches of lines (NDJSON, `application/x-ndjson`).
//!
//! A line is the record's own, byte for byte, so that the receiver can verify the chain. A batch is
//! delivered when the collector replies with 2xx. After any other reply, or none within
//! [`REQUEST_TIMEOUT`], it is sent again. A batch whose reply was lost arrives twice, with the same
//! `hash` values.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use tokio::runtime::Runtime;

use super::remote::{Delivery, Undelivered, Wording};
use crate::config::AuditHttp;
use crate::outbound::http::Client;

/// Longest duration of a request, response included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of records and of octets in one request.
const BATCH: (usize, usize) = (1_000, 1024 * 1024);

/// Log messages about the collector.
pub(super) const WORDING: Wording = Wording {
    full: (
        "audit records are not sent to the collector",
        "the server of audit.http cannot be reached or is slow; the file has what it lacks",
    ),
    unreachable: (
        "the audit collector does not take records",
        "check audit.http: its url, headers and ca, and the server; it is tried again",
    ),
    again: "the audit collector takes records again",
};

/// Delivers batches to one collector.
pub(super) struct Http {
    settings: AuditHttp,
    client: Client,
    runtime: Runtime,
}

impl Http {
    /// Builds the client. The collector is contacted when there is something to send.
    ///
    /// # Errors
    ///
    /// The runtime or the TLS configuration cannot be built.
    pub(super) fn new(settings: AuditHttp) -> std::io::Result<Self> {
        let tls = crate::tls::client(&settings.ca.0).map_err(std::io::Error::other)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            client: Client::new(tls, None, crate::config::IpPreference::Any),
            settings,
            runtime,
        })
    }

    async fn post(&self, body: Vec<u8>) -> Result<StatusCode, String> {
        let mut request = axum::http::Request::post(self.settings.url.as_str())
            .header(CONTENT_TYPE, "application/x-ndjson");
        for (name, value) in self.settings.headers.values() {
            request = request.header(name, value);
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        let answer = self.client.execute(request).await;
        let answer = answer.map_err(|error| crate::outbound::http::causes(&error))?;
        Ok(answer.status())
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

    fn deliver(&mut self, messages: &[Vec<u8>]) -> Result<(), Undelivered> {
        let request = self.post(messages.concat());
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(REQUEST_TIMEOUT, request).await });
        match answer {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(StatusCode::PAYLOAD_TOO_LARGE)) => Err(Undelivered::Smaller),
            Ok(Ok(status)) => Err(Undelivered::Later(format!("it answers {status}"))),
            Ok(Err(why)) => Err(Undelivered::Later(why)),
            Err(_) => Err(Undelivered::Later("no answer in time".to_owned())),
        }
    }
}
