//! Programs that authrelay runs, each with everything that it starts: a process group, or a job
//! object. What is left of one ends with it.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Instant;

use zeroize::Zeroizing;

use super::system;

/// What a program printed.
#[derive(Debug)]
pub struct Printed {
    /// Its standard output.
    pub output: Zeroizing<Vec<u8>>,
    /// The last octets of its standard error.
    pub complaints: Vec<u8>,
}

/// Why a program's output is not there.
#[derive(Debug)]
pub enum Incomplete {
    /// Its time was over before it ended.
    Late,
    /// It printed more than was asked for.
    TooLong,
    /// It was lost.
    Lost(io::Error),
}

/// How much is kept of what a program prints, in octets.
#[derive(Debug, Clone, Copy)]
pub struct Caps {
    /// Of its standard output; more is an error.
    pub output: usize,
    /// Of its standard error: the last ones.
    pub complaints: usize,
}

/// Runs a program without a shell until it ends, at most until `end`; blocks. It is done when it has
/// ended, whoever else still holds its output; then everything that it started is ended.
///
/// # Errors
///
/// The outer one where it cannot be run or waited for; the inner one where its output is not whole.
pub fn run(
    program: &Path,
    arguments: &[String],
    end: Instant,
    caps: Caps,
) -> io::Result<(ExitStatus, Result<Printed, Incomplete>)> {
    system::process::run(program, arguments, end, caps)
}

/// A program that is waited for without blocking; dropped, it ends with everything that it started.
pub struct Running(system::process::Running);

impl Running {
    /// Starts it with a pipe as its standard input; what it prints goes nowhere.
    ///
    /// # Errors
    ///
    /// Where it cannot be run.
    pub fn spawn(program: &Path, arguments: &[String]) -> io::Result<Self> {
        system::process::Running::spawn(program, arguments).map(Self)
    }

    /// Its standard input; once.
    pub fn stdin(&mut self) -> Option<tokio::process::ChildStdin> {
        self.0.stdin()
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// Where it is lost.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }
}

/// Keeps the last octets.
pub(super) fn keep_last(octets: &mut Vec<u8>, cap: usize) {
    let surplus = octets.len().saturating_sub(cap);
    octets.drain(..surplus);
}
