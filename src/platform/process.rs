//! Programs run by authrelay, each with its descendants in a process group or job object.
//! Descendants end with the program.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use zeroize::Zeroizing;

use super::system;

/// Longest time for programs to end with this process.
const LAST: Duration = Duration::from_millis(200);

/// Whether this process ends, and programs with it.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Number of programs that [`run`] waits for.
static COUNT: Mutex<usize> = Mutex::new(0);

/// Notified when one of them has ended.
static ENDED: Condvar = Condvar::new();

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

/// Runs a program without a shell until it ends, at most until `end`. Blocks. The result is
/// complete when the program has ended, even if another process still holds its output; its
/// descendants are then killed.
///
/// # Errors
///
/// Outer: the program cannot be run or waited for. Inner: its output is incomplete.
pub fn run(
    program: &Path,
    arguments: &[String],
    end: Instant,
    caps: Caps,
) -> io::Result<(ExitStatus, Result<Printed, Incomplete>)> {
    let _counted = Counted::new();
    system::process::run(program, arguments, end, caps)
}

/// Ends all programs that [`run`] waits for, with their descendants: this process ends, and would
/// leave them behind. Blocks for a moment.
pub fn end_all() {
    ENDING.store(true, Ordering::Release);
    let until = Instant::now() + LAST;
    let mut count = COUNT.lock();
    while *count > 0 && !ENDED.wait_until(&mut count, until).timed_out() {}
}

/// Whether a program's time is over: at `end`, or since this process ends.
pub(super) fn is_over(end: Instant) -> bool {
    ENDING.load(Ordering::Acquire) || Instant::now() >= end
}

/// Counts a program until it is dropped.
struct Counted;

impl Counted {
    fn new() -> Self {
        *COUNT.lock() += 1;
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        *COUNT.lock() -= 1;
        ENDED.notify_all();
    }
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
