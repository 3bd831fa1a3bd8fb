//! `check`: every problem of the configuration; no network.

use std::path::Path;

use super::setup::{Exit, print, print_error, refuse};
use crate::config::{self, Secrets};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Do not read secrets (environment, files, commands)
    #[arg(long)]
    pub(super) no_secrets: bool,
}

pub(super) fn run(path: &Path, options: &Options) -> Exit {
    let secrets = if options.no_secrets {
        Secrets::Skip
    } else {
        Secrets::Read
    };
    match config::check(path, secrets) {
        Ok(checked) => {
            for warning in &checked.warnings {
                print_error(format_args!("warning: {warning}"));
            }
            print(format!(
                "{}: good: {}, {}, {}\n",
                path.display(),
                counted(checked.listeners, "listener"),
                counted(checked.registrations, "registration"),
                counted(checked.accounts, "account"),
            ))
        }
        Err(problems) => refuse(&problems),
    }
}

fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
