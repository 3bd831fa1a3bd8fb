//! `reload`: makes the running relay reload its configuration, and reports the result.

use std::path::Path;

use super::running::{RequestError, RunningRelay};
use super::setup::{Exit, load, print, print_error, runtime};
use crate::text::counted;

pub(super) fn run(path: &Path) -> Exit {
    // Reports the same problems as the relay would.
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let result = runtime.block_on(async {
        match RunningRelay::find(&config).await {
            Some(running) => Some(running.reload().await),
            None => None,
        }
    });
    match result {
        Some(Ok(applied)) => {
            let restart = match applied.restart.is_empty() {
                true => String::new(),
                false => format!("; these take a restart: {}", applied.restart.join(", ")),
            };
            print(format!(
                "reloaded: {}, {}, {} ended{restart}\n",
                counted(applied.listeners, "listener"),
                counted(applied.accounts, "account"),
                counted(applied.sessions_ended, "session")
            ))
        }
        Some(Err(RequestError::Problems(problems))) => {
            problems.iter().for_each(print_error);
            Exit::Config
        }
        Some(Err(RequestError::Other(error))) => {
            print_error(format_args!("{error:#}"));
            Exit::Failed
        }
        None => {
            print_error(match config.admin {
                Some(_) => "no relay of this file answers at admin.bind: is it running?",
                None => "the file has no admin listener to ask: send SIGHUP instead",
            });
            Exit::Unavailable
        }
    }
}
