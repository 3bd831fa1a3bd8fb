//! State that sessions share under one configuration. After a reload existing sessions keep the
//! service that logged them in, and new logins use the new one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio_util::sync::CancellationToken;

use super::registry::SessionRegistry;
use super::sharing::Sharing;
use crate::audit::{self, Audit, AuditRecord, Event};
use crate::auth::{Authenticator, ClientInfo};
use crate::config::{Account, Config, Limits, Listener, Provider};
use crate::fault::Fault;
use crate::fault_log::FaultLogLimiter;
use crate::history::LoginHistory;
use crate::metrics::Metrics;
use crate::outbound::http;
use crate::throttle::Throttles;
use crate::tls;
use crate::token::store::Store;
use crate::token::{TokenSource, TokenSourceConfig};
use crate::upstream::Connector;
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

/// One configuration made ready for use: accounts, token source, and TLS for its providers.
pub struct Service {
    /// State shared with the services of other configurations.
    pub state: Arc<ServiceState>,
    /// Handle for audit records, if they are enabled.
    pub audit: Option<Audit>,
    /// Limits of sessions and upstreams.
    pub limits: Limits,
    pub(super) authenticator: Authenticator,
    /// Accounts in the order of the file.
    pub accounts: Vec<Arc<Account>>,
    /// Listeners in the order of the file.
    pub listeners: Vec<Arc<Listener>>,
    /// Source of access tokens.
    pub token_source: Arc<TokenSource>,
    /// TLS configuration for each provider's upstreams.
    upstream_tls: UpstreamTls,
}

type UpstreamTls = BTreeMap<String, Arc<rustls::ClientConfig>>;

/// Builds TLS configurations and HTTP clients for all providers, and the token source's
/// configuration.
fn outbound_clients(config: &Config) -> anyhow::Result<(UpstreamTls, TokenSourceConfig<'_>)> {
    let mut tls = BTreeMap::new();
    let mut clients = BTreeMap::new();
    for provider in config.providers.values() {
        let client = tls::client(&provider.ca.0)?;
        clients.insert(
            provider.name.clone(),
            http::Client::new(client.clone(), provider.egress.clone(), provider.ip),
        );
        tls.insert(provider.name.clone(), Arc::new(client));
    }
    let store = match config.state.wanted {
        true => Some(Store::open(&config.state)?),
        false => None,
    };
    let token_source = TokenSourceConfig {
        registrations: &config.registrations,
        clients,
        timeout: config.limits.upstream_timeout,
        store,
    };
    Ok((tls, token_source))
}

impl Service {
    /// Builds what sessions need under `config`: accounts, token source, TLS and HTTP clients.
    ///
    /// # Errors
    ///
    /// A client cannot be built, or the state directory cannot be used.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let (upstream_tls, token_source) = outbound_clients(config)?;
        let metrics = Arc::new(Metrics::new(config));
        let sharing = Sharing::new(config, token_source.store.as_ref(), &metrics)?;
        let authenticator = Authenticator::new(config)?;
        if let Some(sharing) = &sharing {
            authenticator.share(sharing.member().clone());
        }
        let counted = metrics.clone();
        let token_source =
            TokenSource::new(token_source)?.observed_by(move |registration, outcome, took| {
                counted.token_request(registration, outcome, took);
            });
        let token_source = match &sharing {
            Some(sharing) => token_source.shared_by(sharing.member().clone()),
            None => token_source,
        };
        Ok(Self {
            state: Arc::new(ServiceState::new(metrics, sharing)),
            audit: None,
            limits: config.limits.clone(),
            authenticator,
            accounts: config.accounts.clone(),
            listeners: config.listeners.clone(),
            token_source: Arc::new(token_source),
            upstream_tls,
        })
    }

    /// Starts the audit that `config` requires.
    ///
    /// # Errors
    ///
    /// Those of [`Audit::start`].
    pub fn audited(mut self, config: &Config) -> Result<Self, audit::AuditError> {
        let relay = self.state.sharing.as_ref();
        let relay = relay.map(|sharing| sharing.member().name().to_owned());
        let start = |audit| Audit::start(audit, relay);
        self.audit = config.audit.as_ref().map(start).transpose()?;
        Ok(self)
    }

    /// Creates the service of another configuration with the same state: tokens, lockouts,
    /// counters, sessions. Put it in force by
    /// [`ActiveService::replace`].
    ///
    /// # Errors
    ///
    /// Those of [`Service::new`]; nothing has changed then.
    pub fn reconfigured(&self, config: &Config) -> anyhow::Result<Self> {
        let (upstream_tls, token_source) = outbound_clients(config)?;
        Ok(Self {
            state: self.state.clone(),
            audit: self.audit.clone(),
            limits: config.limits.clone(),
            authenticator: self.authenticator.reconfigured(config),
            accounts: config.accounts.clone(),
            listeners: config.listeners.clone(),
            token_source: Arc::new(self.token_source.reconfigured(token_source)),
            upstream_tls,
        })
    }

    /// Finds the account of a login, ignoring case.
    pub fn find(&self, login: &str) -> Option<&Arc<Account>> {
        self.authenticator.find(login)
    }

    /// Creates the connector to a provider's mail service. No wait exceeds `deadline`.
    ///
    /// # Errors
    ///
    /// Those of [`Connector::new`].
    pub fn connector<'a>(
        &self,
        provider: &'a Provider,
        protocol: Protocol,
        deadline: Option<tokio::time::Instant>,
    ) -> Result<Connector<'a>, Fault> {
        let tls = self.upstream_tls.get(&provider.name).cloned();
        Connector::new(
            provider,
            protocol,
            tls,
            self.limits.upstream_timeout,
            deadline,
        )
    }

    /// Redeems consents unused for `age`, and checks those that need attention. Covers the
    /// consented logins of wildcard accounts.
    pub async fn refresh_unused(&self, age: Duration) {
        let Some(store) = self.token_source.store().cloned() else {
            return;
        };
        let logins = tokio::task::spawn_blocking(move || store.logins()).await;
        for login in logins.unwrap_or_default() {
            if let Some(account) = self.find(&login)
                && account.registration.grant.needs_consent()
            {
                self.token_source.refresh_unused(account, &login, age).await;
            }
        }
    }

    /// Writes an audit record of an administrator's action: `person`, action, login, and the outcome
    /// `accepted`, `refused` or `failed`.
    pub fn record_action(
        &self,
        person: &str,
        action: &'static str,
        login: Option<String>,
        outcome: &'static str,
    ) {
        let Some(audit) = &self.audit else {
            return;
        };
        audit.record(AuditRecord {
            person: Some(person.to_owned()),
            action: Some(action),
            login,
            outcome: Some(outcome),
            ..AuditRecord::new(Event::Action)
        });
    }

    /// Whether audit records are required but cannot be written.
    pub fn is_audit_failing(&self) -> bool {
        self.audit.as_ref().is_some_and(Audit::is_failing)
    }

    /// Updates the metrics that are read rather than counted, except those of consents.
    pub fn measure(&self) {
        let metrics = &self.state.metrics;
        let unstored = self
            .token_source
            .store()
            .map_or(0, |store| store.unstored());
        metrics.unstored_tokens(unstored);
        if let Some(audit) = &self.audit {
            metrics.audit(!audit.is_failing(), audit.head_signed());
        }
    }
}

/// Holder of the active [`Service`].
pub struct ActiveService(RwLock<Arc<Service>>);

impl ActiveService {
    /// Creates the holder with `service` as the active one.
    pub fn new(service: Service) -> Self {
        Self(RwLock::new(Arc::new(service)))
    }

    /// Returns the active service.
    pub fn active(&self) -> Arc<Service> {
        self.0.read().clone()
    }

    /// Makes `service` the active one. Drains the sessions whose account or password no longer
    /// exists, each at its next reply boundary and within `limits.drain_timeout`. Returns how many.
    pub fn replace(&self, service: Service, config: &Config) -> usize {
        let service = Arc::new(service);
        service.state.metrics.renew(config);
        service.authenticator.activate(config);
        service.token_source.activate();
        *self.0.write() = service.clone();
        service.state.sessions.end_unless(
            config.limits.drain_timeout,
            |session, verified, names| {
                if verified.is_unauthenticated() {
                    let now = service.unauthenticated_login(&session.listener, session.client);
                    return now.is_some_and(|now| now.same_mailbox_as(verified));
                }
                let client = ClientInfo {
                    address: session.client.ip(),
                    listener: &session.listener,
                    names,
                };
                service.authenticator.still_opens(client, verified)
            },
        )
    }

    /// Reopens the audit file, which may have been renamed.
    pub fn reopen_audit(&self) {
        if let Some(audit) = &self.active().audit {
            audit.reopen();
        }
    }

    /// Waits until the records of all sessions so far are written and sent, at most for `patience`.
    pub async fn finish_audit(&self, patience: Duration) {
        if let Some(audit) = self.active().audit.clone() {
            let _ = tokio::task::spawn_blocking(move || audit.finish(patience)).await;
        }
    }
}
