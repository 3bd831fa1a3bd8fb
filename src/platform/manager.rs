//! Whoever runs authrelay, and the person at its console: what they ask for (stop, reload), and
//! what they are told (ready, reloading, stopping, alive).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::system;

/// Runs `serve` as the service manager wants it: on Windows as a service where this process was
/// started as one, otherwise as it is. Returns what it returns, an exit code.
pub fn run(serve: impl FnOnce() -> u8 + Send + 'static) -> u8 {
    system::manager::run(serve)
}

/// Listens from now on for the request to stop, and gives what waits for it: SIGTERM or SIGINT, or
/// Ctrl-C, Ctrl-Break, the end of the session or the service's stop control.
pub async fn listen_for_stop() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let mut stop = Box::pin(system::manager::stop_requested());
    // The first poll registers with the system; before it a signal would end the process.
    match poll_fn(|cx| Poll::Ready(stop.as_mut().poll(cx))).await {
        Poll::Ready(()) => Box::pin(std::future::ready(())),
        Poll::Pending => stop,
    }
}

/// Requests to reload: SIGHUP, or the service's parameter change.
pub struct ReloadRequests(system::manager::ReloadRequests);

impl ReloadRequests {
    /// Listens from now on; `None` where the system cannot.
    pub fn new() -> Option<Self> {
        system::manager::ReloadRequests::new().map(Self)
    }

    /// Waits for the next; `None`: there will be none.
    pub async fn next(&mut self) -> Option<()> {
        self.0.next().await
    }
}

/// Keeps signals that would end the process from doing so where an error can say the same: a file
/// beyond the process's limit (`ulimit -f`, SIGXFSZ) is like a full disk. As long as it is held.
pub fn outlive_file_limits() -> impl Sized {
    system::manager::outlive_file_limits()
}

/// Says that clients are served, under the configuration in force.
pub fn ready() {
    system::manager::ready();
}

/// Says that a reload has begun; [`ready`] ends it, whatever came of it.
pub fn reloading() {
    system::manager::reloading();
}

/// Says that sessions are draining.
pub fn stopping() {
    system::manager::stopping();
}

/// Says for ever that the threads which relay still turn, twice as often as the manager asks; where
/// none asks it returns.
pub async fn watchdog() {
    system::manager::watchdog().await;
}

/// Whether a service manager that reads nothing of what is printed has started this process
/// (Windows).
pub fn is_service() -> bool {
    system::manager::is_service()
}

/// How weighty an entry of [`report`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Start and stop.
    Information,
    /// Something to look at.
    Warning,
    /// The relay does not do what it is there for.
    Error,
}

/// Puts an entry into the system's log for administrators (Windows: the event log, source
/// `authrelay`); elsewhere the log itself is where they look.
pub fn report(severity: Severity, text: &str) {
    system::manager::report(severity, text);
}
