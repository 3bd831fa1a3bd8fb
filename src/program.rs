//! Runs a program that prints a secret, and kills it with its descendants at its timeout.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::platform::process::{self, Caps, Incomplete};

/// Largest output, in octets.
const OUTPUT_CAP: usize = 256 * 1024;

/// Octets kept of standard error: the last ones.
const COMPLAINT_CAP: usize = 1024;

/// Reason why a program gave no output; formatted to follow its name.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The program does not exist, cannot be executed, or was lost.
    #[error("cannot be run: {0}")]
    Run(#[from] io::Error),
    /// The program took too long, and was killed with its descendants.
    #[error("did not end within {0} seconds")]
    TimedOut(u64),
    /// The output exceeds its limit.
    #[error("printed more than 256 KiB")]
    TooLong,
    /// The program failed.
    #[error("failed: {status}{complaint}")]
    Status {
        /// Status such as `exit status: 1`.
        status: std::process::ExitStatus,
        /// `: ` and the last line of standard error, if any.
        complaint: String,
    },
}

/// Runs a program without a shell and returns its output. Blocks. The program counts as ended even
/// if another process still holds its output. Standard error is not forwarded; a failure contains
/// its last line.
///
/// # Errors
///
/// [`Failed`], which never contains standard output.
pub fn run(
    program: &Path,
    arguments: &[String],
    timeout: Duration,
) -> Result<Zeroizing<Vec<u8>>, Failed> {
    let caps = Caps {
        output: OUTPUT_CAP,
        complaints: COMPLAINT_CAP,
    };
    let (status, printed) = process::run(program, arguments, Instant::now() + timeout, caps)?;
    let printed = printed.map_err(|incomplete| match incomplete {
        Incomplete::TimedOut => Failed::TimedOut(timeout.as_secs()),
        Incomplete::TooLong => Failed::TooLong,
        Incomplete::Lost(error) => Failed::Run(error),
    })?;
    if !status.success() {
        return Err(Failed::Status {
            status,
            complaint: complaint(&printed.complaints),
        });
    }
    Ok(printed.output)
}

/// Formats `: ` and the last line that is not empty.
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
            std::thread::sleep(Duration::from_millis(10));
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
