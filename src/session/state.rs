//! State that sessions share across reloads.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::registry::SessionRegistry;
use super::sharing::Sharing;
use crate::config::Provider;
use crate::fault_log::FaultLogLimiter;
use crate::history::LoginHistory;
use crate::metrics::Metrics;
use crate::throttle::Throttles;
use crate::wire::Protocol;

/// Shared counters, limits and learned capabilities.
pub struct ServiceState {
    /// Last success and last fault of each login.
    pub history: LoginHistory,
    /// Counters of this process, for `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Throttles of mailboxes, for their mail services' limits.
    pub(super) throttles: Throttles,
    pub(super) fault_log: FaultLogLimiter,
    /// Open sessions of this process.
    pub sessions: Arc<SessionRegistry>,
    /// State shared with other relays; `None` for a single relay.
    pub sharing: Option<Arc<Sharing>>,
    learned: LearnedCapabilities,
    /// Cancelled when sessions must end at their next reply boundary.
    pub drain: CancellationToken,
    /// Cancelled when sessions must end at once.
    pub stop: CancellationToken,
}

/// Capabilities listed by upstreams, by provider and protocol.
type LearnedCapabilities = Mutex<HashMap<(String, Protocol), Arc<[String]>>>;

impl ServiceState {
    pub(super) fn new(metrics: Arc<Metrics>, sharing: Option<Arc<Sharing>>) -> Self {
        let throttles = match &sharing {
            Some(sharing) => Throttles::shared(sharing.member().clone()),
            None => Throttles::default(),
        };
        Self {
            history: LoginHistory::default(),
            metrics,
            throttles,
            fault_log: FaultLogLimiter::default(),
            sessions: Arc::default(),
            sharing,
            learned: Mutex::default(),
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Stores the capabilities that a provider's upstream listed, for later clients.
    pub(super) fn learn(&self, provider: &str, protocol: Protocol, capabilities: Vec<String>) {
        let listed = (provider.to_owned(), protocol);
        self.learned.lock().insert(listed, capabilities.into());
    }

    /// Capabilities of a provider's upstream; those of the preset until they are learned.
    pub(super) fn capabilities(&self, provider: &Provider, protocol: Protocol) -> Arc<[String]> {
        let learned = self.learned.lock();
        match learned.get(&(provider.name.clone(), protocol)) {
            Some(learned) => learned.clone(),
            None => provider.preset.capabilities.of(protocol).as_slice().into(),
        }
    }
}
