//! Handle through which sessions record audit events.

use super::file::AuditError;
use super::record::AuditRecord;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::http::{self, Http};
use super::queue::Queue;
use super::remote::{Delivery, Receiver, Remote};
use super::sign::Signer;
use super::syslog::{self, Syslog};
use super::writer::Writer;
use crate::config;

/// Handle for audit records. Clones write to the same chain.
#[derive(Clone)]
pub struct Audit(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) queue: Arc<Queue>,
    remotes: Vec<Arc<Remote>>,
    envelope: bool,
    path: Option<config::AuditPath>,
    is_signed: bool,
}

impl Audit {
    /// Opens the sinks, continues the chain in the file, and moves a line torn by a crash to
    /// `FILE.torn`. `relay` is the name in the records of one of several relays.
    ///
    /// # Errors
    ///
    /// [`AuditError`]: the file cannot be opened, is not an audit file, or another process writes
    /// it. An unreachable syslog server is not an error; delivery is retried.
    pub fn start(settings: &config::Audit, relay: Option<String>) -> Result<Self, AuditError> {
        let queue = Arc::new(Queue::new(settings.on_full, relay));
        let mut remotes = Vec::new();
        if let Some(server) = settings.syslog.clone() {
            let delivery = Syslog::new(server);
            remotes.push(remote(
                "audit-syslog",
                settings,
                &syslog::RECEIVER,
                delivery,
            )?);
        }
        if let Some(collector) = settings.http.clone() {
            let delivery = Http::new(collector)
                .map_err(|error| AuditError::new(Path::new("audit.http"), error))?;
            remotes.push(remote("audit-http", settings, &http::RECEIVER, delivery)?);
        }
        let signer = settings.sign.clone().and_then(|key| key.0).map(Signer::new);
        let path = settings.path.as_ref();
        let writer = Writer::open(path, queue.clone(), remotes.clone(), signer)?;
        spawn("audit", move || writer.run());
        Ok(Self(Arc::new(Inner {
            queue,
            remotes,
            envelope: settings.envelope,
            path: settings.path.clone(),
            is_signed: settings.sign.is_some(),
        })))
    }

    /// Records an event without waiting. A record that does not fit into the queue is counted and
    /// logged.
    pub fn record(&self, record: AuditRecord) {
        self.0.queue.push(record);
    }

    /// Whether records contain the envelopes of SMTP messages.
    pub fn records_envelopes(&self) -> bool {
        self.0.envelope
    }

    /// Destination of the records on this machine, if any.
    pub fn path(&self) -> Option<&config::AuditPath> {
        self.0.path.as_ref()
    }

    /// Whether the heads of the chain are signed.
    pub fn is_signed(&self) -> bool {
        self.0.is_signed
    }

    /// Whether logins must be refused, since their records could not be written.
    pub fn blocks_logins(&self) -> bool {
        self.0.queue.blocks_logins()
    }

    /// Whether the last write failed.
    pub fn is_failing(&self) -> bool {
        self.0.queue.is_failing()
    }

    /// Time at which a head was last signed and written, in seconds since 1970; until then the
    /// start.
    pub fn head_signed(&self) -> u64 {
        self.0.queue.head_signed()
    }

    /// Continues the chain in a new file at the same path, as after logrotate's rename. Returns at
    /// once.
    pub fn reopen(&self) {
        self.0.queue.reopen();
    }

    /// Waits until all records so far are written, synced and sent, at most for `patience`. Returns
    /// how many records are not written. Blocks the thread.
    pub fn finish(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let left = self.0.queue.finish(deadline);
        if left > 0 {
            tracing::warn!(
                records = left,
                "audit records could not be written before the end"
            );
        }
        for remote in &self.0.remotes {
            let records = remote.finish(deadline);
            if records > 0 {
                tracing::warn!(records, "{}", remote.receiver.unsent);
            }
        }
        left
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
        for remote in &self.remotes {
            remote.close();
        }
    }
}

/// Creates the queue of one server, and starts the thread that delivers its messages.
fn remote(
    thread: &str,
    settings: &config::Audit,
    receiver: &'static Receiver,
    delivery: impl Delivery + Send + 'static,
) -> Result<Arc<Remote>, AuditError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| AuditError::new(Path::new(thread), error))?;
    let remote = Arc::new(Remote::new(settings.on_full, receiver));
    let sending = remote.clone();
    spawn(thread, move || sending.run(&runtime, delivery));
    Ok(remote)
}

/// Starts a thread that logs to its parent's subscriber.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    let log = tracing::dispatcher::get_default(Clone::clone);
    let run = move || tracing::dispatcher::with_default(&log, run);
    // Without a thread the queue fills up, which is handled like a full disk.
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(run) {
        tracing::error!(%error, "no thread for the audit");
    }
}
