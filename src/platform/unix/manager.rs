//! Signals, and notifications to systemd (`sd_notify(3)`, `Type=notify-reload`). Without
//! `NOTIFY_SOCKET` nothing is sent.

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::super::manager::Severity;

pub(in super::super) fn run(serve: impl FnOnce() -> u8 + Send + 'static) -> u8 {
    serve()
}

pub(in super::super) async fn stop_requested() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

pub(in super::super) struct ReloadRequests(Signal);

impl ReloadRequests {
    pub(in super::super) fn new() -> Option<Self> {
        signal(SignalKind::hangup()).ok().map(Self)
    }

    pub(in super::super) async fn next(&mut self) -> Option<()> {
        self.0.recv().await
    }
}

/// Catches SIGXFSZ, which would otherwise end the process.
pub(in super::super) fn outlive_file_limits() -> Option<Signal> {
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).ok()
}

pub(in super::super) fn ready() {
    notify(&[NotifyState::Ready]);
}

pub(in super::super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

pub(in super::super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Uses the interval in `WATCHDOG_USEC`.
pub(in super::super) async fn watchdog() {
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

/// Output of systemd services goes to the journal.
pub(in super::super) fn is_service() -> bool {
    false
}

/// The log goes to journald or syslog, where administrators read it.
pub(in super::super) fn report(_: Severity, _: &str) {}
