//! What sessions hold: records go into its queue.

use super::error::AuditError;
use super::record::AuditRecord;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::Queue;
use super::syslog::Syslog;
use crate::config;

/// Where records go. Clones write to the same chain.
#[derive(Clone)]
pub struct Audit(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) queue: Arc<Queue>,
    syslog: Option<Arc<Syslog>>,
    envelope: bool,
}

impl Audit {
    /// Opens the sinks: goes on with the chain that the file holds, and moves a last line that a
    /// crash has torn to `FILE.torn`.
    ///
    /// # Errors
    ///
    /// [`AuditError`] where the file cannot be opened, is no audit file, or another process writes
    /// it. A syslog server that cannot be reached is no error: it is tried again.
    pub fn start(settings: &config::Audit) -> Result<Self, AuditError> {
        Self::start_as(settings, None)
    }

    /// Starts as [`Audit::start`] does, for one of several relays, whose name the records carry.
    ///
    /// # Errors
    ///
    /// As [`Audit::start`].
    pub fn start_as(settings: &config::Audit, relay: Option<String>) -> Result<Self, AuditError> {
        let queue = Arc::new(Queue::new(settings.on_full, relay));
        let syslog = settings.syslog.clone().map(|server| {
            let syslog = Arc::new(Syslog::new(settings.on_full));
            (server, syslog)
        });
        let writer = super::writer::Writer::open(
            settings.path.as_ref(),
            queue.clone(),
            syslog.as_ref().map(|(_, syslog)| syslog.clone()),
        )?;
        spawn("audit", move || writer.run());
        let syslog = syslog.map(|(server, syslog)| {
            let sender = syslog.clone();
            spawn("audit-syslog", move || sender.run(&server));
            syslog
        });
        Ok(Self(Arc::new(Inner {
            queue,
            syslog,
            envelope: settings.envelope,
        })))
    }

    /// Takes a record. Never waits; what has no place is counted and said.
    pub fn record(&self, record: AuditRecord) {
        self.0.queue.push(record);
    }

    /// Whether senders, recipients, sizes and replies of SMTP messages belong into records.
    pub fn records_envelopes(&self) -> bool {
        self.0.envelope
    }

    /// Whether logins must be refused, since their records could not be written.
    pub fn blocks_logins(&self) -> bool {
        self.0.queue.blocks_logins()
    }

    /// Whether the last write failed.
    pub fn is_failing(&self) -> bool {
        self.0.queue.is_failing()
    }

    /// Goes on in a new file at the same path, as after logrotate's rename; the chain goes on too.
    /// Returns at once.
    pub fn reopen(&self) {
        self.0.queue.reopen();
    }

    /// Waits until everything recorded so far is written, confirmed by the disk and sent, but at
    /// most for `patience`; gives how many records are not written then. Blocks its thread.
    pub fn finish(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let left = self.0.queue.finish(deadline);
        if left > 0 {
            tracing::warn!(
                records = left,
                "audit records could not be written before the end"
            );
        }
        if let Some(syslog) = &self.0.syslog {
            let unsent = syslog.finish(deadline);
            if unsent > 0 {
                tracing::warn!(
                    records = unsent,
                    "audit records could not be sent to syslog before the end"
                );
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
        if let Some(syslog) = &self.syslog {
            syslog.close();
        }
    }
}

/// A thread that logs where its parent does.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) {
    let log = tracing::dispatcher::get_default(Clone::clone);
    let run = move || tracing::dispatcher::with_default(&log, run);
    // Without a thread the queue fills up, which is handled like a full disk.
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(run) {
        tracing::error!(%error, "no thread for the audit");
    }
}
