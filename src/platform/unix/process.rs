//! Process groups.

use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use super::super::process::{Caps, Incomplete, Printed, is_over, keep_last};

/// Interval for checking whether a silent program has ended.
const LOOK: Duration = Duration::from_millis(10);

pub(in super::super) fn run(
    program: &Path,
    arguments: &[String],
    end: Instant,
    caps: Caps,
) -> io::Result<(ExitStatus, Result<Printed, Incomplete>)> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let printed = read(&mut child, end, caps);
    // Always kills the group: descendants left in the background would keep resources.
    end_group(child.id());
    let status = child.wait()?;
    Ok((status, printed))
}

/// Reads the output until the program ends.
fn read(child: &mut Child, end: Instant, caps: Caps) -> Result<Printed, Incomplete> {
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Incomplete::Lost(io::ErrorKind::BrokenPipe.into()));
    };
    let lost = |error: rustix::io::Errno| Incomplete::Lost(error.into());
    for pipe in [out.as_fd(), err.as_fd()] {
        rustix::io::ioctl_fionbio(pipe, true).map_err(lost)?;
    }
    let mut output = Zeroizing::new(Vec::with_capacity(16 * 1024));
    let mut complaints = Vec::new();
    let (mut out_open, mut err_open) = (true, true);
    loop {
        // Checked first: everything printed before the end is in the pipes by then.
        let ended = has_ended(child)?;
        out_open = out_open && drain(&mut out, &mut output, caps.output)?;
        err_open = err_open && drain(&mut err, &mut complaints, usize::MAX)?;
        keep_last(&mut complaints, caps.complaints);
        if output.len() > caps.output {
            return Err(Incomplete::TooLong);
        }
        if ended {
            return Ok(Printed { output, complaints });
        }
        if is_over(end) {
            return Err(Incomplete::TimedOut);
        }
        let mut open = Vec::new();
        if out_open {
            open.push(out.as_fd());
        }
        if err_open {
            open.push(err.as_fd());
        }
        wait(&open);
    }
}

/// Whether the program has ended. Its process id stays reserved until it is waited for.
fn has_ended(child: &Child) -> Result<bool, Incomplete> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return Err(Incomplete::Lost(io::ErrorKind::NotFound.into()));
    };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(pid), options);
    let status = status.map_err(|error| Incomplete::Lost(error.into()))?;
    Ok(status.is_some())
}

/// Reads available output. Returns whether the pipe is still open.
fn drain(pipe: &mut impl Read, into: &mut Vec<u8>, cap: usize) -> Result<bool, Incomplete> {
    let mut chunk = Zeroizing::new([0; 4096]);
    // Bounded, so that a program that prints endlessly is still checked.
    for _ in 0..64 {
        match pipe.read(chunk.as_mut()) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                into.extend_from_slice(chunk.get(..count).unwrap_or_default());
                if into.len() > cap {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Incomplete::Lost(error)),
        }
    }
    Ok(true)
}

/// Waits until something is printed, or the next check is due.
fn wait(open: &[BorrowedFd<'_>]) {
    let mut fds: Vec<_> = open
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    if fds.is_empty() {
        return std::thread::sleep(LOOK);
    }
    let look = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(LOOK.subsec_nanos()),
    };
    let _ = poll(&mut fds, Some(&look));
}

fn end_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

pub(in super::super) struct Running {
    child: tokio::process::Child,
    leader: Option<u32>,
}

impl Running {
    pub(in super::super) fn spawn(program: &Path, arguments: &[String]) -> io::Result<Self> {
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let leader = child.id();
        Ok(Self { child, leader })
    }

    pub(in super::super) fn stdin(&mut self) -> Option<tokio::process::ChildStdin> {
        self.child.stdin.take()
    }

    pub(in super::super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            end_group(leader);
        }
    }
}
