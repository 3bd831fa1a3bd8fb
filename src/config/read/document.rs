//! Reads the whole file, section by section.

use super::writable::can_be_written;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::super::audit::{Audit, AuditPath};
use super::super::field::{Context, Field, Problems};
use super::super::key::{Key, Value as _};
use super::super::keys::Limits;
use super::super::keys::{Log, Root};
use super::super::model::Config;
use super::super::problem::Problem;
use super::super::sections::State;
use super::super::sources::Sources;
use super::super::tree;
use crate::text;
use crate::wire::Protocol;

/// Largest configuration file, in octets.
const FILE_CAP: u64 = 64 * 1024 * 1024;

/// Minimum idle timeout of an IMAP server before it logs out a client (RFC 9051 §5.4).
const IMAP_IDLE: Duration = Duration::from_secs(30 * 60);

/// Reads the file and everything it refers to.
pub(in crate::config) fn load(path: &Path, sources: Sources) -> Result<Config, Vec<Problem>> {
    let text = match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_CAP => {
            return Err(whole(path, "is larger than 64 MiB", None));
        }
        Ok(_) => std::fs::read(path),
        Err(error) => Err(error),
    };
    let text = text.map_err(|error| whole(path, &format!("cannot be read: {error}"), None))?;
    let text =
        text::decode(&text).ok_or_else(|| whole(path, "is not UTF-8: save it as UTF-8", None))?;
    parse(&text, path, sources)
}

/// Creates a problem of the whole file.
fn whole(path: &Path, message: &str, place: Option<tree::Position>) -> Vec<Problem> {
    vec![Problem {
        path: path.display().to_string(),
        message: message.to_owned(),
        place,
    }]
}

/// Reads the text of a file at `path`.
pub(in crate::config) fn parse(
    text: &str,
    path: &Path,
    sources: Sources,
) -> Result<Config, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let root = match tree::compose(text) {
        Ok(Some(root)) => root,
        Ok(None) => {
            let what = "is empty; it needs listeners, registrations and accounts";
            return Err(whole(path, what, None));
        }
        Err(error) => {
            let hint = match is_near_a_secret(text, error.place.0) {
                true => "; a secret with special characters must stand in single quotes, 'as here'",
                false => "",
            };
            let message = format!("{}{hint}", error.message);
            return Err(whole(path, &message, Some(error.place)));
        }
    };
    let context = Rc::new(Context {
        sources,
        problems: Problems::default(),
        warnings: Problems::default(),
    });
    let root = Field::root(root, context.clone());
    let config = Root::read(&root).and_then(|keys| config(&root, keys, path));
    let problems = context.problems.take_sorted();
    match config {
        Some(config) if problems.is_empty() => Ok(Config {
            runs_programs: context.sources.name_programs(),
            warnings: context.warnings.take_sorted(),
            ..config
        }),
        _ => Err(problems),
    }
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

fn config(root: &Field, keys: Root, path: &Path) -> Option<Config> {
    let state = super::admin::state(root, keys.state);
    let log = log(&root.at("log"), keys.log);
    let providers = super::providers::providers(keys.providers);
    let registrations = super::registrations::registrations(keys.registrations, &providers);
    let accounts = super::accounts::accounts(keys.accounts, &registrations);
    let has_listeners = keys.listeners.given().is_some();
    let listeners = super::listeners::listeners(keys.listeners, &providers, &accounts);
    super::accounts::check_any_password(&accounts, &listeners);
    super::accounts::check_costs(&accounts);
    super::accounts::check_presence(root, &accounts);
    if has_listeners {
        super::accounts::check_certificates(&accounts, &listeners);
    }
    let audit = match keys.audit.optional() {
        Some(Some(keys)) => super::audit::audit(&root.at("audit"), keys).map(Some),
        Some(None) => Some(None),
        None => None,
    };
    let admin = match keys.admin.optional() {
        Some(Some(keys)) => {
            super::admin::admin(&root.at("admin"), keys, state.as_ref(), &listeners).map(Some)
        }
        Some(None) => Some(None),
        None => None,
    };
    let notify = super::notify::hooks(keys.notify);
    let mut known = registrations.known.values();
    let consents = known.any(|registration| registration.grant.needs_consent());
    let state = state.map(|state| State {
        wanted: state.wanted || consents || state.store.is_some(),
        ..state
    });
    if let Some(state) = &state {
        super::admin::check_state(state, root);
    }
    check_idle(root, &keys.limits, &listeners);
    check_apart(root, log.as_ref(), audit.iter().flatten().next());
    let config = Config {
        path: path.to_owned(),
        state: state?,
        relay: None,
        log: log?,
        audit: audit?,
        admin: admin?.map(Arc::new),
        reload: keys.reload,
        notify: notify?,
        files: [vec![path.to_owned()], root.sources().noted()].concat(),
        limits: keys.limits,
        listeners,
        providers: providers.known,
        registrations: registrations.known,
        accounts: accounts.into_all(),
        runs_programs: false,
        warnings: Vec::new(),
    };
    // Otherwise missing or wrong listeners were reported.
    has_listeners.then_some(config)
}

/// Reads `log`: rotation requires a file.
fn log(field: &Field, log: Key<Log>) -> Option<Log> {
    let log = log.or(Log::default())?;
    for (key, is_given, needs) in [
        ("rotate", log.rotate.is_some() && log.file.is_none(), "file"),
        ("keep", log.keep.is_some() && log.rotate.is_none(), "rotate"),
    ] {
        if is_given {
            let at = field.at(key);
            at.problem(format_args!("has no use without log.{needs}; remove it"));
        }
    }
    match &log.file {
        Some(path) if path.is_dir() => field.at("file").reject("is a folder; name a file in it"),
        Some(path) => can_be_written(&field.at("file"), path).then_some(log),
        None => Some(log),
    }
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
            .problem("is log.file too: give each its own file");
    }
}

/// Checks the minimum idle timeout that an IMAP listener requires.
fn check_idle(root: &Field, limits: &Limits, listeners: &[Arc<super::super::sections::Listener>]) {
    let mut protocols = listeners.iter().map(|listener| listener.protocol);
    let has_imap = protocols.any(|protocol| protocol == Protocol::Imap);
    if has_imap && limits.idle_timeout < IMAP_IDLE {
        root.at("limits")
            .at("idle_timeout")
            .problem("must be at least 30m if there is an IMAP listener (RFC 9051 §5.4)");
    }
}
