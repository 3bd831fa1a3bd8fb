//! Decides which reports are new, and passes them to the hooks.

use super::alert::Alert;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, watch};

use crate::config::{Hook, HookTarget, NotifyEvent};
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
    let mut queues = queues(Vec::new(), hooks, &metrics);
    while let Some(report) = reports.recv().await {
        let (event, subject, change) = match report {
            Report::Hooks(hooks) => {
                queues = self::queues(queues, hooks, &metrics);
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
        for HookQueue { hook, alerts } in &queues {
            let is_wanted = hook.borrow().events.contains(&event);
            if is_wanted && alerts.try_send(alert.clone()).is_err() {
                dropped(&metrics);
            }
        }
    }
}

fn key_of(event: NotifyEvent, subject: &str) -> (NotifyEvent, String) {
    (event, subject.to_owned())
}

/// Queue of one hook's alerts. Its task ends when it is dropped and empty.
struct HookQueue {
    hook: watch::Sender<Hook>,
    alerts: mpsc::Sender<Alert>,
}

impl HookQueue {
    fn start(hook: Hook, metrics: &Arc<Metrics>) -> Self {
        let (alerts, receiver) = mpsc::channel(QUEUE);
        let hook = watch::Sender::new(hook);
        let task = super::deliver::run(hook.subscribe(), receiver, metrics.clone());
        tokio::spawn(task);
        Self { hook, alerts }
    }
}

/// Returns a queue for each hook. A hook with the same program or URL as before keeps its queue:
/// the end of a condition must not overtake its beginning, which may still be retried.
fn queues(mut before: Vec<HookQueue>, hooks: Vec<Hook>, metrics: &Arc<Metrics>) -> Vec<HookQueue> {
    let mut queue = |hook: Hook| {
        let is_same = |queue: &HookQueue| is_same_target(&queue.hook.borrow().target, &hook.target);
        match before.iter().position(is_same) {
            Some(index) => {
                let queue = before.swap_remove(index);
                queue.hook.send_replace(hook);
                queue
            }
            None => HookQueue::start(hook, metrics),
        }
    };
    hooks.into_iter().map(&mut queue).collect()
}

/// Whether two targets are the same program with the same arguments, or the same URL.
fn is_same_target(one: &HookTarget, other: &HookTarget) -> bool {
    match (one, other) {
        (HookTarget::Command(one), HookTarget::Command(other)) => {
            (&one.program, &one.arguments) == (&other.program, &other.arguments)
        }
        (HookTarget::Url { url: one, .. }, HookTarget::Url { url: other, .. }) => one == other,
        _ => false,
    }
}
