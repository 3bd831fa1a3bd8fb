//! Values published to all relays for a limited time (a pause, a backoff), and counts of failed logins.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::command::{Answer, Command};
use super::{Failures, HEARD, Member};

impl Member {
    /// Publishes a value: here at once, in the store in the background.
    pub fn keep(self: &Arc<Self>, name: Arc<str>, value: Arc<str>, life: Duration) {
        self.on_kept(name.clone(), value.clone(), life);
        self.ask_in_background(Command::Keep {
            name,
            value,
            life,
            is_published: true,
        });
    }

    /// Returns a published value and its end.
    pub fn kept(&self, name: &str) -> Option<(Arc<str>, Instant)> {
        let kept = self.kept.lock();
        kept.get(name)
            .filter(|(_, until)| *until > Instant::now())
            .cloned()
    }

    pub(super) fn on_kept(&self, name: Arc<str>, value: Arc<str>, life: Duration) {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        if kept.len() >= HEARD {
            kept.retain(|_, (_, until)| *until > now);
        }
        // No relay waits for more than an hour.
        let until = now + life.min(Duration::from_secs(3_600));
        if kept.len() < HEARD && kept.get(&name).is_none_or(|(_, known)| *known < until) {
            kept.insert(name, (value, until));
        }
    }

    /// Counts a failure in the store, in the background.
    pub fn on_failure(self: &Arc<Self>, name: Arc<str>, policy: (Duration, u32, Duration)) {
        self.in_background(|member| async move {
            let count = Command::Count {
                name: name.clone(),
                policy: Some(policy),
            };
            if let Ok(Answer::Counted { failures, locked }) = member.ask_or_rejoin(&count).await {
                member.on_counted(name, failures, locked);
            }
        });
    }

    /// Removes the failures of a login that has succeeded.
    pub fn on_success(self: &Arc<Self>, name: Arc<str>) {
        if self.failures.lock().remove(&name).is_some() {
            self.ask_in_background(Command::Uncount { name });
        }
    }

    /// Reads the shared count, if this relay knows of a failure.
    pub async fn look_at_failures(&self, name: &Arc<str>) {
        if !self.failures.lock().contains_key(name) {
            return;
        }
        let look = Command::Count {
            name: name.clone(),
            policy: None,
        };
        if let Ok(Answer::Counted { failures, locked }) = self.ask(&look).await {
            self.on_counted(name.clone(), failures, locked);
        }
    }

    /// Returns the failures of all relays within `window`, and the end of the lock.
    pub fn failures(&self, name: &str, window: Duration) -> (u32, Option<Instant>) {
        let now = Instant::now();
        match self.failures.lock().get(name) {
            Some(it) => {
                let counts = now.duration_since(it.heard) <= window;
                let locked = Some(it.locked_until).filter(|until| *until > now);
                (if counts { it.count } else { 0 }, locked)
            }
            None => (0, None),
        }
    }

    pub(super) fn on_counted(&self, name: Arc<str>, count: u32, locked: Duration) {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        if count == 0 && locked.is_zero() {
            failures.remove(&name);
            return;
        }
        if failures.len() >= HEARD {
            let middle = now.checked_sub(Duration::from_secs(600));
            failures.retain(|_, it| middle.is_none_or(|middle| it.heard > middle));
        }
        if failures.len() < HEARD {
            let it = Failures {
                count,
                heard: now,
                locked_until: now + locked.min(Duration::from_secs(86_400)),
            };
            failures.insert(name, it);
        }
    }
}
