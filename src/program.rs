//! A program that prints a secret: run in a process group of its own, which ends as a whole with it
//! or with its time.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

/// Octets of what it prints that are read.
const OUTPUT_CAP: usize = 256 * 1024;

/// Octets of its complaints that are kept: the last ones.
const COMPLAINT_CAP: usize = 1024;

/// How often a program that is silent is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Why a program gave nothing; displayed behind its name.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// It does not exist, may not be executed, or was lost.
    #[error("cannot be run: {0}")]
    Run(#[from] io::Error),
    /// Its time is over; whatever it started was killed.
    #[error("did not end within {0} seconds")]
    Late(u64),
    /// It printed too much.
    #[error("printed more than 256 KiB")]
    TooLong,
    /// It says so itself.
    #[error("failed: {status}{complaint}")]
    Status {
        /// As in `exit status: 1`.
        status: std::process::ExitStatus,
        /// `: ` and the last line of its standard error, where there is one.
        complaint: String,
    },
}

/// Runs a program without a shell and gives what it printed; blocks. It is done when it has ended,
/// whoever else still holds its output. Its standard error is not passed on; the last line of it is
/// in the failure.
///
/// # Errors
///
/// [`Failed`]; nothing that it printed on its standard output is in it.
pub fn run(
    program: &Path,
    arguments: &[String],
    timeout: Duration,
) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let end = Instant::now() + timeout;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let read = read(&mut child, end, timeout);
    // The group, whatever came of it: what was left in the background would hold resources on.
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let status = child.wait()?;
    let (output, complaints) = read?;
    if !status.success() {
        return Err(Failed::Status {
            status,
            complaint: complaint(&complaints),
        });
    }
    Ok(output)
}

type Printed = (Zeroizing<Vec<u8>>, Vec<u8>);

/// All that it prints until it ends.
fn read(child: &mut Child, end: Instant, timeout: Duration) -> Result<Printed, Failed> {
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Failed::Run(io::ErrorKind::BrokenPipe.into()));
    };
    for pipe in [out.as_fd(), err.as_fd()] {
        rustix::io::ioctl_fionbio(pipe, true).map_err(io::Error::from)?;
    }
    let mut output = Zeroizing::new(Vec::with_capacity(16 * 1024));
    let mut complaints = Vec::new();
    let (mut out_open, mut err_open) = (true, true);
    loop {
        // Looked at first: what it printed before its end is in the pipes by then.
        let ended = has_ended(child)?;
        out_open = out_open && drain(&mut out, &mut output, OUTPUT_CAP)?;
        err_open = err_open && drain(&mut err, &mut complaints, usize::MAX)?;
        let surplus = complaints.len().saturating_sub(COMPLAINT_CAP);
        complaints.drain(..surplus);
        if output.len() > OUTPUT_CAP {
            return Err(Failed::TooLong);
        }
        if ended {
            return Ok((output, complaints));
        }
        if Instant::now() >= end {
            return Err(Failed::Late(timeout.as_secs()));
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

/// Whether it has ended; its id stays its own until it is waited for.
fn has_ended(child: &Child) -> Result<bool, Failed> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return Err(Failed::Run(io::ErrorKind::NotFound.into()));
    };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(pid), options).map_err(io::Error::from)?;
    Ok(status.is_some())
}

/// Reads what is there; whether there may be more.
fn drain(pipe: &mut impl Read, into: &mut Vec<u8>, cap: usize) -> Result<bool, Failed> {
    let mut chunk = Zeroizing::new([0; 4096]);
    // A program that prints without end is looked at in between.
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
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Until something is printed, or a look is due.
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

/// `: ` and the last line that is not empty.
fn complaint(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(String::new, |line| format!(": {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let arguments = ["-c".to_owned(), script.to_owned()];
        run(Path::new("sh"), &arguments, timeout)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn a_program_is_done_when_it_has_ended() {
        let began = Instant::now();
        let output = shell("sleep 77 & echo tok", LONG).unwrap();
        assert_eq!(output.as_slice(), b"tok\n");
        let output = shell("exec >&- 2>&-; sleep 0.05", LONG).unwrap();
        assert!(output.is_empty());
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn what_it_started_ends_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 77 & echo $! > {}; wait", file.display());
        let error = shell(&script, Duration::from_millis(500)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
        let pid = std::fs::read_to_string(&file).unwrap();
        let status = format!("/proc/{}/status", pid.trim());
        let gone = || match std::fs::read_to_string(&status) {
            Ok(text) => text.contains("State:\tZ"),
            Err(_) => true,
        };
        let end = Instant::now() + LONG;
        while !gone() {
            assert!(Instant::now() < end, "{status} is alive");
            std::thread::sleep(LOOK);
        }
    }

    #[test]
    fn failures_say_why_within_bounds() {
        let error = shell("echo one >&2; echo 'no such vault' >&2; exit 3", LONG).unwrap_err();
        assert_eq!(error.to_string(), "failed: exit status: 3: no such vault");
        let error = shell("yes >&2 & yes", LONG).unwrap_err();
        assert!(matches!(error, Failed::TooLong), "{error}");
        let output = shell("yes | head -c 3000000 >&2; echo tok", LONG).unwrap();
        assert_eq!(output.as_slice(), b"tok\n");
        let error = run(Path::new("/nowhere/token"), &[], LONG).unwrap_err();
        assert!(error.to_string().starts_with("cannot be run: "), "{error}");
    }
}
