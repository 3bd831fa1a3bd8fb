//! Control of a running server: reload, drain and stop.
//!
//! A reload first prepares everything that can fail (file, TLS, state directory, addresses), so
//! that an invalid file changes nothing. New sessions then use the new configuration. Open sessions
//! continue unless their account or password was removed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::alerts::Alerts;
use super::confinement::Confinement;
use super::contents::contents;
use super::ends::Certificates;
use super::limits::{AUDIT_TIMEOUT, FINAL_REPLY_TIMEOUT, LAST};
use super::listening::{AcceptingListener, BoundListener, ReadyListener};
use crate::accept::admission::SessionLimiter;
use crate::accept::listen;
use crate::accept::{ServedListener, Shortage};
use crate::admin::{self, People, Reload, ReloadReport};
use crate::config::{Admin, Audit, Config, LoadMode, Log, ReloadMode};
use crate::platform::manager::{self, Severity};
use crate::session::ActiveService;
use crate::tls::reload::{self, ReloadableTls};

/// Called for each configuration that becomes active.
type ReloadHook = Box<dyn Fn(&Config) + Send + Sync>;

/// Controls a running server: reload, drain and stop.
pub struct Control {
    current: Arc<ActiveService>,
    path: PathBuf,
    limiter: SessionLimiter,
    shortage: Shortage,
    accepting: TaskTracker,
    sessions: TaskTracker,
    /// Cancels sessions that do not end otherwise.
    kill: CancellationToken,
    state: Mutex<State>,
    alerts: Alerts,
    /// Confinement of the process, which a reload cannot exceed.
    confinement: OnceLock<Confinement>,
    /// Threads that accept and serve clients; the runtime's own unless they are set.
    threads: OnceLock<Vec<Handle>>,
    /// Held during a reload, so that only one runs at a time.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    open: Vec<AcceptingListener>,
    reload: ReloadMode,
    /// Files watched with `reload: watch`; `seen` is the digest of their content.
    files: Vec<PathBuf>,
    seen: Option<[u8; 32]>,
    /// Whether the server is draining, so that no listener is opened any more.
    draining: bool,
    drain_timeout: Duration,
    /// Settings at start that only a restart changes.
    admin: Option<Arc<Admin>>,
    audit: Option<Audit>,
    log: Log,
    applied: Option<ReloadHook>,
    before: Option<Arc<dyn Fn() + Send + Sync>>,
    /// TLS configuration of the administrators' listener.
    admin_tls: Option<Arc<ReloadableTls>>,
    /// Users signed in to the administrators' listener, which reloads change.
    people: Option<Arc<People>>,
}

impl Control {
    /// Creates the control, and starts the hooks of `notify`. Call within the runtime.
    pub(super) fn new(config: &Config, current: Arc<ActiveService>) -> Self {
        Self {
            alerts: Alerts::start(&config.notify, &current.active()),
            current,
            path: config.path.clone(),
            limiter: SessionLimiter::new(&config.limits),
            shortage: Shortage::default(),
            accepting: TaskTracker::new(),
            sessions: TaskTracker::new(),
            kill: CancellationToken::new(),
            state: Mutex::new(State {
                open: Vec::new(),
                reload: config.reload,
                files: config.files.clone(),
                seen: (config.reload == ReloadMode::Watch).then(|| contents(&config.files)),
                draining: false,
                drain_timeout: config.limits.drain_timeout,
                admin: config.admin.clone(),
                audit: config.audit.clone(),
                log: config.log.clone(),
                applied: None,
                before: None,
                admin_tls: None,
                people: None,
            }),
            confinement: OnceLock::new(),
            threads: OnceLock::new(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Watches for what the hooks are alerted about, until the task is dropped.
    pub(super) async fn watch_for_alerts(self: Arc<Self>) {
        let (current, certificates) = (self.current.clone(), self.certificates());
        self.alerts.watch(current, certificates).await;
    }

    /// Returns a function that lists the certificates in use.
    pub(super) fn certificates(self: &Arc<Self>) -> Certificates {
        let control = self.clone();
        Arc::new(move || control.identities())
    }

    /// With `reload: watch`, reloads if the content of a file has changed. Modification times do
    /// not suffice: mounted secrets are replaced by swapping links.
    pub(super) async fn look_at_files(self: &Arc<Self>) {
        let (files, seen) = {
            let state = self.state.lock();
            if state.reload != ReloadMode::Watch {
                return;
            }
            (state.files.clone(), state.seen)
        };
        let Ok(now) = tokio::task::spawn_blocking(move || contents(&files)).await else {
            return;
        };
        self.state.lock().seen = Some(now);
        if seen.is_some_and(|seen| seen != now) {
            tracing::info!("a file of the configuration has changed");
            let _ = self.reload().await;
        }
    }

    /// Holder of the active service.
    pub fn current(&self) -> &Arc<ActiveService> {
        &self.current
    }

    /// Sets the administrators' listener: its files are watched too, and reloads change its people.
    pub(super) fn set_admin(&self, admin: &admin::Admin) {
        let mut state = self.state.lock();
        state.admin_tls = admin.tls();
        state.people = Some(admin.people());
    }

    /// TLS configurations of all listeners, including the administrators'.
    pub(super) fn identities(&self) -> Vec<Arc<ReloadableTls>> {
        let state = self.state.lock();
        let listeners = state
            .open
            .iter()
            .filter_map(|open| open.served().tls.clone());
        listeners.chain(state.admin_tls.clone()).collect()
    }

    /// Sets the function called for each configuration that a reload makes active.
    pub fn on_reload(&self, listener: impl Fn(&Config) + Send + Sync + 'static) {
        self.state.lock().applied = Some(Box::new(listener));
    }

    /// Sets the confinement of this process, which limits reloads.
    pub fn set_confinement(&self, confinement: Confinement) {
        let _ = self.confinement.set(confinement);
    }

    /// Sets the threads that accept and serve clients, if there are any.
    pub fn set_threads(&self, threads: Vec<Handle>) {
        if !threads.is_empty() {
            let _ = self.threads.set(threads);
        }
    }

    /// Sets the function called at the beginning of each reload; it reopens the log file.
    pub fn before_reload(&self, hook: impl Fn() + Send + Sync + 'static) {
        self.state.lock().before = Some(Arc::new(hook));
    }

    /// Reopens the log and audit files, then reads the configuration and makes it active.
    ///
    /// # Errors
    ///
    /// Every problem of the configuration; the previous one stays active.
    pub async fn reload(self: &Arc<Self>) -> Result<ReloadReport, Vec<String>> {
        let _turn = self.turn.lock().await;
        manager::reloading();
        // After a rename the files must be reopened even if the configuration is invalid.
        let before = self.state.lock().before.clone();
        if let Some(before) = before {
            before();
        }
        self.current.reopen_audit();
        reload::refresh(&self.identities()).await;
        let result = self.load().await;
        manager::ready();
        match &result {
            Ok(applied) => tracing::info!(
                listeners = applied.listeners,
                accounts = applied.accounts,
                sessions_ended = applied.sessions_ended,
                restart = (!applied.restart.is_empty()).then(|| applied.restart.join(", ")),
                "configuration reloaded"
            ),
            Err(problems) => {
                self.alerts.on_reload(&self.path, Err(problems));
                for problem in problems {
                    tracing::error!("reload: {problem}");
                }
                let text = format!(
                    "not reloaded, the old configuration stays: {}",
                    problems.join("\n")
                );
                manager::report(Severity::Warning, &text);
                tracing::error!(
                    remedy =
                        "correct the file (`authrelay check` finds every problem) and reload again",
                    "configuration not reloaded: the old one stays in force"
                );
            }
        }
        result
    }

    async fn load(self: &Arc<Self>) -> Result<ReloadReport, Vec<String>> {
        let control = self.clone();
        // Reads files and runs commands for secrets, which must not block the relaying threads.
        let loading = tokio::task::spawn_blocking(move || {
            let config = Config::load(&control.path, LoadMode::Run)
                .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
            Ok((control.apply(&config), config))
        });
        let loaded = loading.await;
        match loaded {
            Ok(Ok((Ok(applied), config))) => {
                self.alerts.on_reload(&self.path, Ok(&config));
                warn(&config);
                if let Some(on_applied) = &self.state.lock().applied {
                    on_applied(&config);
                }
                Ok(applied)
            }
            Ok(Ok((Err(error), _))) => Err(self.explained(vec![format!("{error:#}")])),
            Ok(Err(problems)) => Err(self.explained(problems)),
            Err(_) => Err(vec!["the reload was abandoned".to_owned()]),
        }
    }

    /// Problems, with the confinement named where it may be the cause.
    fn explained(&self, mut problems: Vec<String>) -> Vec<String> {
        let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied).to_string();
        if let Some(confinement) = self.confinement.get()
            && problems
                .iter()
                .any(|problem| problem.to_lowercase().contains(&denied))
        {
            problems.push(format!("{}; others take a restart", confinement.remedy()));
        }
        problems
    }

    /// [`Control::reload`] for the administrators' listener.
    pub(super) fn reload_on_demand(self: Arc<Self>) -> Reload {
        Arc::new(move || {
            let control = self.clone();
            Box::pin(async move { control.reload().await })
        })
    }

    /// Checks that `config` stays within what is fixed at start: the shared store and the confinement.
    fn check_fixed(&self, config: &Config) -> anyhow::Result<()> {
        if let Some(confinement) = self.confinement.get() {
            confinement.check(config)?;
        }
        let service = self.current.active();
        let store = service.token_source.store();
        let same = match (&service.state.sharing, &config.state.store) {
            (None, None) => store.is_none_or(|store| store.is_at(&config.state)),
            (Some(sharing), Some(_)) => !sharing.is_another(&config.state),
            _ => false,
        };
        anyhow::ensure!(
            same,
            "state has changed, which takes a restart: restart this relay, or give back what it was"
        );
        Ok(())
    }

    /// Makes `config` active, or changes nothing on an error. Call within the runtime.
    fn apply(&self, config: &Config) -> anyhow::Result<ReloadReport> {
        self.check_fixed(config)?;
        let service = self.current.active().reconfigured(config)?;
        let mut state = self.state.lock();
        anyhow::ensure!(!state.draining, "shutting down");
        let mut kept = BTreeMap::new();
        let mut added = Vec::new();
        for listener in &config.listeners {
            match state.open.iter().position(|open| open.is(listener)) {
                Some(index) => {
                    kept.insert(index, ServedListener::new(listener.clone())?);
                }
                None => added.push(listener),
            }
        }
        let open = state.open.iter().enumerate();
        let going = open.filter(|(index, _)| !kept.contains_key(index));
        let going = going.map(|(_, open)| &open.socket);
        let mut ready = Vec::new();
        for listener in added {
            let bound = BoundListener::beside(listener.clone(), going.clone())?;
            ready.push(bound.on(&self.threads())?);
        }
        let replace_people = state.prepare_people(config)?;
        // Nothing can fail from here on.
        replace_people();
        state.reload = config.reload;
        state.files = config.files.clone();
        state.seen = (config.reload == ReloadMode::Watch).then(|| contents(&config.files));
        let sessions_ended = self.current.replace(service, config);
        self.limiter.resize(&config.limits);
        state.drain_timeout = config.limits.drain_timeout;
        for (index, open) in std::mem::take(&mut state.open).into_iter().enumerate() {
            match kept.remove(&index) {
                Some(served) => {
                    open.change(served);
                    state.open.push(open);
                }
                None => {
                    let served = open.served();
                    tracing::info!(listener = served.listener.name, "no longer listening");
                    open.close.cancel();
                }
            }
        }
        let ready = ready.into_iter();
        state.open.extend(ready.map(|ready| self.accept(ready)));
        Ok(ReloadReport {
            listeners: config.listeners.len(),
            accounts: config.accounts.len(),
            sessions_ended,
            restart: state.restart_required(config),
        })
    }

    /// Serves the listeners that were bound at start.
    pub(super) fn open(&self, bound: Vec<BoundListener>) -> std::io::Result<()> {
        let mut state = self.state.lock();
        for bound in bound {
            let ready = bound.on(&self.threads())?;
            state.open.push(self.accept(ready));
        }
        Ok(())
    }

    fn threads(&self) -> Vec<Handle> {
        let threads = self.threads.get().cloned();
        threads.unwrap_or_else(|| vec![Handle::current()])
    }

    fn accept(&self, ready: ReadyListener) -> AcceptingListener {
        AcceptingListener::new(ready, |open, thread, socket| {
            let (kill, tracker) = (self.kill.clone(), self.sessions.clone());
            let (current, served) = (self.current.clone(), open.all_served());
            let serve = move |tcp, peer, permit| {
                let session = current.clone().serve(served(), tcp, peer, permit);
                // Boxed, since it would otherwise be stored twice.
                tracker.spawn(kill.clone().run_until_cancelled_owned(Box::pin(session)));
            };
            let (limiter, shortage) = (self.limiter.clone(), self.shortage.clone());
            let close = open.close.clone();
            let accepting = listen::accept(socket, limiter, shortage, close, serve);
            self.accepting.spawn_on(accepting, &thread);
        })
    }

    /// Closes the listeners and waits for sessions, at most `limits.drain_timeout`. Ends [`LAST`]
    /// after that at the latest, whatever peers, disks or a running reload do; returns that time.
    pub(super) async fn drain(&self) -> Instant {
        // First of all: new clients belong to another process from here on, and a reload opens no
        // listener.
        let drain_timeout = {
            let mut state = self.state.lock();
            state.draining = true;
            state.open.drain(..).for_each(|open| open.close.cancel());
            state.drain_timeout
        };
        let end = Instant::now() + drain_timeout;
        tracing::info!(sessions = self.sessions.len(), "draining");
        let service = self.current.active();
        service.state.drain.cancel();
        self.accepting.close();
        self.accepting.wait().await;
        self.sessions.close();
        if timeout_at(end, self.sessions.wait()).await.is_err() {
            tracing::warn!(
                sessions = self.sessions.len(),
                "ending sessions that did not end by themselves"
            );
            service.state.stop.cancel();
            let words = timeout_at(end + FINAL_REPLY_TIMEOUT, self.sessions.wait());
            if words.await.is_err() {
                // Cancelled sessions still write their records.
                self.kill.cancel();
                let _ = timeout_at(end + LAST, self.sessions.wait()).await;
            }
        }
        let left = (end + LAST).saturating_duration_since(Instant::now());
        self.current.finish_audit(left.min(AUDIT_TIMEOUT)).await;
        end + LAST
    }
}

impl State {
    /// Prepares the users of `config`. The returned function activates them.
    fn prepare_people(&self, config: &Config) -> anyhow::Result<Box<dyn FnOnce()>> {
        let users = config.admin.as_ref().and_then(|admin| admin.users.as_ref());
        let prepared = match &self.people {
            Some(people) => Some((people.clone(), people.prepare(users)?)),
            None => None,
        };
        Ok(Box::new(move || {
            if let Some((people, service)) = prepared {
                people.replace(service);
            }
        }))
    }

    /// Lists changed keys that a reload does not apply.
    fn restart_required(&self, config: &Config) -> Vec<&'static str> {
        let mut keys = Vec::new();
        let mut note = |key, changed: bool| keys.extend(changed.then_some(key));
        match (self.admin.as_deref(), config.admin.as_deref()) {
            (Some(then), Some(now)) => {
                note("admin.bind", then.bind != now.bind);
                note("admin.public_url", then.public_url != now.public_url);
                note("admin.tls", then.tls.is_some() != now.tls.is_some());
                note("admin.token", then.token != now.token);
                note("admin.viewer_token", then.viewer_token != now.viewer_token);
                let (then, now) = (then.metrics_public, now.metrics_public);
                note("admin.metrics_public", then != now);
            }
            (then, now) => note("admin", then.is_some() != now.is_some()),
        }
        match (&self.audit, &config.audit) {
            (Some(then), Some(now)) => {
                then.changes(now)
                    .into_iter()
                    .for_each(|key| note(key, true));
            }
            (then, now) => note("audit", then.is_some() != now.is_some()),
        }
        let (then, now) = (&self.log, &config.log);
        note("log.format", then.format != now.format);
        note("log.file", then.file != now.file);
        note("log.rotate", then.rotate != now.rotate);
        note("log.keep", then.keep != now.keep);
        keys
    }
}

/// Logs the warnings of `config`.
pub fn warn(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}
