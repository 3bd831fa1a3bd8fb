//! `sandbox` in a build without it: says so, and how to get one.

use std::ffi::OsString;

use super::setup::Exit;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Arguments that a sandbox would take
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<OsString>,
}

pub(super) fn run(_: &Options) -> Result<Exit, Exit> {
    let why =
        "this build has no sandbox; from the source, `cargo run --release -- sandbox` starts one";
    Err(Exit::Usage.with(why))
}
