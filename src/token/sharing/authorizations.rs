//! Pending consents that several relays share: the browser may return to another relay, once.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::records::SharedRecords;
use crate::cluster::command::{Answer, Command};
use crate::cluster::number::Number;

/// Data with which another relay can redeem the returned code; sealed as a whole.
#[derive(Serialize, Deserialize)]
pub(in crate::token) struct SharedAuthorization {
    pub(in crate::token) login: String,
    pub(in crate::token) redirect: String,
    /// PKCE code verifier (RFC 7636).
    pub(in crate::token) verifier: String,
}

/// Result of a consent completed by another relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::token) struct Completed {
    /// Detail and remedy of the failure, if it failed.
    pub(in crate::token) failed: Option<(String, Option<String>)>,
}

impl SharedRecords {
    fn authorization(&self, state: &str) -> (Arc<str>, Arc<str>) {
        let name = |kind| self.store.keys().name(kind, &[state]).into();
        (name("authorization"), name("completed"))
    }

    fn seal_for(&self, name: &str, value: &impl Serialize) -> Option<Arc<str>> {
        let clear = serde_json::to_vec(value)
            .map(zeroize::Zeroizing::new)
            .ok()?;
        let sealed = self.store.keys().seal(name, Number::default(), &clear)?;
        Some(sealed.into())
    }

    fn open_for<T: for<'d> Deserialize<'d>>(&self, name: &str, value: &str) -> Option<T> {
        let (_, clear) = self.store.keys().open(name, value).ok()?;
        serde_json::from_slice(&clear).ok()
    }

    /// Shares a consent that begins here: any relay may complete it until it expires.
    pub(in crate::token) fn on_authorization(
        self: &Arc<Self>,
        state: &str,
        authorization: &SharedAuthorization,
        life: Duration,
    ) {
        let (name, _) = self.authorization(state);
        if let Some(value) = self.seal_for(&name, authorization) {
            self.member.ask_in_background(Command::Keep {
                name,
                value,
                life,
                is_published: false,
            });
        }
    }

    /// Takes a consent that any relay has begun; it can be taken once.
    pub(in crate::token) async fn take_authorization(
        &self,
        state: &str,
    ) -> Option<SharedAuthorization> {
        let (name, _) = self.authorization(state);
        let take = Command::Take { name: name.clone() };
        match self.member.ask_or_rejoin(&take).await {
            Ok(Answer::Value(Some(value), _)) => self.open_for(&name, &value),
            _ => None,
        }
    }

    /// Shares the result of a consent that was completed here.
    pub(in crate::token) fn on_completed(
        self: &Arc<Self>,
        state: &str,
        completed: &Completed,
        life: Duration,
    ) {
        let (_, name) = self.authorization(state);
        if let Some(value) = self.seal_for(&name, completed) {
            self.member.keep(name, value, life);
        }
    }

    /// Returns the result of a consent that any relay has completed.
    pub(in crate::token) fn completed(&self, state: &str) -> Option<Completed> {
        let (_, name) = self.authorization(state);
        let (value, _) = self.member.kept(&name)?;
        self.open_for(&name, &value)
    }

    /// Whether a relay has begun this consent, and none has completed it.
    pub(in crate::token) async fn is_pending(&self, state: &str) -> bool {
        let (name, _) = self.authorization(state);
        let look = self.member.ask_or_rejoin(&Command::Look { name }).await;
        matches!(look, Ok(Answer::Value(Some(_), _)))
    }
}
