//! Watches for conditions that hooks are alerted about: results of logins, and at intervals
//! consents, expiring credentials and the audit. Sessions never wait for this.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::ends::{Certificates, EndAlert, Ending, ReportedEnds, endings};
use crate::config::{Account, Config, Hook, NotifyEvent};
use crate::expiry;
use crate::fault::{Fault, Kind, shell_argument};
use crate::history::LoginEvent;
use crate::notify::Notifier;
use crate::session::{ActiveService, Service, Sharing};
use crate::status;

/// Maximum number of logins that wait to be examined.
const QUEUE: usize = 1_024;

/// Interval for checking the audit and refused credentials.
const POLL: Duration = Duration::from_secs(2);

/// Shortest pause between checks of all consents, each of which reads the store.
const CONSENTS: Duration = Duration::from_secs(5);

/// Divisor that bounds the share of time spent on checking consents, which grows with the accounts.
const SHARE: u32 = 20;

/// Consecutive logins without a reachable mail service before an alert.
const UNREACHABLE: u32 = 3;

/// Error codes with which identity providers reject the client's authentication: wrong or expired
/// secrets, unknown certificates, expired assertions.
const CLIENT: [&str; 7] = [
    "invalid_client",
    "AADSTS7000215",
    "AADSTS7000222",
    "AADSTS700027",
    "AADSTS700024",
    "AADSTS50012",
    "AADSTS7000229",
];

fn relay_name(service: &Service) -> String {
    if let Some(sharing) = &service.state.sharing {
        return sharing.member().name().to_owned();
    }
    match crate::platform::host_name() {
        name if name.is_empty() => "authrelay".to_owned(),
        name => name,
    }
}

/// Sends the alerts of a relay to its hooks.
pub(super) struct Alerts {
    notifier: Arc<Notifier>,
    /// Whether there is any hook; nothing is watched until then.
    wanted: watch::Sender<bool>,
}

impl Alerts {
    /// Starts the hooks' tasks. Call within the runtime.
    pub(super) fn start(hooks: &[Hook], service: &Service) -> Self {
        let metrics = service.state.metrics.clone();
        let notifier = Notifier::start(hooks.to_vec(), relay_name(service), metrics);
        Self {
            notifier: Arc::new(notifier),
            wanted: watch::Sender::new(!hooks.is_empty()),
        }
    }

    /// Reports a reload that was applied, or refused for these problems.
    pub(super) fn on_reload(&self, path: &std::path::Path, result: Result<&Config, &[String]>) {
        let subject = path.display().to_string();
        match result {
            Ok(config) => {
                self.notifier.renew(config.notify.clone());
                self.wanted.send_if_modified(|wanted| {
                    let was = *wanted;
                    *wanted |= !config.notify.is_empty();
                    was != *wanted
                });
                let detail = "the configuration was taken";
                self.notifier.end(NotifyEvent::Reload, &subject, detail);
            }
            Err(problems) => {
                let detail = problems.join("; ");
                let remedy = "correct the file (authrelay check finds every problem) and reload";
                let (notifier, event) = (&self.notifier, NotifyEvent::Reload);
                notifier.begin(event, &subject, detail, Some(remedy.to_owned()));
            }
        }
    }

    /// Watches for alert conditions until the task is dropped.
    pub(super) async fn watch(&self, current: Arc<ActiveService>, certificates: Certificates) {
        let mut wanted = self.wanted.subscribe();
        if wanted.wait_for(|wanted| *wanted).await.is_err() {
            return;
        }
        let (sender, mut logins) = mpsc::channel(QUEUE);
        current.active().state.history.observed_by(sender);
        let mut watch = AlertState::new(self.notifier.clone());
        let mut looks = tokio::time::interval(POLL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next = Instant::now();
        loop {
            tokio::select! {
                login = logins.recv() => match login {
                    Some(login) => watch.on_login(&current.active(), &login),
                    None => return,
                },
                _ = looks.tick() => {
                    let service = current.active();
                    watch.look(&service);
                    watch.look_at_removed(&service);
                    watch.look_at_ends(&endings(&service, &certificates()));
                    if next <= Instant::now() {
                        let began = Instant::now();
                        watch.look_at_consents(service).await;
                        next = Instant::now() + CONSENTS.max(began.elapsed() * SHARE);
                    }
                }
            }
        }
    }
}

/// State kept between checks.
struct AlertState {
    notifier: Arc<Notifier>,
    /// Consecutive logins without a reachable mail service, by provider.
    unreachable: HashMap<String, u32>,
    /// Registrations whose credential was refused, with the number of tokens they had obtained by
    /// then.
    refused: HashMap<String, u64>,
    ends: ReportedEnds,
    /// Logins with an open alert about their consent.
    consents: HashSet<String>,
}

impl AlertState {
    fn new(notifier: Arc<Notifier>) -> Self {
        Self {
            notifier,
            unreachable: HashMap::new(),
            refused: HashMap::new(),
            ends: ReportedEnds::default(),
            consents: HashSet::new(),
        }
    }

    fn on_login(&mut self, service: &Service, login: &LoginEvent) {
        let Some(account) = service.find(&login.login).cloned() else {
            return;
        };
        let provider = &account.registration.provider.name;
        let Some(fault) = &login.fault else {
            self.unreachable.remove(provider);
            let detail = "a login succeeded";
            for subject in [&login.login, provider] {
                self.notifier.end(NotifyEvent::Upstream, subject, detail);
            }
            return;
        };
        match fault.kind() {
            Kind::Refused => self.begin(NotifyEvent::Upstream, &login.login, fault),
            Kind::Unreachable => {
                let count = self.unreachable.entry(provider.clone()).or_default();
                *count = count.saturating_add(1);
                if *count >= UNREACHABLE {
                    self.begin(NotifyEvent::Upstream, provider, fault);
                }
            }
            Kind::GrantRefused => self.on_refused(service, &account, fault),
            _ => {}
        }
    }

    /// Reports a refusal by the identity provider if it concerns the client's credential. Refused
    /// consents are found in the store.
    fn on_refused(&mut self, service: &Service, account: &Account, fault: &Fault) {
        let registration = &account.registration;
        let grant = &registration.grant;
        let is_clients = CLIENT.iter().any(|code| fault.detail().contains(code));
        if !is_clients && (grant.needs_consent() || grant.needs_client_password()) {
            return;
        }
        let tokens = service.state.metrics.tokens(&registration.name);
        let is_new = self
            .refused
            .insert(registration.name.clone(), tokens)
            .is_none();
        if is_new && self.ends.forget(&registration.name) {
            // Ends the alert about the coming expiry, so that this one is sent.
            let subject = &registration.name;
            self.notifier
                .end(NotifyEvent::Credential, subject, "it is refused now");
        }
        self.begin(NotifyEvent::Credential, &registration.name, fault);
    }

    fn begin(&self, event: NotifyEvent, subject: &str, fault: &Fault) {
        let remedy = fault.remedy().map(str::to_owned);
        self.notifier.begin(event, subject, fault.detail(), remedy);
    }

    /// Reports a condition with its detail, and the remedy, or that it is over.
    fn report(
        &self,
        event: NotifyEvent,
        subject: &str,
        trouble: Option<String>,
        remedy: &str,
        over: &str,
    ) {
        match trouble {
            Some(detail) => {
                let remedy = Some(remedy.to_owned());
                self.notifier.begin(event, subject, detail, remedy);
            }
            None => self.notifier.end(event, subject, over),
        }
    }

    fn look(&mut self, service: &Service) {
        if let Some(sharing) = &service.state.sharing {
            self.look_at_store(sharing);
        }
        self.look_at_state(service);
        let is_failing = service.is_audit_failing();
        self.report(
            NotifyEvent::Audit,
            "audit records",
            is_failing.then(|| "audit records cannot be written".to_owned()),
            "free space or correct the path; the log says which",
            "audit records are written",
        );
        let notifier = self.notifier.clone();
        self.refused.retain(|registration, tokens| {
            let is_refused = service.state.metrics.tokens(registration) <= *tokens;
            if !is_refused {
                let detail = "the identity provider gives tokens again";
                notifier.end(NotifyEvent::Credential, registration, detail);
            }
            is_refused
        });
    }

    /// Reports an outage of the store shared by several relays.
    fn look_at_store(&self, sharing: &Sharing) {
        let away = sharing.state().err();
        self.report(
            NotifyEvent::Store,
            "the shared store",
            away.map(|why| format!("the shared store is away: {why}")),
            "mail continues, and each relay keeps to its share of each limit; authrelay check --online says what is wrong",
            "the shared store is back",
        );
    }

    /// The state directory, where what a redemption brought cannot be written: it is used from memory.
    fn look_at_state(&self, service: &Service) {
        let store = service.token_source.store();
        let has_unstored = store.is_some_and(|store| store.unstored() > 0);
        self.report(
            NotifyEvent::Store,
            "the state directory",
            has_unstored.then(|| "tokens that were redeemed cannot be written; they are used, and kept in memory and in the shared store, if there is one".to_owned()),
            "free space in the state directory; the log says which file",
            "tokens that were redeemed are written",
        );
    }

    /// Ends what a login would end that can never happen: of accounts, registrations and providers
    /// that a reload has removed.
    fn look_at_removed(&mut self, service: &Service) {
        let accounts = service.accounts.iter();
        let registrations = accounts.map(|account| &account.registration);
        let used: HashSet<String> = registrations.clone().map(|it| it.name.clone()).collect();
        let providers: HashSet<String> = registrations.map(|it| it.provider.name.clone()).collect();
        self.refused.retain(|name, _| used.contains(name));
        self.unreachable.retain(|name, _| providers.contains(name));
        let detail = "no account uses this registration any more";
        // Listeners' certificates are looked at with all that expire.
        let is_used = |name: &str| used.contains(name) || name.starts_with("listener ");
        let notifier = &self.notifier;
        notifier.end_others(NotifyEvent::Credential, is_used, detail);
        let is_there = |name: &str| providers.contains(name) || service.find(name).is_some();
        let detail = "no account has this login or provider any more";
        notifier.end_others(NotifyEvent::Upstream, is_there, detail);
    }

    /// Sends alerts before credentials expire. One that is refused has an alert about that instead.
    fn look_at_ends(&mut self, endings: &[Ending]) {
        let is_refused = |ending: &&Ending| self.refused.contains_key(&ending.subject);
        let endings: Vec<_> = endings.iter().filter(|it| !is_refused(it)).collect();
        for change in self.ends.look(&endings, expiry::now()) {
            match change {
                EndAlert::Over(subject, reason) => {
                    self.notifier.end(NotifyEvent::Credential, &subject, reason);
                }
                EndAlert::Begins(ending) => {
                    let detail = ending.near().unwrap_or_default();
                    let remedy = Some(ending.remedy.clone());
                    let (event, subject) = (NotifyEvent::Credential, &ending.subject);
                    self.notifier.begin(event, subject, detail, remedy);
                }
            }
        }
    }

    async fn look_at_consents(&mut self, service: Arc<Service>) {
        let mut accounts = service.accounts.iter();
        let needs_consent = |account: &Arc<Account>| account.registration.grant.needs_consent();
        if self.consents.is_empty() && !accounts.any(needs_consent) {
            return;
        }
        let rows = tokio::task::spawn_blocking(move || status::accounts(&service));
        let Ok(rows) = rows.await else { return };
        self.consents.retain(|login| {
            let is_there = rows
                .iter()
                .any(|row| row.login == *login && row.consent != "none");
            if !is_there {
                let detail = "the account no longer needs a consent";
                self.notifier.end(NotifyEvent::Consent, login, detail);
            }
            is_there
        });
        for row in rows {
            let is_pattern = row.login.starts_with('*');
            match row.consent {
                "needed" | "attention" if !is_pattern => {
                    let (detail, remedy) = match row.last_fault {
                        Some(fault) => (fault.detail, fault.remedy),
                        None => ("no one has consented yet".to_owned(), None),
                    };
                    let usual = || format!("authrelay authorize {}", shell_argument(&row.login));
                    let remedy = Some(remedy.unwrap_or_else(usual));
                    self.consents.insert(row.login.clone());
                    self.notifier
                        .begin(NotifyEvent::Consent, &row.login, detail, remedy);
                }
                "given" if self.consents.remove(&row.login) => {
                    let detail = "the consent is given";
                    self.notifier.end(NotifyEvent::Consent, &row.login, detail);
                }
                _ => {}
            }
        }
    }
}
