//! Decides which reports are new, and passes them to the hooks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, watch};

use super::deliver::{self, Alert};
use crate::config::{Hook, HookTarget, NotifyEvent};
use crate::metrics::Metrics;

/// Maximum number of open conditions; further ones are not reported.
const OPEN: usize = 10_000;

/// Maximum number of waiting alerts of each hook: a beginning and an end of every condition. Accounts
/// are looked at all at once, and room is only taken by what waits.
const QUEUE: usize = 2 * OPEN;

/// Accepts reports and passes those that are new to the hooks.
pub struct Notifier {
    /// Name of the relay in alerts.
    relay: String,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

struct State {
    open: OpenConditions,
    hooks: Vec<HookQueue>,
}

/// Conditions that have begun and not ended, by event and subject.
type OpenConditions = HashMap<(NotifyEvent, String), Alert>;

impl Notifier {
    /// Starts the hooks; `relay` is the relay's name in alerts. Call within the runtime.
    pub fn start(hooks: Vec<Hook>, relay: String, metrics: Arc<Metrics>) -> Self {
        let open = OpenConditions::new();
        let hooks = queues(Vec::new(), hooks, &open, &metrics);
        Self {
            relay,
            metrics,
            state: Mutex::new(State { open, hooks }),
        }
    }

    /// Reports the beginning of a condition. Repeated reports are ignored until it ends.
    pub fn begin(
        &self,
        event: NotifyEvent,
        subject: &str,
        detail: impl Into<String>,
        remedy: Option<String>,
    ) {
        let State { open, hooks } = &mut *self.state.lock();
        if open.len() < OPEN
            && let Entry::Vacant(entry) = open.entry((event, subject.to_owned()))
        {
            let remedy = remedy.unwrap_or_default();
            let alert = self.alert(event, "begin", subject, detail.into(), remedy);
            self.send(hooks, event, entry.insert(alert));
        }
    }

    /// Reports the end of a condition. Sent only if its beginning was reported.
    pub fn end(&self, event: NotifyEvent, subject: &str, detail: impl Into<String>) {
        let State { open, hooks } = &mut *self.state.lock();
        if open.remove(&(event, subject.to_owned())).is_some() {
            let alert = self.alert(event, "end", subject, detail.into(), String::new());
            self.send(hooks, event, &alert);
        }
    }

    /// Ends the conditions of subjects that are gone: nothing else can end them.
    pub fn end_others(&self, event: NotifyEvent, is_there: impl Fn(&str) -> bool, detail: &str) {
        let State { open, hooks } = &mut *self.state.lock();
        for ((_, subject), _) in open.extract_if(|(of, name), _| *of == event && !is_there(name)) {
            let alert = self.alert(event, "end", &subject, detail.to_owned(), String::new());
            self.send(hooks, event, &alert);
        }
    }

    /// Replaces the hooks. A hook that did not get an event before gets what is open of it. Call
    /// within the runtime.
    pub fn renew(&self, hooks: Vec<Hook>) {
        let mut state = self.state.lock();
        let before = std::mem::take(&mut state.hooks);
        state.hooks = queues(before, hooks, &state.open, &self.metrics);
    }

    fn alert(
        &self,
        event: NotifyEvent,
        state: &'static str,
        subject: &str,
        detail: String,
        remedy: String,
    ) -> Alert {
        let time = OffsetDateTime::from(SystemTime::now()).replace_nanosecond(0);
        Alert {
            time: time
                .ok()
                .and_then(|time| time.format(&Rfc3339).ok())
                .unwrap_or_default(),
            event: event.name(),
            state,
            relay: self.relay.clone(),
            subject: subject.to_owned(),
            detail,
            remedy,
        }
    }

    fn send(&self, hooks: &[HookQueue], event: NotifyEvent, alert: &Alert) {
        for queue in hooks.iter().filter(|queue| queue.wants(event)) {
            queue.offer(alert, &self.metrics);
        }
    }
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
        let task = deliver::run(hook.subscribe(), receiver, metrics.clone());
        tokio::spawn(task);
        Self { hook, alerts }
    }

    fn wants(&self, event: NotifyEvent) -> bool {
        self.hook.borrow().events.contains(&event)
    }

    /// Queues an alert; one beyond the maximum is dropped.
    fn offer(&self, alert: &Alert, metrics: &Metrics) {
        if self.alerts.try_send(alert.clone()).is_err() {
            metrics.on_notification("dropped");
            tracing::warn!(
                remedy = "look at what notify's commands and URLs do so slowly",
                "an alert was dropped: too many wait"
            );
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
