//! `run`: serves until a stop request, and reloads on request.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use super::setup::{Exit, refuse, runtime};
use crate::audit;
use crate::config::{self, Config, LoadMode};
use crate::logging;
use crate::platform;
use crate::platform::manager::{self, ReloadRequests, Severity};
use crate::server::{self, CannotBind, Confinement, Control, Inherited, Server};
use crate::text::counted;
use crate::token::store::StateError;

#[derive(Debug, Default, clap::Args)]
pub(super) struct Options {
    /// This relay's name among several that share a store (default: the host name)
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Give up, before serving, all files and TCP ports that the configuration does not need (Linux:
    /// Landlock); a reload that needs others is refused
    #[arg(long)]
    confine: bool,
}

/// Parses the name of a relay.
fn name(text: &str) -> Result<String, String> {
    match config::is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("must be 1 to 64 letters, digits, dots, hyphens and underscores".to_owned()),
    }
}

/// Serves, under the service manager if it started this process. Returns the exit code.
pub(super) fn run(path: PathBuf, options: Options) -> ExitCode {
    let serve = move || serve(&path, options).unwrap_or_else(|exit| exit) as u8;
    ExitCode::from(manager::run(serve))
}

fn serve(path: &Path, options: Options) -> Result<Exit, Exit> {
    let mut config = Config::load(path, LoadMode::Run).map_err(|problems| {
        let text: Vec<_> = problems.iter().map(ToString::to_string).collect();
        report_failure(&format!("{}:\n{}", path.display(), text.join("\n")));
        refuse(&problems)
    })?;
    config.relay = options.name;
    let log = logging::start(&config.log).map_err(|error| fail(Exit::State, &error.to_string()))?;
    if manager::is_service() && config.log.file.is_none() {
        let text = format!(
            "{}: without log.file a service's log goes nowhere; set log: {{file: ./authrelay.log, rotate: 10MB}}",
            path.display()
        );
        manager::report(Severity::Warning, &text);
    }
    platform::keep_memory_private();
    server::warn(&config);
    if cfg!(feature = "fips") {
        tracing::info!(
            version = config::VERSION,
            "FIPS: TLS, signatures and seals are by the FIPS 140-3 module of AWS-LC"
        );
    }
    // Before there are threads: each would go on as it was.
    let confinement = options
        .confine
        .then(|| Confinement::start(&config))
        .flatten();
    let runtime = runtime()?;
    let served = runtime.block_on(serve_until_stopped(config, path, log, confinement));
    platform::process::end_all();
    // Does not wait for a look-up that hangs.
    runtime.shutdown_background();
    match served {
        Ok(()) => {
            manager::report(Severity::Information, "stopped");
            Ok(Exit::Done)
        }
        Err(error) => {
            let exit = if error.is::<StateError>() || error.is::<audit::AuditError>() {
                Exit::State
            } else if error.is::<CannotBind>() || error.is::<std::io::Error>() {
                Exit::Unavailable
            } else {
                Exit::Config
            };
            Err(fail(exit, &format!("{error:#}")))
        }
    }
}

async fn serve_until_stopped(
    config: Config,
    path: &Path,
    log: logging::Started,
    confinement: Option<Confinement>,
) -> anyhow::Result<()> {
    // Both are registered before any client can know that the relay is running.
    let reloads = manager::ReloadRequests::new();
    let stop = manager::listen_for_stop().await;
    let server = Server::inheriting(&config, Inherited::of_environment())?;
    let text = format!(
        "authrelay {} serves {}: {}, {}",
        config::VERSION,
        path.display(),
        counted(config.listeners.len(), "listener"),
        counted(config.accounts.len(), "account")
    );
    drop(config);
    let control = server.control().clone();
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    control.set_threads(server::start_session_threads(processors)?);
    if let Some(confinement) = confinement {
        control.set_confinement(confinement);
    }
    let levels = log.clone();
    control.on_reload(move |config| levels.set(config.log.level));
    control.before_reload(move || log.reopen());
    tokio::spawn(reload_when_asked(control, reloads));
    let _no_end = manager::outlive_file_limits();
    manager::report(Severity::Information, &text);
    server.serve(stop).await?;
    Ok(())
}

fn fail(exit: Exit, why: &str) -> Exit {
    let exit = exit.with(why);
    report_failure(why);
    exit
}

/// Reports a failure to the service manager, since no one reads a service's stderr.
fn report_failure(why: &str) {
    manager::report(Severity::Error, &format!("authrelay cannot serve: {why}"));
}

/// Reloads on each request; the log has the result.
async fn reload_when_asked(control: Arc<Control>, requests: Option<ReloadRequests>) {
    let Some(mut requests) = requests else {
        return;
    };
    while requests.next().await.is_some() {
        let _ = control.reload().await;
    }
}
