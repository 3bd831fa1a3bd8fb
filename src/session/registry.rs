//! The sessions that are open now: who asks sees them, and a reload ends those whose account or
//! password is gone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::auth::password::VerifiedLogin;
use crate::config::{CertificateName, Listener};
use crate::relay::{ByteCounters, Drain};

/// How far a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The client has not logged in: its TLS, its dialogue.
    Login,
    /// The password was checked: waiting for the token and the mail service's login.
    Upstream,
    /// Octets are relayed both ways.
    Relay,
}

impl Phase {
    /// Name in `/api/sessions` and audit records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Upstream => "upstream",
            Self::Relay => "relay",
        }
    }
}

/// Registry of all sessions of this process.
#[derive(Debug, Default)]
pub struct SessionRegistry {
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<SessionEntry>>>,
}

/// One of them; it is there until its [`SessionGuard`] is dropped.
#[derive(Debug)]
pub struct SessionEntry {
    id: String,
    listener: Arc<Listener>,
    client: SocketAddr,
    since: SystemTime,
    state: Mutex<State>,
    /// Counters of the octets relayed so far.
    pub(super) counts: ByteCounters,
    /// End at the next reply boundary.
    pub(super) drain: Drain,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    verified: Option<VerifiedLogin>,
    /// Names in the client's certificate.
    names: Vec<CertificateName>,
}

/// A session's own hold on its entry.
#[derive(Debug)]
pub struct SessionGuard {
    sessions: Arc<SessionRegistry>,
    number: u64,
    session: Arc<SessionEntry>,
}

/// A session as administrators see it.
#[derive(Debug, Serialize)]
pub struct SessionStatus {
    /// Id of the session, as in the log.
    pub session: String,
    /// Name of the listener to which the client connected.
    pub listener: String,
    /// Protocol that the session speaks.
    pub protocol: &'static str,
    /// Address and port of the client.
    pub client: String,
    /// Once its password was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Mailbox that the login opens, once it is verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
    /// Phase in which the session is.
    pub phase: &'static str,
    /// Start of the session: UTC, RFC 3339.
    pub since: String,
    /// Octets from client to upstream.
    pub bytes_up: u64,
    /// Octets from upstream to client.
    pub bytes_down: u64,
}

impl SessionRegistry {
    /// One more; `drain` ends it at its next reply boundary.
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
        lock(&self.open).insert(number, session.clone());
        SessionGuard {
            sessions: self.clone(),
            number,
            session,
        }
    }

    /// The oldest first; `time` writes a moment.
    pub fn rows(&self, time: impl Fn(SystemTime) -> String) -> Vec<SessionStatus> {
        let open: Vec<_> = lock(&self.open).values().cloned().collect();
        open.iter().map(|session| session.row(&time)).collect()
    }

    /// Ends those that are logged in, or about to be, and for which `stays` is false: at their
    /// next reply boundary, `within` this time at the latest. Returns how many.
    pub(super) fn end_unless(
        &self,
        within: Duration,
        stays: impl Fn(&SessionEntry, &VerifiedLogin, &[CertificateName]) -> bool,
    ) -> usize {
        let open: Vec<_> = lock(&self.open).values().cloned().collect();
        let mut ended = 0;
        for session in open {
            let state = lock(&session.state);
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
    /// Sixteen hex digits that no other session has.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Where the client comes from.
    pub(super) fn client(&self) -> SocketAddr {
        self.client
    }

    /// Listener to which the client connected.
    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    fn row(&self, time: &impl Fn(SystemTime) -> String) -> SessionStatus {
        let state = lock(&self.state);
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
    /// Records the verified login and the names of the client's certificate.
    pub(super) fn verified(&self, verified: &VerifiedLogin, names: &[CertificateName]) {
        let mut state = lock(&self.session.state);
        state.verified = Some(verified.without_password());
        state.names = names.to_vec();
        state.phase = Phase::Upstream;
    }

    /// The attempt came to nothing.
    pub(super) fn on_refused(&self) {
        let mut state = lock(&self.session.state);
        state.verified = None;
        state.phase = Phase::Login;
    }

    /// Records that the session relays from now on.
    pub(super) fn relays(&self) {
        lock(&self.session.state).phase = Phase::Relay;
    }

    /// Phase in which the session is.
    pub(super) fn phase(&self) -> Phase {
        lock(&self.session.state).phase
    }

    pub(super) fn session(&self) -> &Arc<SessionEntry> {
        &self.session
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        lock(&self.sessions.open).remove(&self.number);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
