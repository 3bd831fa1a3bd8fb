//! Service manager and console: their requests (stop, reload), and the notifications to them
//! (ready, reloading, stopping, alive).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::system;

/// Runs `serve` under the service manager: on Windows as a service if this process was started as
/// one, otherwise directly. Returns its exit code.
pub fn run(serve: impl FnOnce() -> u8 + Send + 'static) -> u8 {
    system::manager::run(serve)
}

/// Starts listening for stop requests, and returns a future that waits for one: SIGTERM or SIGINT,
/// or on Windows Ctrl-C, Ctrl-Break, the end of the session or the service's stop control.
pub async fn listen_for_stop() -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let mut stop = Box::pin(system::manager::stop_requested());
    // The first poll registers with the system. Before it a signal would end the process.
    match poll_fn(|cx| Poll::Ready(stop.as_mut().poll(cx))).await {
        Poll::Ready(()) => Box::pin(std::future::ready(())),
        Poll::Pending => stop,
    }
}

/// Requests to reload: SIGHUP, or the service's parameter change.
pub struct ReloadRequests(system::manager::ReloadRequests);

impl ReloadRequests {
    /// Starts listening; `None` if the system cannot.
    pub fn new() -> Option<Self> {
        system::manager::ReloadRequests::new().map(Self)
    }

    /// Waits for the next request. `None`: there will be no more.
    pub async fn next(&mut self) -> Option<()> {
        self.0.next().await
    }
}

/// Keeps SIGXFSZ from ending the process while the result is held: a file beyond the limit (`ulimit
/// -f`) is then a write error, like a full disk.
pub fn outlive_file_limits() -> impl Sized {
    system::manager::outlive_file_limits()
}

/// Notifies the manager that clients are served under the active configuration.
pub fn ready() {
    system::manager::ready();
}

/// Notifies the manager that a reload has begun; [`ready`] ends it, whatever the result.
pub fn reloading() {
    system::manager::reloading();
}

/// Notifies the manager that sessions are draining.
pub fn stopping() {
    system::manager::stopping();
}

/// Notifies the manager forever that the relaying threads are alive, at half its interval. Returns
/// at once if the manager does not require it.
pub async fn watchdog() {
    system::manager::watchdog().await;
}

/// Whether a service manager that ignores printed output has started this process (Windows).
pub fn is_service() -> bool {
    system::manager::is_service()
}

/// Severity of an entry of [`report`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Start or stop.
    Information,
    /// A condition that needs attention.
    Warning,
    /// The relay does not work.
    Error,
}

/// Adds an entry to the administrators' log (Windows: event log, source `authrelay`). Elsewhere the
/// log itself serves this purpose.
pub fn report(severity: Severity, text: &str) {
    system::manager::report(severity, text);
}
