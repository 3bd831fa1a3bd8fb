//! Decides which reports are new, and passes them to the hooks.

use super::alert::Alert;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use crate::config::{Hook, NotifyEvent};
use crate::metrics::Metrics;

/// Maximum number of waiting reports, and of waiting alerts of each hook.
const QUEUE: usize = 256;

/// Maximum number of open conditions; further ones are not reported.
const OPEN: usize = 10_000;

/// Accepts reports and passes them to the hooks.
#[derive(Debug, Clone)]
pub struct Notifier {
    sender: mpsc::Sender<Report>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Report {
    Change(NotifyEvent, String, Change),
    /// Hooks of another configuration.
    Hooks(Vec<Hook>),
}

#[derive(Debug)]
enum Change {
    Begin {
        detail: String,
        remedy: Option<String>,
    },
    End {
        detail: String,
    },
}

impl Notifier {
    /// Starts the hooks; `relay` is the relay's name in alerts. Call within the runtime.
    pub fn start(hooks: Vec<Hook>, relay: String, metrics: Arc<Metrics>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(run(receiver, hooks, relay, metrics.clone()));
        Self { sender, metrics }
    }

    /// Reports the beginning of a condition. Repeated reports are ignored until it ends.
    pub fn begin(
        &self,
        event: NotifyEvent,
        subject: &str,
        detail: impl Into<String>,
        remedy: Option<String>,
    ) {
        let detail = detail.into();
        let change = Change::Begin { detail, remedy };
        self.report(Report::Change(event, subject.to_owned(), change));
    }

    /// Reports the end of a condition. Sent only if its beginning was reported.
    pub fn end(&self, event: NotifyEvent, subject: &str, detail: impl Into<String>) {
        let detail = detail.into();
        let change = Change::End { detail };
        self.report(Report::Change(event, subject.to_owned(), change));
    }

    /// Replaces the hooks.
    pub fn renew(&self, hooks: Vec<Hook>) {
        self.report(Report::Hooks(hooks));
    }

    fn report(&self, report: Report) {
        if self.sender.try_send(report).is_err() {
            dropped(&self.metrics);
        }
    }
}

fn dropped(metrics: &Metrics) {
    metrics.on_notification("dropped");
    tracing::warn!(
        remedy = "look at what notify's commands and URLs do so slowly",
        "an alert was dropped: too many wait"
    );
}

/// Decides which reports are new, and queues alerts for the hooks.
async fn run(
    mut reports: mpsc::Receiver<Report>,
    hooks: Vec<Hook>,
    relay: String,
    metrics: Arc<Metrics>,
) {
    let mut open: HashSet<(NotifyEvent, String)> = HashSet::new();
    let mut queues = queues(hooks, &metrics);
    while let Some(report) = reports.recv().await {
        let (event, subject, change) = match report {
            Report::Hooks(hooks) => {
                queues = self::queues(hooks, &metrics);
                continue;
            }
            Report::Change(event, subject, change) => (event, subject, change),
        };
        let key = (event, subject.clone());
        let (state, detail, remedy) = match change {
            Change::Begin { detail, remedy } if open.len() < OPEN && open.insert(key) => {
                ("begin", detail, remedy.unwrap_or_default())
            }
            Change::End { detail } if open.remove(&key_of(event, &subject)) => {
                ("end", detail, String::new())
            }
            Change::Begin { .. } | Change::End { .. } => continue,
        };
        let time = OffsetDateTime::from(SystemTime::now()).replace_nanosecond(0);
        let alert = Alert {
            time: time
                .ok()
                .and_then(|time| time.format(&Rfc3339).ok())
                .unwrap_or_default(),
            event: event.name(),
            state,
            relay: relay.clone(),
            subject,
            detail,
            remedy,
        };
        for (hook, queue) in &queues {
            if hook.events.contains(&event) && queue.try_send(alert.clone()).is_err() {
                dropped(&metrics);
            }
        }
    }
}

fn key_of(event: NotifyEvent, subject: &str) -> (NotifyEvent, String) {
    (event, subject.to_owned())
}

/// Starts a queue and a task for each hook. A task ends when its queue is dropped and empty.
fn queues(hooks: Vec<Hook>, metrics: &Arc<Metrics>) -> Vec<(Hook, mpsc::Sender<Alert>)> {
    let start = |hook: Hook| {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(super::deliver::run(hook.clone(), receiver, metrics.clone()));
        (hook, sender)
    };
    hooks.into_iter().map(start).collect()
}
