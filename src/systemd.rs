//! What systemd is told (`sd_notify(3)`, `Type=notify-reload`): ready, reloading, stopping, alive.
//! Without a systemd that listens (`NOTIFY_SOCKET`) nothing is said.

use sd_notify::NotifyState;

/// Clients are served, under the configuration in force.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// A reload has begun; [`ready`] ends it, whatever came of it.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// Sessions are draining.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Says for ever that the threads which relay still turn, twice as often as `WATCHDOG_USEC` asks;
/// where nobody asks it says nothing.
pub async fn watchdog() {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut beats = tokio::time::interval(patience / 2);
    loop {
        beats.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd does not listen");
    }
}
