//! Service manager and console: their requests (stop, reload), and the notifications to them
//! (ready, reloading, stopping, alive).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::system;

system! {
    /// Runs `serve` under the service manager: on Windows as a service if this process was started as
    /// one, otherwise directly. Returns its exit code.
    pub fn manager::run(serve: impl FnOnce() -> u8 + Send + 'static) -> u8;
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

system! {
    /// Keeps SIGXFSZ from ending the process while the result is held: a file beyond the limit (`ulimit
    /// -f`) is then a write error, like a full disk.
    pub fn manager::outlive_file_limits() -> impl Sized;

    /// Notifies the manager that clients are served under the active configuration.
    pub fn manager::ready();

    /// Notifies the manager that a reload has begun; [`ready`] ends it, whatever the result.
    pub fn manager::reloading();

    /// Notifies the manager that sessions are draining.
    pub fn manager::stopping();
}

/// Notifies the manager forever that the relaying threads are alive, at half its interval. Returns
/// at once if the manager does not require it.
pub async fn watchdog() {
    system::manager::watchdog().await;
}

system! {
    /// Whether a service manager that ignores printed output has started this process (Windows).
    pub fn manager::is_service() -> bool;
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

system! {
    /// Adds an entry to the administrators' log (Windows: event log, source `authrelay`). Elsewhere the
    /// log itself serves this purpose.
    pub fn manager::report(severity: Severity, text: &str);
}
