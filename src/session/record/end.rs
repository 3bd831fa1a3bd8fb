//! End of a session's record: its log line, audit record and counters, written on drop.

use super::{SessionOutcome, SessionRecord, millis};
use crate::audit::{self, Event};
use crate::fault::Kind;
use crate::relay::{ByteCounters, ClosedBy};
use crate::session::registry::Phase;

impl Drop for SessionRecord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fault = Some(Kind::Internal);
            if self.is_probe() {
                self.outcome = SessionOutcome::Failed;
            }
            self.metrics.fault(self.protocol(), Kind::Internal);
            self.history.count_fault(Kind::Internal.side());
        }
        let phase = self.session.phase();
        if self.attempt_began.is_some() {
            // Interrupted by the end of the session.
            self.outcome = match self.fault {
                Some(Kind::Internal) => SessionOutcome::Failed,
                _ => SessionOutcome::Cancelled,
            };
            self.on_attempt_ended(self.outcome.name(), phase);
        }
        let (up, down) = (self.session.counts.up(), self.session.counts.down());
        self.metrics
            .session_ended(self.protocol(), self.outcome.name(), up, down);
        let duration_ms = millis(self.began.elapsed());
        let audit = self.audit.as_ref().filter(|_| !self.is_probe());
        if let Some(audit) = audit {
            audit.record(audit::AuditRecord {
                outcome: Some(self.outcome.name()),
                fault: self.fault.map(|kind| kind.to_string()),
                phase: Some(phase.name()),
                bytes_up: Some(up),
                bytes_down: Some(down),
                login_ms: self.login_ms,
                duration_ms: Some(duration_ms),
                closed_by: self.closed_by.map(ClosedBy::name),
                messages: self.envelopes.take(),
                ..self.audited(Event::Session)
            });
        }
        self.log_session(phase, duration_ms);
    }
}

impl SessionRecord {
    /// Writes the session's log line: of a probe at debug level, without octets.
    fn log_session(&self, phase: Phase, duration_ms: u64) {
        macro_rules! log {
            ($level:ident, $counts:expr) => {
                tracing::$level!(
                    session = self.session.id,
                    listener = self.session.listener.name,
                    protocol = self.protocol().name(),
                    client = %self.session.client,
                    client_tls = self.client_tls,
                    login = self.attempt.login,
                    credential = self.attempt.credential,
                    mailbox = self.attempt.mailbox,
                    registration = self.registration(),
                    upstream = self.attempt.upstream,
                    upstream_ip = self.upstream_ip.map(tracing::field::display),
                    upstream_tls = self.upstream_tls,
                    outcome = self.outcome.name(),
                    fault = self.fault.map(tracing::field::display),
                    phase = phase.name(),
                    closed_by = self.closed_by.map(ClosedBy::name),
                    bytes_up = $counts.map(ByteCounters::up),
                    bytes_down = $counts.map(ByteCounters::down),
                    login_ms = self.login_ms,
                    duration_ms,
                    "session"
                )
            };
        }
        match self.is_probe() {
            true => log!(debug, None::<&ByteCounters>),
            false => log!(info, Some(&self.session.counts)),
        }
    }
}
