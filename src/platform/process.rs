//! Programs run by authrelay, each with its descendants in a process group or job object.
//! Descendants end with the program.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Instant;

use zeroize::Zeroizing;

use super::system;

/// Output of a program.
#[derive(Debug)]
pub struct Printed {
    /// The whole standard output.
    pub output: Zeroizing<Vec<u8>>,
    /// Last octets of standard error.
    pub complaints: Vec<u8>,
}

/// Reason why a program's output is incomplete.
#[derive(Debug)]
pub enum Incomplete {
    /// The program did not end in time.
    TimedOut,
    /// The output exceeded its limit.
    TooLong,
    /// Reading or waiting failed.
    Lost(io::Error),
}

/// Limits of a program's output, in octets.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// Limit of standard output; more is an error.
    pub output: usize,
    /// Limit of standard error; the last octets are kept.
    pub complaints: usize,
}

system! {
    /// Runs a program without a shell until it ends, at most until `end`. Blocks. The result is
    /// complete when the program has ended, even if another process still holds its output; its
    /// descendants are then killed.
    ///
    /// # Errors
    ///
    /// Outer: the program cannot be run or waited for. Inner: its output is incomplete.
    pub fn process::run(program: &Path, arguments: &[String], end: Instant, caps: Caps) -> io::Result<(ExitStatus, Result<Printed, Incomplete>)>;
}

/// A program that is awaited asynchronously. On drop it is killed with its descendants.
pub struct Running(system::process::Running);

impl Running {
    /// Starts a program with a pipe as standard input; its output is discarded.
    ///
    /// # Errors
    ///
    /// The program cannot be run.
    pub fn spawn(program: &Path, arguments: &[String]) -> io::Result<Self> {
        system::process::Running::spawn(program, arguments).map(Self)
    }

    /// Takes the standard input; `None` after the first call.
    pub fn stdin(&mut self) -> Option<tokio::process::ChildStdin> {
        self.0.stdin()
    }

    /// Waits until the program has ended.
    ///
    /// # Errors
    ///
    /// Waiting failed.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }
}

pub(super) fn keep_last(octets: &mut Vec<u8>, cap: usize) {
    let surplus = octets.len().saturating_sub(cap);
    octets.drain(..surplus);
}
