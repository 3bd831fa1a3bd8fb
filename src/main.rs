//! The `authrelay` command; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    authrelay::cli::main()
}
