//! What there is to say of a session: a warning with the remedy at each fault, one line at its
//! end. The line is written when the record is dropped, so that a session that is cancelled or
//! panics has its own.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::live::{Presence, Sessions};
use super::upstream::LoggedIn;
use crate::config::{CertificateName, Listener};
use crate::fault::{Fault, Kind, harmless};
use crate::ledger::Ledger;
use crate::login::front::Attempt;
use crate::metrics::Metrics;
use crate::proof::Verified;
use crate::relay::{ClosedBy, Counts, Messages};
use crate::wire::Protocol;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was logged in and bytes flowed.
    Relayed,
    /// Its last attempt was the client's or the policy's fault.
    Refused,
    /// Its last attempt was somebody else's fault.
    Failed,
    /// There was no attempt.
    Cancelled,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Relayed => "relayed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn of(fault: &Fault) -> Self {
        match fault.kind().side() {
            crate::fault::Side::Client | crate::fault::Side::Policy => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// Who, from where, which mailbox, what came of it.
#[derive(Debug)]
pub(super) struct Record {
    session: String,
    listener: String,
    protocol: Protocol,
    client: SocketAddr,
    presence: Presence,
    client_tls: Option<String>,
    login: Option<String>,
    mailbox: Option<String>,
    credential: Option<String>,
    registration: Option<String>,
    upstream: Option<String>,
    upstream_tls: Option<String>,
    outcome: Outcome,
    fault: Option<Kind>,
    closed_by: Option<ClosedBy>,
    began: Instant,
    login_ms: Option<u128>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    /// The login that an account has, for the ledger.
    account: Option<String>,
}

impl Record {
    /// `drain` ends the session at its next clean boundary.
    pub(super) fn new(
        listener: &Arc<Listener>,
        client: SocketAddr,
        ledger: Arc<Ledger>,
        metrics: Arc<Metrics>,
        sessions: &Arc<Sessions>,
        drain: CancellationToken,
    ) -> Self {
        metrics.session_began(listener.protocol);
        let session = session_id();
        Self {
            presence: sessions.enter(session.clone(), listener.clone(), client, drain),
            session,
            listener: listener.name.clone(),
            protocol: listener.protocol,
            client,
            client_tls: None,
            login: None,
            mailbox: None,
            credential: None,
            registration: None,
            upstream: None,
            upstream_tls: None,
            outcome: Outcome::Cancelled,
            fault: None,
            closed_by: None,
            began: Instant::now(),
            login_ms: None,
            ledger,
            metrics,
            account: None,
        }
    }

    pub(super) fn client(&self) -> SocketAddr {
        self.client
    }

    /// Octets relayed so far.
    pub(super) fn counts(&self) -> &Counts {
        &self.presence.session().counts
    }

    /// Ends the session at its next clean boundary.
    pub(super) fn drain(&self) -> &CancellationToken {
        &self.presence.session().drain
    }

    pub(super) fn client_tls(&mut self, encryption: Option<String>) {
        self.client_tls = encryption;
    }

    /// A client presents credentials; what was known of the attempt before is gone. `known` is
    /// whether an account has the login.
    pub(super) fn attempt(&mut self, attempt: &Attempt, known: bool) {
        let login = attempt.credentials.login.to_lowercase();
        self.account = known.then_some(login);
        self.login = Some(harmless(&attempt.credentials.login));
        self.mailbox = None;
        self.credential = None;
        self.registration = None;
    }

    /// A client has proved who it is; `names` are those of its certificate.
    pub(super) fn verified(&mut self, verified: &Verified, names: &[CertificateName]) {
        self.presence.verified(verified, names);
        self.mailbox = Some(verified.mailbox().to_owned());
        self.credential = verified.credential().map(str::to_owned);
        self.registration = Some(verified.account().registration.name.clone());
    }

    pub(super) fn accepted(&mut self, logged_in: &LoggedIn, started: Instant) {
        self.presence.relays();
        self.outcome = Outcome::Relayed;
        self.fault = None;
        let took = started.elapsed();
        self.login_ms = Some(took.as_millis());
        self.metrics.logged_in(self.protocol, took);
        if let Some(login) = &self.account {
            self.ledger.succeeded(login);
        }
        self.upstream = Some(logged_in.name.clone());
        self.upstream_tls = logged_in.stream.encryption();
        tracing::debug!(
            session = self.session,
            upstream_ip = logged_in.address.map(tracing::field::display),
            "logged in"
        );
    }

    /// An attempt was refused; the client may try again.
    pub(super) fn refused(&mut self, attempt: Option<&Attempt>, fault: &Fault) {
        self.presence.refused();
        self.outcome = Outcome::of(fault);
        self.warn(fault, attempt.map(|attempt| attempt.method));
    }

    /// There is no room for the session.
    pub(super) fn failed(&mut self, fault: &Fault) {
        self.outcome = Outcome::of(fault);
        self.closed_by = Some(ClosedBy::Authrelay);
        self.warn(fault, None);
    }

    /// The session ends with a fault.
    pub(super) fn ended(&mut self, fault: &Fault) {
        self.closed_by.get_or_insert(ClosedBy::Authrelay);
        match fault.kind() {
            // A shutdown is nobody's fault.
            Kind::Draining => self.fault = Some(fault.kind()),
            _ => self.warn(fault, None),
        }
    }

    pub(super) fn outcome(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Messages came to an end.
    pub(super) fn messages(&self, messages: Messages) {
        for (outcome, count) in [
            ("accepted", messages.accepted),
            ("rejected", messages.rejected),
            ("lost", messages.lost),
        ] {
            self.metrics.messages(outcome, count);
        }
    }

    pub(super) fn closed_by(&mut self, closed_by: ClosedBy) {
        self.closed_by = Some(closed_by);
    }

    fn warn(&mut self, fault: &Fault, method: Option<&str>) {
        self.fault = Some(fault.kind());
        self.metrics.fault(self.protocol, fault.kind());
        self.ledger.happened(fault.kind().side());
        if let Some(login) = &self.account {
            self.ledger.failed(login, fault);
        }
        if fault.is_known() {
            tracing::debug!(session = self.session, %fault, "still");
            return;
        }
        tracing::warn!(
            session = self.session,
            listener = self.listener,
            client = %self.client,
            login = self.login,
            mailbox = self.mailbox,
            method,
            fault = %fault.kind(),
            detail = fault.detail(),
            remedy = fault.remedy(),
            "fault"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fault = Some(Kind::Internal);
            self.metrics.fault(self.protocol, Kind::Internal);
            self.ledger.happened(Kind::Internal.side());
        }
        let (up, down) = (self.counts().up(), self.counts().down());
        self.metrics
            .session_ended(self.protocol, self.outcome.name(), up, down);
        tracing::info!(
            session = self.session,
            listener = self.listener,
            protocol = self.protocol.name(),
            client = %self.client,
            client_tls = self.client_tls,
            login = self.login,
            credential = self.credential,
            mailbox = self.mailbox,
            registration = self.registration,
            upstream = self.upstream,
            upstream_tls = self.upstream_tls,
            outcome = self.outcome.name(),
            fault = self.fault.map(tracing::field::display),
            closed_by = self.closed_by.map(ClosedBy::name),
            bytes_up = up,
            bytes_down = down,
            login_ms = self.login_ms.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "session"
        );
    }
}

/// Sixteen hex digits that no other session has.
fn session_id() -> String {
    let mut bytes = [0; 8];
    // Without randomness the id is useless, the session is not.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
