//! Decides which reports are new, and passes them to the hooks.

use super::alert::Alert;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, watch};

use crate::config::{Hook, HookTarget, NotifyEvent};
use crate::metrics::Metrics;

/// Maximum number of open conditions; further ones are not reported.
const OPEN: usize = 10_000;

/// Maximum number of waiting reports, and of waiting alerts of each hook: a beginning and an end of
/// every condition. Accounts are looked at all at once, and room is only taken by what waits.
const QUEUE: usize = 2 * OPEN;

/// Accepts reports and passes them to the hooks.
#[derive(Debug, Clone)]
pub struct Notifier {
    sender: mpsc::Sender<Report>,
    metrics: Arc<Metrics>,
}

/// Conditions that have begun and not ended, by event and subject.
type OpenConditions = HashMap<(NotifyEvent, String), Alert>;

/// Function that tells whether a subject can still be in trouble.
struct Subjects(Box<dyn Fn(&str) -> bool + Send>);

impl fmt::Debug for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subjects")
    }
}

#[derive(Debug)]
enum Report {
    Change(NotifyEvent, String, Change),
    /// Ends the conditions of all other subjects.
    Only(NotifyEvent, Subjects, &'static str),
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

    /// Ends the conditions of subjects that are gone: nothing else can end them.
    pub fn end_others(
        &self,
        event: NotifyEvent,
        are_there: impl Fn(&str) -> bool + Send + 'static,
        detail: &'static str,
    ) {
        self.report(Report::Only(event, Subjects(Box::new(are_there)), detail));
    }

    /// Replaces the hooks. A hook that did not get an event before gets what is open of it.
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
    let mut open = OpenConditions::new();
    let mut queues = queues(Vec::new(), hooks, &open, &metrics);
    while let Some(report) = reports.recv().await {
        let changes = match report {
            Report::Hooks(hooks) => {
                queues = self::queues(queues, hooks, &open, &metrics);
                continue;
            }
            Report::Change(event, subject, change) => vec![(event, subject, change)],
            Report::Only(event, subjects, detail) => {
                let gone = open
                    .keys()
                    .filter(|(of, subject)| *of == event && !(subjects.0)(subject));
                let end = |(event, subject): &(NotifyEvent, String)| {
                    let detail = detail.to_owned();
                    (*event, subject.clone(), Change::End { detail })
                };
                gone.map(end).collect()
            }
        };
        for (event, subject, change) in changes {
            if let Some(alert) = decide(&mut open, event, subject, change, &relay) {
                for queue in queues.iter().filter(|queue| queue.wants(event)) {
                    queue.offer(&alert, &metrics);
                }
            }
        }
    }
}

/// Returns the alert of a change, if it is news.
fn decide(
    open: &mut OpenConditions,
    event: NotifyEvent,
    subject: String,
    change: Change,
    relay: &str,
) -> Option<Alert> {
    let key = (event, subject.clone());
    let (state, detail, remedy) = match change {
        Change::Begin { detail, remedy } if open.len() < OPEN && !open.contains_key(&key) => {
            ("begin", detail, remedy.unwrap_or_default())
        }
        Change::End { detail } if open.remove(&key).is_some() => ("end", detail, String::new()),
        Change::Begin { .. } | Change::End { .. } => return None,
    };
    let time = OffsetDateTime::from(SystemTime::now()).replace_nanosecond(0);
    let alert = Alert {
        time: time
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok())
            .unwrap_or_default(),
        event: event.name(),
        state,
        relay: relay.to_owned(),
        subject,
        detail,
        remedy,
    };
    if state == "begin" {
        open.insert(key, alert.clone());
    }
    Some(alert)
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

    fn wants(&self, event: NotifyEvent) -> bool {
        self.hook.borrow().events.contains(&event)
    }

    /// Queues an alert; one beyond the maximum is dropped.
    fn offer(&self, alert: &Alert, metrics: &Metrics) {
        if self.alerts.try_send(alert.clone()).is_err() {
            dropped(metrics);
        }
    }
}

/// Returns a queue for each hook. A hook with the same program or URL as before keeps its queue:
/// the end of a condition must not overtake its beginning, which may still be retried. Events that
/// a hook did not get before begin with what is open, so that it gets no end without a beginning.
fn queues(
    mut before: Vec<HookQueue>,
    hooks: Vec<Hook>,
    open: &OpenConditions,
    metrics: &Arc<Metrics>,
) -> Vec<HookQueue> {
    let mut queue = |hook: Hook| {
        let is_same = |queue: &HookQueue| is_same_target(&queue.hook.borrow().target, &hook.target);
        let (queue, known) = match before.iter().position(is_same) {
            Some(index) => {
                let queue = before.swap_remove(index);
                let replaced = queue.hook.send_replace(hook);
                (queue, replaced.events)
            }
            None => (HookQueue::start(hook, metrics), Vec::new()),
        };
        let mut news: Vec<&Alert> = open
            .iter()
            .filter(|((event, _), _)| queue.wants(*event) && !known.contains(event))
            .map(|(_, alert)| alert)
            .collect();
        news.sort_by(|one, other| one.time.cmp(&other.time));
        news.iter().for_each(|alert| queue.offer(alert, metrics));
        queue
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
