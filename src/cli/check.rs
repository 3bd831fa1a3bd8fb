//! `check`: reports every problem of the configuration. Uses no network without `--online`.

use std::path::Path;

use super::setup::{Exit, print, print_error, refuse, runtime};
use crate::cluster::keys::Keys;
use crate::cluster::redis::examine;
use crate::config::{Config, LoadMode};
use crate::text::counted;
use crate::token::store::{Store, key_of};

#[derive(Debug, Default, clap::Args)]
pub(super) struct Options {
    /// Do not read secrets (environment, files, commands)
    #[arg(long)]
    pub(super) no_secrets: bool,
    /// Look at state.store as well: reach, TLS, password, version, eviction policy, clock, key
    #[arg(long, conflicts_with = "no_secrets")]
    pub(super) online: bool,
}

pub(super) fn run(path: &Path, options: &Options) -> Result<Exit, Exit> {
    let mode = match options.no_secrets {
        true => LoadMode::CheckWithoutSecrets,
        false => LoadMode::Check,
    };
    let checked = Config::load(path, mode).map_err(|problems| refuse(&problems))?;
    for warning in &checked.warnings {
        print_error(format_args!("warning: {warning}"));
    }
    if checked.state.wanted
        && !options.no_secrets
        && let Err(error) = Store::check_key(&checked.state)
    {
        return Err(Exit::Config.with(format_args!("state.key: {error}")));
    }
    if options.online {
        online(path);
    }
    Ok(print(format!(
        "{}: good: {}, {}, {}\n",
        path.display(),
        counted(checked.listeners.len(), "listener"),
        counted(checked.registrations.len(), "registration"),
        counted(checked.accounts.len(), "account"),
    )))
}

/// Checks the shared store. Trouble is only a warning, since mail is relayed without it.
fn online(path: &Path) {
    let Ok(config) = Config::load(path, LoadMode::Run) else {
        return;
    };
    let Some(store) = &config.state.store else {
        print_error("state.store: file; nothing else is checked over the network");
        return;
    };
    let keys = key_of(&config.state).and_then(|key| Keys::new(&key));
    let (Some(keys), Ok(runtime)) = (keys, runtime()) else {
        print_error("warning: state.key: cannot be read, so the store was not checked");
        return;
    };
    let address = store.address();
    match runtime.block_on(examine(store, &keys)) {
        Ok(findings) => {
            for (what, remedy) in &findings.wrong {
                print_error(format_args!(
                    "warning: state.store: {address}: {what}: {remedy}"
                ));
            }
            print_error(format_args!(
                "state.store: {address}: {}",
                findings.good.join(", ")
            ));
        }
        Err(away) => print_error(format_args!(
            "warning: state.store: {address} cannot be used: {away}"
        )),
    }
}
