//! From the tree to a [`Config`]: one file a section.

mod accounts;
mod admin;
mod audit;
mod grants;
mod limits;
mod listeners;
mod providers;
mod registrations;
mod smtp;

use std::path::Path;
use std::sync::Arc;

use super::field::{Field, Problems, Section};
use super::source::Sources;
use super::{Config, Log, LogFormat, Problem, Secrets, State, tree};
use crate::wire::Protocol;

/// A larger file is no configuration.
const FILE_CAP: u64 = 64 * 1024 * 1024;

/// Reads the file and whatever it points at.
pub(super) fn load(path: &Path, secrets: Secrets) -> Result<Config, Vec<Problem>> {
    let whole = |message: String| {
        vec![Problem {
            path: path.display().to_string(),
            message,
            place: None,
        }]
    };
    let text = match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_CAP => {
            return Err(whole("is larger than 64 MiB".into()));
        }
        Ok(_) => std::fs::read_to_string(path),
        Err(error) => Err(error),
    };
    let text = text.map_err(|error| whole(format!("cannot be read: {error}")))?;
    parse(&text, path, secrets)
}

/// The text of a file at `path`.
pub(super) fn parse(text: &str, path: &Path, secrets: Secrets) -> Result<Config, Vec<Problem>> {
    let broken = |message: &str, place| {
        vec![Problem {
            path: path.display().to_string(),
            message: message.into(),
            place,
        }]
    };
    let root = match tree::compose(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        Ok(Some(root)) => root,
        Ok(None) => {
            return Err(broken(
                "is empty; it needs listeners, registrations and accounts",
                None,
            ));
        }
        Err(error) => return Err(broken(&error.message, Some(error.place))),
    };
    let (problems, warnings) = (Problems::default(), Problems::default());
    let reader = Reader {
        sources: Sources::new(path, secrets),
        warnings: &warnings,
    };
    let config = Field::root(&root, &problems)
        .section()
        .and_then(|root| reader.config(root, path));
    let problems = problems.into_sorted();
    match config {
        Some(config) if problems.is_empty() => Ok(Config {
            warnings: warnings.into_sorted(),
            ..config
        }),
        _ => Err(problems),
    }
}

struct Reader<'w> {
    sources: Sources,
    warnings: &'w Problems,
}

impl Reader<'_> {
    fn warn(&self, field: &Field<'_>, message: impl std::fmt::Display) {
        self.warnings.add(&field.path, Some(field.place), message);
    }

    fn config(&self, mut root: Section<'_>, path: &Path) -> Option<Config> {
        let given = root.take("state");
        let state = self.state(given.clone());
        let log = log(root.take("log"));
        let limits = limits::limits(root.take("limits"));
        let providers = self.providers(root.take("providers"));
        let registrations = root.require("registrations", "the OAuth clients, by name");
        let registrations = self.registrations(registrations, &providers);
        let accounts = root.require("accounts", "a list of logins and the mailboxes they open");
        let accounts = self.accounts(accounts, &registrations);
        let listeners = root.require("listeners", "a list of addresses and protocols");
        let bound = listeners.clone();
        let listeners = self.listeners(listeners, &providers, &accounts);
        self.check_any_password(&accounts, &listeners);
        self.check_costs(&accounts);
        if bound.is_some() {
            self.check_certificates(&accounts, &listeners);
        }
        let audit = root.take("audit").map(|field| self.audit(&field));
        let admin = root
            .take("admin")
            .map(|field| self.admin(&field, state.as_ref()));
        root.finish();
        let state = state.map(|state| State {
            wanted: state.wanted
                || registrations
                    .known
                    .values()
                    .any(|registration| registration.grant.wants_consent()),
            ..state
        });
        if let Some(state) = &state {
            self.check_key(state, given.as_ref());
        }
        let imap = listeners
            .iter()
            .any(|listener| listener.protocol == Protocol::Imap);
        limits::check_idle(&limits, imap);
        let config = Config {
            path: path.to_owned(),
            state: state?,
            log,
            audit: match audit {
                Some(audit) => Some(audit?),
                None => None,
            },
            admin: match admin {
                Some(admin) => Some(Arc::new(admin?)),
                None => None,
            },
            limits: limits.limits,
            listeners,
            providers: providers.known,
            registrations: registrations.known,
            accounts: accounts
                .placed
                .into_iter()
                .map(|(_, account)| account)
                .collect(),
            warnings: Vec::new(),
        };
        // Otherwise their absence was said, or what is wrong with each.
        bound.map(|_| config)
    }
}

fn log(field: Option<Field<'_>>) -> Log {
    let mut log = Log {
        format: LogFormat::Json,
        level: tracing::Level::INFO,
    };
    let Some(mut section) = field.and_then(|field| field.section()) else {
        return log;
    };
    if let Some(format) = section
        .take("format")
        .and_then(|format| format.one_of(&[("text", LogFormat::Text), ("json", LogFormat::Json)]))
    {
        log.format = format;
    }
    if let Some(level) = section.take("level").and_then(|level| {
        level.one_of(&[
            ("error", tracing::Level::ERROR),
            ("warn", tracing::Level::WARN),
            ("info", tracing::Level::INFO),
            ("debug", tracing::Level::DEBUG),
            ("trace", tracing::Level::TRACE),
        ])
    }) {
        log.level = level;
    }
    section.finish();
    log
}
