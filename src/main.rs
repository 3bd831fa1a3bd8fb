//! The `authrelay` command; the library contains everything.

use std::process::ExitCode;

fn main() -> ExitCode {
    authrelay::cli::main()
}
