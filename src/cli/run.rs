//! `run`: serves until SIGTERM or SIGINT; SIGHUP reloads.

use std::path::Path;
use std::sync::Arc;

use super::{Exit, load, print_error, runtime};
use crate::audit;
use crate::logging;
use crate::platform::{self, manager};
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
    platform::keep_memory_private();
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
        tokio::spawn(reload_when_asked(control, log));
        let _no_end = manager::outlive_file_limits();
        server
            .serve(manager::stop_requested())
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

/// What comes of it is in the log.
async fn reload_when_asked(control: Arc<Control>, log: logging::Started) {
    let Some(mut requests) = manager::ReloadRequests::new() else {
        return;
    };
    while requests.next().await.is_some() {
        log.reopen();
        let _ = control.reload().await;
    }
}
