//! People who have signed in: their sessions, and what `admin.users` lets each of them do.
//!
//! A session is kept here, in memory, under the hash of a random id that only its browser has. It
//! ends after [`SESSION`], by logging out, by a reload that takes its person out of `admin.users`,
//! and with the process. The role is decided at each request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use super::auth::{Caller, Role};
use crate::config::{Admin, Member, Users};
use crate::oidc::{Identity, LIFETIME, Provider, Seal};
use crate::secret::Secret;

/// Longest duration of a session.
const SESSION: Duration = Duration::from_secs(8 * 3600);

/// Maximum number of sessions; a further one ends the oldest.
const SESSIONS: usize = 1_000;

/// Maximum number of sessions of one person; a further one ends that person's oldest.
const SESSIONS_EACH: usize = 16;

/// Maximum number of sign-ins that wait for the identity provider; most connections stay free.
const WAITING: usize = 16;

/// Maximum number of completed sign-ins that are remembered as used. The identity provider accepts
/// no code twice either.
const USED: usize = 10_000;

/// People of the administrators' listener; shared with the reload.
pub struct People {
    redirect: Url,
    in_force: RwLock<Option<Arc<SignInService>>>,
    sessions: Mutex<HashMap<SessionKey, Session>>,
    used: Mutex<HashMap<String, Instant>>,
    pub(super) seal: Seal,
    /// Permits for requests that wait for the identity provider.
    pub(super) waiting: Semaphore,
}

/// Current `admin.users` with its identity provider.
pub struct SignInService {
    pub(super) users: Arc<Users>,
    pub(super) provider: Provider,
}

/// SHA-256 of a session's id, so that neither memory nor timing reveals the id.
type SessionKey = [u8; 32];

struct Session {
    identity: Identity,
    began: Instant,
}

impl People {
    /// Starts with the people of `config`.
    ///
    /// # Errors
    ///
    /// The authorities of `admin.users.ca` cannot be used, or the machine provides no randomness.
    pub(super) fn new(config: &Admin) -> anyhow::Result<Self> {
        let seal =
            Seal::new().map_err(|_| anyhow::anyhow!("the machine provides no randomness"))?;
        let people = Self {
            redirect: config.sign_in_redirect(),
            in_force: RwLock::new(None),
            sessions: Mutex::default(),
            used: Mutex::default(),
            seal,
            waiting: Semaphore::new(WAITING),
        };
        let service = people.prepare(config.users.as_ref())?;
        people.replace(service);
        Ok(people)
    }

    /// Prepares a changed `admin.users`, which [`People::replace`] applies.
    ///
    /// # Errors
    ///
    /// The authorities of `admin.users.ca` cannot be used; nothing has changed then.
    pub fn prepare(
        &self,
        users: Option<&Arc<Users>>,
    ) -> anyhow::Result<Option<Arc<SignInService>>> {
        let Some(users) = users else {
            return Ok(None);
        };
        if let Some(service) = self.service()
            && service.users == *users
        {
            return Ok(Some(service));
        }
        let provider = Provider::new(users.clone(), self.redirect.clone())?;
        Ok(Some(Arc::new(SignInService {
            users: users.clone(),
            provider,
        })))
    }

    /// Applies a changed `admin.users`, and ends the sessions of people who have no role any more or
    /// have signed in at another identity provider.
    pub fn replace(&self, service: Option<Arc<SignInService>>) {
        // Held to the end, so that no session begins under the old settings meanwhile.
        let mut sessions = self.sessions.lock();
        let mut in_force = self.in_force.write();
        let before = std::mem::replace(&mut *in_force, service.clone());
        let kept = before
            .zip(service)
            .filter(|(before, after)| before.users.names_people_like(&after.users));
        sessions.retain(|_, session| {
            let stays = kept
                .as_ref()
                .is_some_and(|(_, after)| role(&after.users, &session.identity).is_some());
            if !stays {
                let person = session.identity.name();
                tracing::info!(person, "signed out, since admin.users has changed");
            }
            stays
        });
    }

    /// Returns the current `admin.users`, if the file has it.
    pub(super) fn service(&self) -> Option<Arc<SignInService>> {
        self.in_force.read().clone()
    }

    /// Begins a session of a person whom `service` has signed in, and returns its new id; `None` if
    /// a reload has replaced `service` meanwhile.
    pub(super) fn begin(
        &self,
        service: &Arc<SignInService>,
        identity: Identity,
        now: Instant,
    ) -> Option<Secret> {
        let mut id = [0; 32];
        aws_lc_rs::rand::fill(&mut id).ok()?;
        let id = URL_SAFE_NO_PAD.encode(id);
        let mut sessions = self.sessions.lock();
        if !self.service().is_some_and(|now| Arc::ptr_eq(&now, service)) {
            return None;
        }
        sessions.retain(|_, session| now.duration_since(session.began) < SESSION);
        let own = |session: &Session| session.identity.is_same_person(&identity);
        if sessions.values().filter(|session| own(session)).count() >= SESSIONS_EACH {
            end_oldest(&mut sessions, own);
        }
        if sessions.len() >= SESSIONS {
            end_oldest(&mut sessions, |_| true);
        }
        let began = now;
        sessions.insert(key(&id), Session { identity, began });
        Some(Secret::from(id))
    }

    /// Finds the person whose session has this id, with the current role.
    pub(super) fn caller(&self, id: &str, now: Instant) -> Option<Caller> {
        let service = self.service()?;
        let sessions = self.sessions.lock();
        let session = sessions.get(&key(id))?;
        if now.duration_since(session.began) >= SESSION {
            return None;
        }
        let role = role(&service.users, &session.identity)?;
        Some(Caller::person(session.identity.name(), role))
    }

    /// Ends the session with this id.
    pub(super) fn end(&self, id: &str) {
        self.sessions.lock().remove(&key(id));
    }

    /// Records a completed sign-in; `false` if it was completed before.
    pub(super) fn is_first_use(&self, state: &str, now: Instant) -> bool {
        let mut used = self.used.lock();
        if used.contains_key(state) {
            return false;
        }
        if used.len() >= USED {
            used.retain(|_, at| now.duration_since(*at) < LIFETIME);
        }
        if used.len() >= USED {
            used.clear();
        }
        used.insert(state.to_owned(), now);
        true
    }
}

/// Returns the role that `admin.users` gives a person, if any.
pub(super) fn role(users: &Users, identity: &Identity) -> Option<Role> {
    let has = |members: &[Member]| members.iter().any(|member| identity.is(member));
    if has(&users.operators) {
        Some(Role::Operator)
    } else if has(&users.viewers) {
        Some(Role::Viewer)
    } else {
        None
    }
}

fn end_oldest(sessions: &mut HashMap<SessionKey, Session>, of: impl Fn(&Session) -> bool) {
    let theirs = sessions.iter().filter(|(_, session)| of(session));
    let oldest = theirs.min_by_key(|(_, session)| session.began);
    if let Some(key) = oldest.map(|(key, _)| *key) {
        sessions.remove(&key);
    }
}

fn key(id: &str) -> SessionKey {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, id.as_bytes()).as_ref());
    key
}
