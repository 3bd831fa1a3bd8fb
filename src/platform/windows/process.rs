//! Job objects. A program is assigned to its job before its first instruction, so that no
//! descendant escapes.

use std::io::{self, Read};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use process_wrap::{std as blocking, tokio as waiting};
use zeroize::Zeroizing;

use super::super::process::{Caps, Incomplete, Printed, is_over, keep_last};

/// Interval for checking whether a silent program has ended.
const LOOK: Duration = Duration::from_millis(10);

/// Longest wait for the remaining output after a program has ended.
const REST: Duration = Duration::from_secs(2);

/// Origin of output: standard output or standard error.
#[derive(Clone, Copy)]
enum Pipe {
    Output,
    Error,
}

/// Output read by a pipe's thread; an empty part is the end.
type Part = (Pipe, io::Result<Zeroizing<Vec<u8>>>);

pub(in super::super) fn run(
    program: &Path,
    arguments: &[String],
    end: Instant,
    caps: Caps,
) -> io::Result<(ExitStatus, Result<Printed, Incomplete>)> {
    let mut command = blocking::CommandWrap::with_new(program, |command| {
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    });
    let mut child = command.wrap(blocking::JobObject).spawn()?;
    let printed = read(child.as_mut(), end, caps);
    // Always kills the job: descendants left in the background would keep resources.
    let status = child.inner_mut().try_wait();
    let _ = child.start_kill();
    let status = match status? {
        Some(status) => status,
        None => child.inner_mut().wait()?,
    };
    Ok((status, printed))
}

/// Reads the output until the program ends. Pipes block, so each has a thread that ends with it.
fn read(
    child: &mut dyn blocking::ChildWrapper,
    end: Instant,
    caps: Caps,
) -> Result<Printed, Incomplete> {
    let (Some(out), Some(err)) = (child.stdout().take(), child.stderr().take()) else {
        return Err(Incomplete::Lost(io::ErrorKind::BrokenPipe.into()));
    };
    // Bounded, so that a program that prints endlessly has to wait.
    let (sender, parts) = mpsc::sync_channel(16);
    let other = sender.clone();
    std::thread::spawn(move || forward(Pipe::Output, out, &sender));
    std::thread::spawn(move || forward(Pipe::Error, err, &other));
    let mut printed = Printed {
        output: Zeroizing::new(Vec::with_capacity(16 * 1024)),
        complaints: Vec::new(),
    };
    let (mut open, mut ended) = (2, None);
    while open > 0 {
        let now = Instant::now();
        match ended {
            Some(rest) if now >= rest => break,
            None if is_over(end) => return Err(Incomplete::TimedOut),
            None if has_ended(child)? => {
                // Ends the remaining processes that hold the pipes.
                let _ = child.start_kill();
                ended = Some(now + REST);
            }
            _ => {}
        }
        match parts.recv_timeout(LOOK) {
            Ok((_, Ok(part))) if part.is_empty() => open -= 1,
            Ok((Pipe::Output, Ok(part))) => {
                printed.output.extend_from_slice(&part);
                if printed.output.len() > caps.output {
                    return Err(Incomplete::TooLong);
                }
            }
            Ok((Pipe::Error, Ok(part))) => {
                printed.complaints.extend_from_slice(&part);
                keep_last(&mut printed.complaints, caps.complaints);
            }
            Ok((_, Err(error))) => return Err(Incomplete::Lost(error)),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    while ended.is_none() && !has_ended(child)? {
        if is_over(end) {
            return Err(Incomplete::TimedOut);
        }
        std::thread::sleep(LOOK);
    }
    Ok(printed)
}

fn has_ended(child: &mut dyn blocking::ChildWrapper) -> Result<bool, Incomplete> {
    let status = child.inner_mut().try_wait();
    status
        .map(|status| status.is_some())
        .map_err(Incomplete::Lost)
}

fn forward(pipe: Pipe, mut from: impl Read, to: &mpsc::SyncSender<Part>) {
    loop {
        let mut chunk = Zeroizing::new(vec![0; 4096]);
        let read = match from.read(&mut chunk) {
            Ok(count) => {
                chunk.truncate(count);
                Ok(chunk)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let last = !matches!(&read, Ok(part) if !part.is_empty());
        if to.send((pipe, read)).is_err() || last {
            return;
        }
    }
}

pub(in super::super) struct Running(Box<dyn waiting::ChildWrapper>);

impl Running {
    pub(in super::super) fn spawn(program: &Path, arguments: &[String]) -> io::Result<Self> {
        let mut command = waiting::CommandWrap::with_new(program, |command| {
            command
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
        });
        command.wrap(waiting::JobObject).spawn().map(Self)
    }

    pub(in super::super) fn stdin(&mut self) -> Option<tokio::process::ChildStdin> {
        self.0.stdin().take()
    }

    /// Waits for the program only; its descendants are killed on drop.
    pub(in super::super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.inner_mut().wait().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.start_kill();
    }
}
