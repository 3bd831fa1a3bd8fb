//! `reload`: makes the running relay reload its configuration, and reports the result.

use std::path::Path;

use super::running::{Reloaded, RunningRelay};
use super::setup::{Exit, load, print, print_error, runtime};
use crate::text::counted;

pub(super) fn run(path: &Path) -> Result<Exit, Exit> {
    // Reports the same problems as the relay would.
    let config = load(path)?;
    let result = runtime()?.block_on(async {
        match RunningRelay::find(&config).await {
            Some(running) => Some(running.reload().await),
            None => None,
        }
    });
    match result {
        Some(Ok(Reloaded::Done {
            listeners,
            accounts,
            sessions_ended,
            restart,
        })) => {
            let restart = match restart.is_empty() {
                true => String::new(),
                false => format!("; these take a restart: {}", restart.join(", ")),
            };
            Ok(print(format!(
                "reloaded: {}, {}, {} ended{restart}\n",
                counted(listeners, "listener"),
                counted(accounts, "account"),
                counted(sessions_ended, "session")
            )))
        }
        Some(Ok(Reloaded::Refused { problems })) => {
            problems.iter().for_each(print_error);
            Err(Exit::Config)
        }
        Some(Err(error)) => Err(Exit::Failed.with(format_args!("{error:#}"))),
        None => Err(Exit::Unavailable.with(match config.admin {
            Some(_) => "no relay with this file answers at admin.bind: it is not running, or was started with another admin.bind (send SIGHUP then)",
            None => "the file has no admin listener to ask: send SIGHUP instead",
        })),
    }
}
