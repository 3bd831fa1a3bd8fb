//! `run`: serves until SIGTERM or SIGINT.

use std::path::Path;

use super::{Exit, asked_to_stop, complain, load, runtime};
use crate::logging;
use crate::server::{CannotBind, Server};
use crate::token::store::Unusable;

pub(super) fn run(path: &Path) -> Exit {
    let config = match load(path) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    logging::start(&config.log);
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let served = runtime.block_on(async {
        let server = Server::bind(&config)?;
        drop(config);
        tokio::spawn(say_no_to_reload());
        server
            .serve(asked_to_stop())
            .await
            .map_err(anyhow::Error::from)
    });
    match served {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(format_args!("{error:#}"));
            if error.is::<Unusable>() {
                Exit::State
            } else if error.is::<CannotBind>() || error.is::<std::io::Error>() {
                Exit::Unavailable
            } else {
                Exit::Config
            }
        }
    }
}

/// SIGHUP would end the process otherwise, and every session with it.
async fn say_no_to_reload() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangup.recv().await.is_some() {
        tracing::warn!(
            remedy = "restart authrelay to apply a changed configuration",
            "SIGHUP: reload is not supported by this version"
        );
    }
}
