//! This relay's records: consents on its own disk, tokens of the other grants in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::super::failure::TokenError;
use super::super::issued::IssuedToken;
use super::super::store::{ConsentRefusal, Kept, RecordVersion, Store, StoredToken};
use crate::cluster::command::Sealed;
use crate::cluster::member::{Later, Member, Records};
use crate::cluster::number::Number;
use crate::cluster::redemption::{Reconciled, reconcile};

/// Maximum number of tokens in memory; beyond it expired ones are dropped.
const MOST: usize = 10_000;

/// Time beyond its expiry that the shared store keeps a token of no consent.
const KEPT_LONGER: Duration = Duration::from_secs(600);

/// Records of tokens that several relays share; see the module.
pub(crate) struct SharedRecords {
    pub(super) member: Arc<Member>,
    pub(super) store: Arc<Store>,
    tokens: Mutex<HashMap<Arc<str>, (Sealed, StoredToken)>>,
    /// Versions of the files at the last comparison.
    seen: Mutex<HashMap<Arc<str>, RecordVersion>>,
}

impl SharedRecords {
    /// Creates the records of the member's relay, whose consents are in this store.
    pub(crate) fn new(member: Arc<Member>, store: Arc<Store>) -> Arc<Self> {
        let records = Arc::new(Self {
            member,
            store,
            tokens: Mutex::default(),
            seen: Mutex::default(),
        });
        records.member.serve(records.clone());
        records
    }

    pub(super) fn token(&self, name: &str) -> Option<(Sealed, StoredToken)> {
        self.tokens.lock().get(name).cloned()
    }

    /// Stores a token that was just issued.
    pub(super) fn keep_token(&self, name: &Arc<str>, number: Number, issued: &IssuedToken) {
        let access = StoredToken::new(issued);
        let clear = serde_json::to_vec(&access).map(zeroize::Zeroizing::new);
        let text = clear
            .ok()
            .and_then(|clear| self.store.keys().seal(name, number, &clear));
        if let Some(text) = text {
            let sealed = Sealed {
                number,
                ended: false,
                text: text.into(),
                life: Some(issued.lifetime + KEPT_LONGER),
            };
            self.hold(name.clone(), sealed, access);
        }
    }

    fn hold(&self, name: Arc<str>, sealed: Sealed, access: StoredToken) {
        let mut tokens = self.tokens.lock();
        if tokens.len() >= MOST {
            tokens.retain(|_, (_, access)| !access.left().is_zero());
        }
        if tokens.len() < MOST || tokens.contains_key(&name) {
            tokens.insert(name, (sealed, access));
        }
    }

    pub(super) async fn own_of(&self, name: &str) -> Option<Sealed> {
        if let Some((sealed, access)) = self.token(name) {
            let life = Some(access.left() + KEPT_LONGER);
            return Some(Sealed { life, ..sealed });
        }
        let (store, name) = (self.store.clone(), name.to_owned());
        let read = tokio::task::spawn_blocking(move || store.sealed(&name));
        read.await.ok().flatten()
    }

    /// Adopts a record of the shared store if it takes precedence over this relay's own ([`reconcile`]);
    /// `false` if it cannot be opened or written.
    pub(super) async fn adopted(&self, name: &Arc<str>, record: Sealed) -> bool {
        let opened = self.store.keys().open(name, &record.text);
        let Ok((number, clear)) = opened else {
            tracing::warn!(
                "a record of the shared store does not open: it is of another state.key or a later version, and is left as it is"
            );
            return false;
        };
        if number != record.number {
            return false;
        }
        if let Ok(access) = serde_json::from_slice::<StoredToken>(&clear) {
            let own = self.token(name).map(|(sealed, _)| sealed.mark());
            if reconcile(own, Some(record.mark())) == Reconciled::Adopt {
                self.hold(name.clone(), record, access);
            }
            return true;
        }
        drop(clear);
        let (store, name) = (self.store.clone(), name.clone());
        let adopting = tokio::task::spawn_blocking(move || store.adopt(&name, &record));
        match adopting.await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "a record of another relay cannot be kept");
                false
            }
            Err(_) => false,
        }
    }

    /// Returns a login's record, marked as ended with the reason and sealed; `None` if another record
    /// has replaced it.
    pub(super) async fn ended(
        &self,
        login: &str,
        number: Number,
        failure: &TokenError,
    ) -> Option<Sealed> {
        let kept = self.store.load_kept(login).await.ok().flatten()?;
        let mut record = kept
            .into_record()
            .filter(|record| record.number == number)?;
        record.refused = Some(ConsentRefusal::now(&failure.fault));
        record.attention = None;
        self.store.seal_for_all(&Kept::of_record(login, &record))
    }
}

impl Records for SharedRecords {
    fn names(&self) -> Later<'_, Vec<Arc<str>>> {
        Box::pin(async {
            let store = self.store.clone();
            let versions = tokio::task::spawn_blocking(move || store.versions()).await;
            let versions = versions.unwrap_or_default();
            let mut names: Vec<_> = versions.keys().cloned().collect();
            *self.seen.lock() = versions;
            names.extend(self.tokens.lock().keys().cloned());
            names
        })
    }

    fn changed(&self) -> Later<'_, Vec<Arc<str>>> {
        Box::pin(async {
            let store = self.store.clone();
            let look = move || {
                store.write_unwritten();
                store.versions()
            };
            let versions = tokio::task::spawn_blocking(look).await;
            let versions = versions.unwrap_or_default();
            let mut seen = self.seen.lock();
            let changed = versions
                .iter()
                .filter(|(name, version)| seen.get(*name) != Some(version))
                .map(|(name, _)| name.clone())
                .collect();
            *seen = versions;
            changed
        })
    }

    fn own<'a>(&'a self, name: &'a str) -> Later<'a, Option<Sealed>> {
        Box::pin(self.own_of(name))
    }

    fn adopt<'a>(&'a self, name: &'a str, record: Sealed) -> Later<'a, bool> {
        Box::pin(async move { self.adopted(&name.into(), record).await })
    }
}
