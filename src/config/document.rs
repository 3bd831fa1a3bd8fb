//! Reads the whole file, section by section.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::audit::{Audit, AuditPath};
use super::field::Field;
use super::key::Value as _;
use super::listener::Listener;
use super::problem::Problem;
use super::root::{Config, Limits, Log, Root};
use super::sources::{LoadMode, Sources};
use super::tree;
use crate::text;
use crate::wire::Protocol;

/// Largest configuration file, in octets.
const FILE_CAP: u64 = 64 * 1024 * 1024;

/// Minimum idle timeout of an IMAP server before it logs out a client (RFC 9051 §5.4).
const IMAP_IDLE: Duration = Duration::from_secs(30 * 60);

impl Config {
    /// Reads the file at `path` and all files it refers to, without network access.
    ///
    /// # Errors
    ///
    /// Every problem, in the order of the file. Never empty.
    pub fn load(path: &Path, mode: LoadMode) -> Result<Self, Vec<Problem>> {
        let text = match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() > FILE_CAP => {
                return Err(whole(path, "is larger than 64 MiB", None));
            }
            Ok(_) => std::fs::read(path),
            Err(error) => Err(error),
        };
        let text = text.map_err(|error| whole(path, &format!("cannot be read: {error}"), None))?;
        let text = text::decode(&text)
            .ok_or_else(|| whole(path, "is not UTF-8: save it as UTF-8", None))?;
        Self::parse(&text, path, mode)
    }

    /// Reads a text in place of the file at `path`.
    ///
    /// # Errors
    ///
    /// Those of [`Config::load`].
    pub fn parse(text: &str, path: &Path, mode: LoadMode) -> Result<Self, Vec<Problem>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let root = match tree::compose(text) {
            Ok(Some(root)) => root,
            Ok(None) => {
                let what = "is empty; it needs listeners, registrations and accounts";
                return Err(whole(path, what, None));
            }
            Err(error) => {
                let hint = match is_near_a_secret(text, error.place.0) {
                    true => {
                        "; a secret with special characters must stand in single quotes, 'as here'"
                    }
                    false => "",
                };
                let message = format!("{}{hint}", error.message);
                return Err(whole(path, &message, Some(error.place)));
            }
        };
        let root = Field::root(root, Sources::new(path, mode));
        let config = Root::read(&root).and_then(|keys| config(&root, keys));
        let (problems, warnings) = root.take_problems();
        match config {
            Some(config) if problems.is_empty() => Ok(Self {
                path: path.to_owned(),
                files: [vec![path.to_owned()], root.sources().noted()].concat(),
                runs_programs: root.sources().name_programs(),
                warnings,
                ..config
            }),
            _ => Err(problems),
        }
    }
}

/// Creates a problem of the whole file.
fn whole(path: &Path, message: &str, place: Option<tree::Position>) -> Vec<Problem> {
    vec![Problem {
        path: path.display().to_string(),
        message: message.to_owned(),
        place,
    }]
}

/// Whether a line, or one of the two before it, has a key for a secret. Generated secrets often
/// begin with a character that is special in YAML.
fn is_near_a_secret(text: &str, line: usize) -> bool {
    let lines = text.lines().take(line).skip(line.saturating_sub(3));
    let has_secret = |line: &str| {
        let line = line.to_lowercase();
        let mut keys = ["secret", "password", "passphrase", "token", "key"].iter();
        keys.any(|key| line.contains(&format!("{key}:")))
    };
    lines.into_iter().any(has_secret)
}

/// Reads the sections in the order in which they refer to each other, and checks contradictions.
fn config(root: &Field, mut keys: Root) -> Option<Config> {
    // Otherwise missing or wrong listeners were reported.
    let has_listeners = keys.listeners.given().is_some();
    let mut state = super::state::state(root, keys.state.take());
    let providers = super::provider::providers(keys.providers.take());
    let registrations = super::registrations::registrations(keys.registrations.take(), &providers);
    let accounts = super::accounts::accounts(keys.accounts.take(), &registrations);
    let listeners = super::listener::listeners(keys.listeners.take(), &providers, &accounts);
    super::listener::check_any_password(&accounts, &listeners);
    super::accounts::check_costs(&accounts);
    super::accounts::check_presence(root, &accounts);
    if has_listeners {
        super::listener::check_certificates(&accounts, &listeners);
    }
    let admin = keys
        .admin
        .take()
        .convert(|keys| super::admin::admin(&root.at("admin"), keys, state.as_ref(), &listeners));
    keys.notify.default_from(|| Some(Vec::new()));
    let registrations = registrations.valid();
    if let Some(state) = &mut state {
        let mut valid = registrations.values();
        let consents = valid.any(|registration| registration.grant.needs_consent());
        state.wanted |= consents || state.store.is_some();
        super::state::check_state(state, root);
    }
    check_idle(root, keys.limits.given(), &listeners);
    check_apart(root, keys.log.given(), keys.audit.given());
    let config = keys.finish(
        state?,
        admin?.map(Arc::new),
        listeners,
        providers.valid(),
        registrations,
        accounts.all(),
    );
    config.filter(|_| has_listeners)
}

/// Checks that log and audit records have a file each: log lines would break the hash chain.
fn check_apart(root: &Field, log: Option<&Log>, audit: Option<&Audit>) {
    let log = log.and_then(|log| log.file.as_ref());
    let audit = audit.and_then(|audit| audit.path.as_ref());
    let (Some(log), Some(AuditPath::File(audit))) = (log, audit) else {
        return;
    };
    if audit.components().eq(log.components()) {
        root.at("audit")
            .at("path")
            .problem("is also log.file: give each its own file");
    }
}

/// Checks the minimum idle timeout that an IMAP listener requires.
fn check_idle(root: &Field, limits: Option<&Limits>, listeners: &[Arc<Listener>]) {
    let mut protocols = listeners.iter().map(|listener| listener.protocol);
    let has_imap = protocols.any(|protocol| protocol == Protocol::Imap);
    if has_imap && limits.is_some_and(|limits| limits.idle_timeout < IMAP_IDLE) {
        root.at("limits")
            .at("idle_timeout")
            .problem("must be at least 30m if there is an IMAP listener (RFC 9051 §5.4)");
    }
}
