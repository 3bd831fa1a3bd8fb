//! What is reported, and what of it is new.

use super::alert::Alert;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use crate::config::{Hook, NotifyEvent};
use crate::metrics::Metrics;

/// Reports, and alerts of each hook, that may wait.
const QUEUE: usize = 256;

/// Subjects that may need a person at once; beyond it beginnings are not remembered, and so not
/// reported.
const OPEN: usize = 10_000;

/// Takes reports and sends them to the hooks.
#[derive(Debug, Clone)]
pub struct Notifier {
    sender: mpsc::Sender<Report>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
enum Report {
    Change(NotifyEvent, String, Change),
    /// The hooks of another configuration.
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
    /// Starts calling these hooks, as the relay of this name. Called within the runtime.
    pub fn start(hooks: Vec<Hook>, relay: String, metrics: Arc<Metrics>) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(run(receiver, hooks, relay, metrics.clone()));
        Self { sender, metrics }
    }

    /// Reports that something needs a person: once, until it has ended.
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

    /// Reports that the subject needs no one any more. Sent if its beginning was.
    pub fn end(&self, event: NotifyEvent, subject: &str, detail: impl Into<String>) {
        let detail = detail.into();
        let change = Change::End { detail };
        self.report(Report::Change(event, subject.to_owned(), change));
    }

    /// Replaces the hooks that are called.
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

/// Decides what is new, and hands it to the hooks for it.
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
                ("begin", detail, remedy)
            }
            Change::End { detail } if open.remove(&key_of(event, &subject)) => {
                ("end", detail, None)
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

/// A queue and a task for each hook; a task ends when its queue is dropped and empty.
fn queues(hooks: Vec<Hook>, metrics: &Arc<Metrics>) -> Vec<(Hook, mpsc::Sender<Alert>)> {
    let start = |hook: Hook| {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(super::deliver::run(hook.clone(), receiver, metrics.clone()));
        (hook, sender)
    };
    hooks.into_iter().map(start).collect()
}
