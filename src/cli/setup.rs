//! Functions shared by commands: exit codes, output, configuration, runtime.

use crate::config::{Config, LoadMode, Problem};
use crate::platform;
use crate::session::Service;
use crate::token::store::StateError;
use std::cell::Cell;
use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// File tried first if no configuration is given.
const NEARBY: &str = "proxy.yaml";

/// Exit code of a command (sysexits.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 64,
    Unavailable = 69,
    State = 74,
    Config = 78,
}

impl Exit {
    /// Prints the reason to stderr, and returns the exit code.
    pub(super) fn with(self, why: impl Display) -> Self {
        print_error(why);
        self
    }
}

pub(super) fn default_config() -> PathBuf {
    let nearby = PathBuf::from(NEARBY);
    let usual = platform::configuration();
    match !nearby.exists() && usual.exists() {
        true => usual,
        false => nearby,
    }
}

/// Loads the configuration, or prints every problem to stderr.
pub(super) fn load(path: &Path) -> Result<Config, Exit> {
    Config::load(path, LoadMode::Run).map_err(|problems| refuse(&problems))
}

/// Creates the service for administrators' commands, without listeners.
pub(super) fn service(config: &Config) -> Result<Service, Exit> {
    let service = Service::new(config).map_err(|error| {
        let exit = match error.is::<StateError>() {
            true => Exit::State,
            false => Exit::Config,
        };
        exit.with(format_args!("{error:#}"))
    })?;
    let notes = service.token_source.store().map(|store| store.notes());
    for note in notes.unwrap_or_default() {
        print_error(format_args!("warning: {note}"));
    }
    Ok(service)
}

/// Connects the service to the shared store, if there is one. The error is the reason why it cannot
/// be used: the command then uses the state directory only.
pub(super) async fn connect_store(service: &Service) -> Result<(), String> {
    match &service.state.sharing {
        Some(sharing) => sharing.connect_cli().await,
        None => Ok(()),
    }
}

/// Warns that the other relays do not know yet what was changed of a login.
pub(super) fn warn_unshared(service: &Service, login: &str) {
    if let Some(why) = service.token_source.unshared(login) {
        print_error(format_args!(
            "warning: the shared store is away: {why}; this holds for relays with this state directory, and for the others from the moment one of these starts, or within 10 s where one runs and the store is back"
        ));
    }
}

pub(super) fn refuse(problems: &[Problem]) -> Exit {
    problems.iter().for_each(print_error);
    Exit::Config
}

/// Prints the result of a command.
pub(super) fn print(text: impl AsRef<[u8]>) -> Exit {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_ref())
        .and_then(|()| stdout.flush())
    {
        // A closed pipe means that the reader has enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Exit::State.with(format_args!("stdout: {error}"))
        }
        _ => Exit::Done,
    }
}

/// Prints one line to stderr.
pub(super) fn print_error(what: impl Display) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Describes a login that no account covers. An account's wildcard is no login.
pub(super) fn no_account(login: &str) -> String {
    match login.starts_with('*') {
        true => {
            format!(
                "{login} is not a login: give an address that it covers, as in info@contoso.com"
            )
        }
        false => format!("no account has the login {login}"),
    }
}

/// Number of a step in a list of which some are left out.
#[derive(Default)]
pub(super) struct StepNumber(Cell<usize>);

impl StepNumber {
    /// Returns the number of the next step, from 1.
    pub(super) fn next(&self) -> usize {
        self.0.update(|number| number + 1);
        self.0.get()
    }
}

/// Creates the tokio runtime of a command.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Exit> {
    if let Err(error) = platform::raise_open_files() {
        print_error(format_args!(
            "warning: the limit of open files stays as it is: {error}"
        ));
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Exit::Unavailable.with(format_args!("no threads: {error}")))
}
