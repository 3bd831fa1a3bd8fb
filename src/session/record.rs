//! Record of a session: a warning with a remedy for each fault, one log line at the end, an audit
//! record for each login attempt and one for the session. The last ones are written on drop, so
//! that cancelled and panicking sessions have them too.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::registry::{Phase, SessionGuard};
use super::service::{Service, ServiceState};
use super::upstream::LoggedIn;
use crate::audit::{self, Audit, Envelopes, Event};
use crate::auth::password::VerifiedLogin;
use crate::config::{CertificateName, Listener, Registration};
use crate::fault::{Fault, Kind, mailbox_remedy, message_remedy, sanitize};
use crate::relay::{ByteCounters, ClosedBy, Drain, Event as RelayEvent, MessageReport};
use crate::text::hex;
use crate::wire::Protocol;

/// Outcome of a session, for metrics and audit records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionOutcome {
    /// The login succeeded and octets were relayed.
    Relayed,
    /// The last attempt failed because of the client or the policy.
    Refused,
    /// The last attempt failed because of another side.
    Failed,
    /// The last attempt was interrupted.
    Cancelled,
    /// No credentials were presented.
    Probe,
}

impl SessionOutcome {
    fn name(self) -> &'static str {
        match self {
            Self::Relayed => "relayed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Probe => "probe",
        }
    }

    pub(super) fn of(fault: &Fault) -> Self {
        match fault.kind().side() {
            crate::fault::Side::Client | crate::fault::Side::Policy => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// Data of one session for log, metrics and audit: client, login, mailbox, outcome.
pub(super) struct SessionRecord {
    /// Entry in the registry, with the session's id, listener and client.
    pub(super) session: SessionGuard,
    pub(super) client_tls: Option<String>,
    attempt: Attempt,
    upstream_ip: Option<IpAddr>,
    upstream_tls: Option<String>,
    pub(super) outcome: SessionOutcome,
    fault: Option<Kind>,
    pub(super) closed_by: Option<ClosedBy>,
    began: Instant,
    login_ms: Option<u64>,
    /// Start of the attempt in progress.
    attempt_began: Option<Instant>,
    envelopes: Envelopes,
    state: Arc<ServiceState>,
    audit: Option<Audit>,
}

/// The last attempt to log in, as far as it got.
#[derive(Debug, Default)]
struct Attempt {
    login: Option<String>,
    /// Login for the history, if an account has it.
    account: Option<String>,
    mailbox: Option<String>,
    credential: Option<String>,
    registration: Option<Arc<Registration>>,
    /// Host and port of the upstream.
    upstream: Option<String>,
}

impl SessionRecord {
    pub(super) fn new(service: &Service, listener: &Arc<Listener>, client: SocketAddr) -> Self {
        let state = &service.state;
        state.metrics.session_began(listener.protocol);
        let drain = Drain::within_parent(&state.drain);
        let sessions = &state.sessions;
        Self {
            session: sessions.register(session_id(), listener.clone(), client, drain),
            client_tls: None,
            attempt: Attempt::default(),
            upstream_ip: None,
            upstream_tls: None,
            outcome: SessionOutcome::Probe,
            fault: None,
            closed_by: None,
            began: Instant::now(),
            login_ms: None,
            attempt_began: None,
            envelopes: Envelopes::default(),
            state: state.clone(),
            audit: service.audit.clone(),
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.session.listener.protocol
    }

    /// Records that a client presents credentials, and forgets the previous attempt. `known` is
    /// whether an account has the login.
    pub(super) fn on_attempt(&mut self, login: &str, known: bool) {
        self.attempt = Attempt {
            login: Some(sanitize(login)),
            account: known.then(|| login.to_lowercase()),
            ..Attempt::default()
        };
        self.outcome = SessionOutcome::Cancelled;
        self.fault = None;
        self.attempt_began.get_or_insert_with(Instant::now);
    }

    /// Records a verified login; `names` are those in the client's certificate.
    pub(super) fn on_verified(&mut self, verified: &VerifiedLogin, names: &[CertificateName]) {
        self.session.verified(verified, names);
        let registration = &verified.account().registration;
        self.attempt.mailbox = Some(verified.mailbox().to_owned());
        self.attempt.credential = verified.credential().map(str::to_owned);
        self.attempt.registration = Some(registration.clone());
        let endpoint = registration.provider.endpoint(self.protocol());
        self.attempt.upstream =
            endpoint.map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port));
    }

    /// Records that the login succeeded.
    pub(super) fn on_login(&mut self, started: Instant) {
        self.session.relays();
        self.outcome = SessionOutcome::Relayed;
        self.fault = None;
        let took = started.elapsed();
        self.login_ms = Some(millis(took));
        self.state.metrics.logged_in(self.protocol(), took);
        if let Some(login) = &self.attempt.account {
            self.state.history.succeeded(login);
        }
        self.on_attempt_ended("accepted", Phase::Relay);
    }

    /// Records that the upstream of another mailbox is opened, so that a refusal names it.
    pub(super) fn on_opening(&mut self, mailbox: &str) {
        self.attempt.mailbox = Some(sanitize(mailbox));
    }

    /// Records the session's upstream.
    pub(super) fn on_upstream(&mut self, logged_in: &LoggedIn) {
        self.attempt.mailbox = Some(logged_in.mailbox.clone());
        let address = logged_in.stream.peer().ok();
        self.upstream_ip = address.map(|address| address.ip().to_canonical());
        self.upstream_tls = logged_in.stream.encryption();
        tracing::debug!(
            session = self.session.id,
            upstream_ip = self.upstream_ip.map(tracing::field::display),
            "logged in"
        );
    }

    /// Records a refused attempt; the client may try again. `method` is `None` if the dialogue
    /// refused it.
    pub(super) fn on_login_refused(&mut self, method: Option<&str>, fault: &Fault) {
        let phase = self.session.phase();
        self.session.on_refused();
        if method.is_none() {
            // Refused in the dialogue, so the login is not known.
            self.attempt = Attempt::default();
        }
        self.outcome = SessionOutcome::of(fault);
        self.report(fault, method);
        self.on_attempt_ended(self.outcome.name(), phase);
    }

    /// Records a refusal by the dialogue. `suspected`: an account has the login that was probably
    /// meant.
    pub(super) fn on_dialogue_fault(&mut self, fault: Fault, suspected: bool) {
        if fault.kind() == Kind::Credentials {
            let fault = match suspected {
                true => fault.with_detail("apart from that, an account has this login"),
                false => fault,
            };
            return self.on_login_refused(None, &fault);
        }
        // A fault without credentials belongs to no login.
        let attempt = std::mem::take(&mut self.attempt);
        self.report(&fault, None);
        self.attempt = attempt;
    }

    /// Whether no credentials were presented so far.
    pub(super) fn is_probe(&self) -> bool {
        self.outcome == SessionOutcome::Probe
    }

    /// Writes the audit record of an attempt.
    fn on_attempt_ended(&mut self, outcome: &'static str, phase: Phase) {
        let took = self.attempt_began.take().map(|began| began.elapsed());
        let Some(audit) = &self.audit else { return };
        audit.record(audit::AuditRecord {
            outcome: Some(outcome),
            fault: self.fault.map(|kind| kind.to_string()),
            phase: Some(phase.name()),
            login_ms: took.map(millis),
            ..self.audited(Event::Login)
        });
    }

    /// Builds an audit record of this session, without its outcome.
    fn audited(&self, event: Event) -> audit::AuditRecord {
        audit::AuditRecord {
            session: Some(self.session.id.clone()),
            listener: Some(self.session.listener.name.clone()),
            protocol: Some(self.protocol().name()),
            client: Some(self.session.client.to_string()),
            client_tls: self.client_tls.clone(),
            login: self.attempt.login.clone(),
            credential: self.attempt.credential.clone(),
            mailbox: self.attempt.mailbox.clone(),
            registration: self.registration().map(str::to_owned),
            upstream: self.attempt.upstream.clone(),
            upstream_ip: self.upstream_ip.map(|ip| ip.to_string()),
            upstream_tls: self.upstream_tls.clone(),
            ..audit::AuditRecord::new(event)
        }
    }

    /// Records the fault that ends the session.
    pub(super) fn on_end(&mut self, fault: &Fault) {
        self.closed_by.get_or_insert(ClosedBy::Authrelay);
        match fault.kind() {
            // A shutdown is not an error.
            Kind::Draining => self.fault = Some(fault.kind()),
            // A connection that timed out without requesting anything.
            Kind::LoginTimeout if self.is_probe() => {
                self.fault = Some(fault.kind());
                tracing::debug!(session = self.session.id, %fault, "no credentials in time");
            }
            _ => self.report(fault, None),
        }
    }

    pub(super) fn on_relay_event(&mut self, event: RelayEvent) {
        match event {
            RelayEvent::Message(message) => self.on_message(message),
            // A fault of one message, not of the session.
            RelayEvent::Fault(fault) => {
                let fault = self.with_remedy(fault);
                if fault.kind() == Kind::Mailbox {
                    self.fault = Some(fault.kind());
                }
                self.log_end(&fault, None);
            }
        }
    }

    /// Name of the registration.
    fn registration(&self) -> Option<&str> {
        let registration = self.attempt.registration.as_ref();
        registration.map(|registration| registration.name.as_str())
    }

    fn is_app_only(&self) -> bool {
        let registration = self.attempt.registration.as_ref();
        registration.is_some_and(|registration| registration.grant.is_app_only())
    }

    /// Adds the remedy that depends on the account.
    fn with_remedy(&self, fault: Fault) -> Fault {
        if fault.remedy().is_some() {
            return fault;
        }
        let mailbox = self.attempt.mailbox.clone().unwrap_or_default();
        match fault.kind() {
            Kind::Mailbox => {
                let remedy = mailbox_remedy(self.protocol(), &mailbox, self.is_app_only());
                fault.with_remedy(remedy)
            }
            Kind::MessageRefused => {
                let detail = fault.detail().to_owned();
                let sender = detail
                    .split_once("from <")
                    .and_then(|(_, rest)| rest.split_once('>'));
                let sender = sender.map_or("", |(sender, _)| sender);
                let remedy = message_remedy(&detail, &mailbox, sender, self.is_app_only());
                fault.with_remedy(remedy)
            }
            _ => fault,
        }
    }

    /// Records a finished message. Envelopes beyond the size of one audit record go into a record
    /// of their own.
    fn on_message(&mut self, message: MessageReport) {
        self.state.metrics.messages(message.outcome.name(), 1);
        let Some(audit) = &self.audit else { return };
        if !audit.records_envelopes() {
            return;
        }
        let envelope = audit::AuditMessage {
            from: message.from,
            to: message.to,
            size: message.size,
            reply: message.reply,
        };
        if let Some(messages) = self.envelopes.add(vec![envelope]) {
            audit.record(audit::AuditRecord {
                messages,
                ..self.audited(Event::Messages)
            });
        }
    }

    fn report(&mut self, fault: &Fault, method: Option<&str>) {
        self.fault = Some(fault.kind());
        self.log_end(fault, method);
    }

    /// Counts a fault, adds it to its account's history, and logs it unless it was already logged.
    fn log_end(&self, fault: &Fault, method: Option<&str>) {
        self.state.metrics.fault(self.protocol(), fault.kind());
        self.state.history.count_fault(fault.kind().side());
        if let Some(login) = &self.attempt.account {
            self.state.history.failed(login, fault);
        }
        if fault.is_already_logged() {
            tracing::debug!(session = self.session.id, %fault, "still");
            return;
        }
        let (client, kind) = (self.session.client.ip(), fault.kind());
        if !self
            .state
            .fault_log
            .allows(self.attempt.login.as_deref(), client, kind)
        {
            tracing::debug!(session = self.session.id, %fault, "again");
            return;
        }
        tracing::warn!(
            session = self.session.id,
            listener = self.session.listener.name,
            client = %self.session.client,
            login = self.attempt.login,
            mailbox = self.attempt.mailbox,
            method,
            fault = %fault.kind(),
            detail = fault.detail(),
            remedy = fault.remedy(),
            "fault"
        );
    }

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

impl Drop for SessionRecord {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fault = Some(Kind::Internal);
            if self.is_probe() {
                self.outcome = SessionOutcome::Failed;
            }
            self.state.metrics.fault(self.protocol(), Kind::Internal);
            self.state.history.count_fault(Kind::Internal.side());
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
        self.state
            .metrics
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Generates a session id of sixteen random hex digits.
fn session_id() -> String {
    let mut bytes = [0; 8];
    // Without randomness the id is useless, but the session still works.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    hex(&bytes)
}
