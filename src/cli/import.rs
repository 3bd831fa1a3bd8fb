//! `import FILE`: an `emailproxy.config` in, a `proxy.yaml` out.

use std::path::{Path, PathBuf};

use super::{Exit, complain, print};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The emailproxy.config of email-oauth2-proxy
    file: PathBuf,
}

pub(super) fn run(options: &Options) -> Exit {
    let path: &Path = &options.file;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            complain(format_args!("{}: cannot be read: {error}", path.display()));
            return Exit::State;
        }
    };
    match crate::import::import(&text) {
        Ok(imported) => {
            imported.notes.iter().for_each(complain);
            print(imported.yaml)
        }
        Err(why) => {
            complain(format_args!("{}: {why}", path.display()));
            Exit::Config
        }
    }
}
