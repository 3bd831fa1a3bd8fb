//! `run`: serves until SIGTERM or SIGINT; SIGHUP reloads.

use std::path::Path;
use std::sync::Arc;

use super::{Exit, load, print_error, runtime, shutdown_signal};
use crate::audit;
use crate::logging;
use crate::server::{self, CannotBind, Control, Inherited, Server};
use crate::token::store::StateError;

pub(super) fn run(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let log = match logging::start(&config.log) {
        Ok(log) => log,
        Err(error) => {
            print_error(error);
            return Exit::State;
        }
    };
    keep_memory_private();
    server::warn(&config);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let served = runtime.block_on(async {
        let server = Server::inheriting(&config, Inherited::of_environment())?;
        drop(config);
        let control = server.control().clone();
        let levels = log.clone();
        control.on_reload(move |config| levels.set(config.log.level));
        tokio::spawn(reload_at_hangup(control, log));
        let _no_end = outlive_file_limits();
        server
            .serve(shutdown_signal())
            .await
            .map_err(anyhow::Error::from)
    });
    // A secret's command that hangs, or a name, is not waited for.
    runtime.shutdown_background();
    match served {
        Ok(()) => Exit::Done,
        Err(error) => {
            print_error(format_args!("{error:#}"));
            if error.is::<StateError>() || error.is::<audit::AuditError>() {
                Exit::State
            } else if error.is::<CannotBind>() || error.is::<std::io::Error>() {
                Exit::Unavailable
            } else {
                Exit::Config
            }
        }
    }
}

/// Memory holds client secrets, passwords and tokens: no core file is written of it, and nobody but
/// root may read it. `/proc/self` belongs to root from here on.
fn keep_memory_private() {
    if let Err(error) = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0) {
        tracing::warn!(%error, "a crash may write secrets into a core file");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "other processes of this user can read this one's memory");
    }
}

/// A file beyond the process's limit (`ulimit -f`) is an error like a full disk, and not the end of
/// the process, which SIGXFSZ is otherwise.
fn outlive_file_limits() -> Option<tokio::signal::unix::Signal> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).ok()
}

/// What comes of it is in the log.
async fn reload_at_hangup(control: Arc<Control>, log: logging::Started) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangup.recv().await.is_some() {
        log.reopen();
        let _ = control.reload().await;
    }
}
