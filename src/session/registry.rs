//! Registry of open sessions, for administrators and for reloads, which drain sessions whose
//! account or password was removed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;

use crate::auth::password::VerifiedLogin;
use crate::config::{CertificateName, Listener};
use crate::relay::{ByteCounters, Drain};

/// Progress of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The client is not verified yet: TLS and dialogue.
    Login,
    /// The password is verified; a token and the mail service's login are awaited.
    Upstream,
    /// Octets are relayed in both directions.
    Relay,
}

impl Phase {
    /// Name of the phase in `/api/sessions` and audit records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Upstream => "upstream",
            Self::Relay => "relay",
        }
    }
}

/// Registry of all open sessions of this process.
#[derive(Debug, Default)]
pub struct SessionRegistry {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<SessionEntry>>>,
}

/// Registered session; the entry exists until its [`SessionGuard`] is dropped.
#[derive(Debug)]
pub struct SessionEntry {
    /// Session id: sixteen hex digits.
    pub(super) id: String,
    /// Listener to which the client connected.
    pub(super) listener: Arc<Listener>,
    /// Address of the client, as announced by a load balancer.
    pub(super) client: SocketAddr,
    since: SystemTime,
    state: Mutex<State>,
    /// Counters of the octets relayed so far.
    pub(super) counts: ByteCounters,
    /// Request to end the session at its next reply boundary.
    pub(super) drain: Drain,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    verified: Option<VerifiedLogin>,
    /// Names in the client's certificate.
    names: Vec<CertificateName>,
}

/// Registration of a session, which ends on drop.
#[derive(Debug)]
pub struct SessionGuard {
    sessions: Arc<SessionRegistry>,
    number: u64,
    session: Arc<SessionEntry>,
}

/// Status of a session for administrators.
#[derive(Debug, Serialize)]
pub struct SessionStatus {
    /// Id of the session, as in the log.
    pub session: String,
    /// Name of the listener to which the client connected.
    pub listener: String,
    /// Protocol of the session.
    pub protocol: &'static str,
    /// Address and port of the client.
    pub client: String,
    /// Verified login, lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Mailbox of the verified login.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// Name of the current phase.
    pub phase: &'static str,
    /// Start of the session: UTC, RFC 3339.
    pub since: String,
    /// Octets from client to upstream.
    pub bytes_up: u64,
    /// Octets from upstream to client.
    pub bytes_down: u64,
}

impl SessionRegistry {
    /// Registers a session; `drain` ends it at its next reply boundary.
    pub(super) fn register(
        self: &Arc<Self>,
        id: String,
        listener: Arc<Listener>,
        client: SocketAddr,
        drain: Drain,
    ) -> SessionGuard {
        let session = Arc::new(SessionEntry {
            id,
            listener,
            client,
            since: SystemTime::now(),
            state: Mutex::new(State {
                phase: Phase::Login,
                verified: None,
                names: Vec::new(),
            }),
            counts: ByteCounters::default(),
            drain,
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().insert(number, session.clone());
        SessionGuard {
            sessions: self.clone(),
            number,
            session,
        }
    }

    /// Status of all sessions, oldest first; `time` formats a time.
    pub fn rows(&self, time: impl Fn(SystemTime) -> String) -> Vec<SessionStatus> {
        let open: Vec<_> = self.open.lock().values().cloned().collect();
        open.iter().map(|session| session.row(&time)).collect()
    }

    /// Drains the verified sessions for which `stays` returns false: at their next reply boundary,
    /// `within` this time at the latest. Returns how many.
    pub(super) fn end_unless(
        &self,
        within: Duration,
        stays: impl Fn(&SessionEntry, &VerifiedLogin, &[CertificateName]) -> bool,
    ) -> usize {
        let open: Vec<_> = self.open.lock().values().cloned().collect();
        let mut ended = 0;
        for session in open {
            let state = session.state.lock();
            if let Some(verified) = &state.verified
                && !stays(&session, verified, &state.names)
            {
                session.drain.request(within);
                ended += 1;
            }
        }
        ended
    }
}

impl SessionEntry {
    fn row(&self, time: &impl Fn(SystemTime) -> String) -> SessionStatus {
        let state = self.state.lock();
        let verified = state.verified.as_ref();
        SessionStatus {
            session: self.id.clone(),
            listener: self.listener.name.clone(),
            protocol: self.listener.protocol.name(),
            client: self.client.to_string(),
            login: verified.map(|verified| verified.login().to_owned()),
            mailbox: verified.map(|verified| verified.mailbox().to_owned()),
            phase: state.phase.name(),
            since: time(self.since),
            bytes_up: self.counts.up(),
            bytes_down: self.counts.down(),
        }
    }
}

impl SessionGuard {
    /// Records the verified login and the names in the client's certificate.
    pub(super) fn verified(&self, verified: &VerifiedLogin, names: &[CertificateName]) {
        let mut state = self.session.state.lock();
        state.verified = Some(verified.without_password());
        state.names = names.to_vec();
        state.phase = Phase::Upstream;
    }

    /// Records that the attempt failed.
    pub(super) fn on_refused(&self) {
        let mut state = self.session.state.lock();
        state.verified = None;
        state.phase = Phase::Login;
    }

    /// Records that the relay begins.
    pub(super) fn relays(&self) {
        self.session.state.lock().phase = Phase::Relay;
    }

    /// Current phase of the session.
    pub(super) fn phase(&self) -> Phase {
        self.session.state.lock().phase
    }
}

impl Deref for SessionGuard {
    type Target = SessionEntry;

    fn deref(&self) -> &SessionEntry {
        &self.session
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.sessions.open.lock().remove(&self.number);
    }
}
