//! Delivers alerts to one hook: to a program's stdin, or to a URL by POST. Failed deliveries are
//! tried twice more.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, watch};

use crate::config::{Hook, HookTarget, IpPreference};
use crate::metrics::Metrics;
use crate::outbound::http::Client;
use crate::platform::process::Running;
use crate::tls;

/// Pauses before the second and third attempt.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];

/// Alert that a hook receives.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Alert {
    /// Time of the alert: RFC 3339, UTC.
    pub(super) time: String,
    pub(super) event: &'static str,
    /// Whether the condition begins or ends: `begin` or `end`.
    pub(super) state: &'static str,
    pub(super) relay: String,
    pub(super) subject: String,
    pub(super) detail: String,
    /// Remedy, for people; empty where nothing needs to be done.
    pub(super) remedy: String,
}

/// Delivers alerts to one hook, one after the other. Each attempt uses the hook's settings of that
/// moment.
pub(super) async fn run(
    hook: watch::Receiver<Hook>,
    mut alerts: mpsc::Receiver<Alert>,
    metrics: Arc<Metrics>,
) {
    while let Some(alert) = alerts.recv().await {
        let mut pauses = PAUSES.iter();
        loop {
            let settings = hook.borrow().clone();
            let Err(why) = once(&settings, &alert).await else {
                metrics.on_notification("ok");
                break;
            };
            metrics.on_notification("failed");
            tracing::warn!(
                event = alert.event,
                subject = alert.subject,
                error = why,
                "an alert could not be delivered"
            );
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => break,
            }
        }
    }
}

/// Makes one attempt within the hook's timeout.
async fn once(hook: &Hook, alert: &Alert) -> Result<(), String> {
    let text = serde_json::to_string(alert).map_err(|error| error.to_string())? + "\n";
    let tried = async {
        match &hook.target {
            HookTarget::Command(command) => {
                run_command(&command.program, &command.arguments, &text).await
            }
            HookTarget::Url { url, headers, ca } => {
                let tls = tls::client(&ca.0).map_err(|_| "no TLS for this URL")?;
                let client = Client::new(tls, None, IpPreference::Any);
                let posted = client.post(url, headers, "application/json", text.into_bytes());
                match posted.await? {
                    status if status.is_success() => Ok(()),
                    status => Err(format!("the URL answers {status}")),
                }
            }
        }
    };
    match tokio::time::timeout(hook.timeout, tried).await {
        Ok(result) => result,
        Err(_) => Err(format!(
            "not done within {}",
            humantime::format_duration(hook.timeout)
        )),
    }
}

/// Runs a program. The program and its children end when this future is dropped.
async fn run_command(program: &Path, arguments: &[String], text: &str) -> Result<(), String> {
    let mut running =
        Running::spawn(program, arguments).map_err(|error| format!("cannot be run: {error}"))?;
    if let Some(mut stdin) = running.stdin() {
        // A program that needs no input may have closed it.
        let _ = stdin.write_all(text.as_bytes()).await;
    }
    match running.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("failed: {status}")),
        Err(error) => Err(error.to_string()),
    }
}
