//! A fast IMAP client that measures whatever stands between it and the mail service.
//!
//! `load WHAT PORT LOGIN PIDS COUNT`, where
//!
//! - WHAT is `download`, `upload` (COUNT times a message of 50 MB in one session), `logins`
//!   (COUNT sessions from connect to LOGOUT, eight at a time), `idle` (COUNT sessions that are
//!   logged in and do nothing) or `hold` (COUNT sessions, each of which must answer in the end);
//! - LOGIN is `password:USER:PASSWORD` or `token:USER:TOKEN`;
//! - PIDS are the processes that are measured, with commas between them.
//!
//! It prints a line of JSON: seconds, CPU of the processes in ms, their memory in kB.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use authrelay::secret::Secret;
use authrelay::wire::sasl::xoauth2;

/// Octets of an upload.
const OCTETS: usize = 50_000_000;

/// Logins at the same time.
const TOGETHER: usize = 8;

/// No answer takes longer, or something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> io::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [what, port, login, pids, count] = arguments.as_slice() else {
        return Err(wrong("usage: load WHAT PORT LOGIN PIDS COUNT"));
    };
    let number = |text: &String| text.parse().map_err(|_| wrong("a number is none"));
    let target = Target {
        port: u16::try_from(number(port)?).map_err(io::Error::other)?,
        login: command(login)?,
    };
    let measured = Measured(pids.split(',').map(str::to_owned).collect());
    let count = number(count)?;
    rlimit::increase_nofile_limit(rlimit::INFINITY)?;
    // What is done once, such as fetching the token, is done now.
    for _ in 0..TOGETHER {
        target.log_in()?.log_out()?;
    }
    let result = match what.as_str() {
        "download" => download(&target, &measured, count)?,
        "upload" => upload(&target, &measured, count)?,
        "logins" => logins(&target, &measured, count)?,
        "idle" => idle(&target, &measured, count)?,
        "hold" => hold(&target, count)?,
        _ => return Err(wrong("no such measurement")),
    };
    println!("{result}");
    Ok(())
}

fn wrong(what: &str) -> io::Error {
    io::Error::other(what.to_owned())
}

/// `LOGIN …` or `AUTHENTICATE …`, as the argument wants it.
fn command(login: &str) -> io::Result<String> {
    let mut parts = login.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("password"), Some(user), Some(password)) => {
            Ok(format!("LOGIN \"{user}\" \"{password}\""))
        }
        (Some("token"), Some(user), Some(token)) => Ok(format!(
            "AUTHENTICATE XOAUTH2 {}",
            xoauth2(user, &Secret::from(token)).expose()
        )),
        _ => Err(wrong("LOGIN is password:USER:PASSWORD or token:USER:TOKEN")),
    }
}

struct Target {
    port: u16,
    login: String,
}

struct Session {
    input: BufReader<TcpStream>,
    output: TcpStream,
    line: String,
}

impl Target {
    fn log_in(&self) -> io::Result<Session> {
        let output = TcpStream::connect(("127.0.0.1", self.port))?;
        output.set_nodelay(true)?;
        output.set_read_timeout(Some(PATIENCE))?;
        let mut session = Session {
            // An idle session of ours should cost little as well.
            input: BufReader::with_capacity(512, output.try_clone()?),
            output,
            line: String::new(),
        };
        session.read_line()?;
        session.run(&self.login)?;
        Ok(session)
    }
}

impl Session {
    fn read_line(&mut self) -> io::Result<()> {
        self.line.clear();
        match self.input.read_line(&mut self.line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn send(&mut self, command: &str) -> io::Result<()> {
        self.output.write_all(format!("t {command}\r\n").as_bytes())
    }

    fn until_tagged(&mut self) -> io::Result<()> {
        loop {
            self.read_line()?;
            if let Some(status) = self.line.strip_prefix("t ") {
                return match status.starts_with("OK") {
                    true => Ok(()),
                    false => Err(wrong(status)),
                };
            }
        }
    }

    fn run(&mut self, command: &str) -> io::Result<()> {
        self.send(command)?;
        self.until_tagged()
    }

    fn log_out(mut self) -> io::Result<()> {
        self.run("LOGOUT")?;
        // The server closes first, so that no port of ours waits in TIME_WAIT.
        match self.input.read_line(&mut self.line)? {
            0 => Ok(()),
            _ => Err(wrong("words behind the last")),
        }
    }
}

/// Processes, seen through `/proc`.
struct Measured(Vec<String>);

impl Measured {
    /// Time on a CPU, user and system, of all threads there are, in ms.
    fn cpu(&self) -> io::Result<f64> {
        let mut nanoseconds = 0.0;
        for pid in &self.0 {
            for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
                let first = text.split(' ').next().unwrap_or_default();
                nanoseconds += first.parse::<f64>().map_err(io::Error::other)?;
            }
        }
        Ok(nanoseconds / 1e6)
    }

    /// Proportional set size, in kB.
    fn memory(&self) -> io::Result<f64> {
        let mut sum = 0.0;
        for pid in &self.0 {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            let kilobytes = line.and_then(|line| line.split_whitespace().next());
            sum += kilobytes
                .unwrap_or_default()
                .parse::<f64>()
                .map_err(io::Error::other)?;
        }
        Ok(sum)
    }

    /// Runs `work` and says what it took, for each of `count`.
    fn during(
        &self,
        count: usize,
        work: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<(f64, f64)> {
        let (cpu, start) = (self.cpu()?, Instant::now());
        work()?;
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), self.cpu()? - cpu);
        Ok((seconds / count as f64, cpu / count as f64))
    }
}

fn transfer(octets: usize, (seconds, cpu): (f64, f64)) -> String {
    let speed = octets as f64 / 1e6 / seconds;
    format!("{{\"mb_per_s\": {speed:.1}, \"cpu_ms\": {cpu:.3}}}")
}

fn download(target: &Target, measured: &Measured, count: usize) -> io::Result<String> {
    let mut session = target.log_in()?;
    session.run("SELECT INBOX")?;
    let mut buffer = vec![0; 1024 * 1024];
    let mut octets = 0;
    let mut fetch = || {
        // The large message is the last.
        session.send("FETCH * BODY.PEEK[]")?;
        session.read_line()?;
        let literal = session
            .line
            .trim_end()
            .rsplit('{')
            .next()
            .and_then(|end| end.strip_suffix('}'));
        octets = literal
            .unwrap_or_default()
            .parse()
            .map_err(|_| wrong(&session.line))?;
        let mut left = octets;
        while left > 0 {
            let room = left.min(buffer.len());
            let piece = buffer.get_mut(..room).unwrap_or_default();
            match session.input.read(piece)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => left -= read,
            }
        }
        session.until_tagged()
    };
    fetch()?;
    let took = measured.during(count, || (0..count).try_for_each(|_| fetch()))?;
    let result = transfer(octets, took);
    session.log_out()?;
    Ok(result)
}

fn upload(target: &Target, measured: &Measured, count: usize) -> io::Result<String> {
    let mut session = target.log_in()?;
    session.run("SELECT Drafts")?;
    let message = vec![b'x'; OCTETS];
    let mut sum = (0.0, 0.0);
    for _ in 0..count {
        let (seconds, cpu) = measured.during(1, || {
            session.send(&format!("APPEND Drafts {{{OCTETS}}}"))?;
            session.read_line()?;
            if !session.line.starts_with('+') {
                return Err(wrong(&session.line));
            }
            session.output.write_all(&message)?;
            session.output.write_all(b"\r\n")?;
            session.until_tagged()
        })?;
        sum = (sum.0 + seconds, sum.1 + cpu);
        session.run("STORE 1:* +FLAGS (\\Deleted)")?;
        session.run("EXPUNGE")?;
    }
    session.log_out()?;
    Ok(transfer(
        OCTETS,
        (sum.0 / count as f64, sum.1 / count as f64),
    ))
}

fn logins(target: &Target, measured: &Measured, count: usize) -> io::Result<String> {
    let left = AtomicUsize::new(count);
    let one_after_the_other = || {
        let take = |left: usize| left.checked_sub(1);
        while left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
        {
            target.log_in()?.log_out()?;
        }
        Ok(())
    };
    let (seconds, cpu) = measured.during(count, || {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..TOGETHER)
                .map(|_| scope.spawn(one_after_the_other))
                .collect();
            threads.into_iter().try_for_each(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(wrong("a client panicked")))
            })
        })
    })?;
    Ok(format!(
        "{{\"per_s\": {:.0}, \"cpu_ms\": {cpu:.4}}}",
        1.0 / seconds
    ))
}

fn sessions(target: &Target, count: usize) -> io::Result<Vec<Session>> {
    let mut sessions = Vec::new();
    for number in 0..count {
        let session = target.log_in();
        sessions
            .push(session.map_err(|error| io::Error::other(format!("session {number}: {error}")))?);
    }
    Ok(sessions)
}

fn idle(target: &Target, measured: &Measured, count: usize) -> io::Result<String> {
    let base = measured.memory()?;
    let sessions = sessions(target, count)?;
    let kilobytes = (measured.memory()? - base) / count as f64;
    let kept = sessions.len();
    Ok(format!(
        "{{\"kb\": {kilobytes:.2}, \"base_kb\": {base:.0}, \"sessions\": {kept}}}"
    ))
}

fn hold(target: &Target, count: usize) -> io::Result<String> {
    let start = Instant::now();
    let mut sessions = sessions(target, count)?;
    let seconds = start.elapsed().as_secs_f64();
    for session in &mut sessions {
        session.run("NOOP")?;
    }
    Ok(format!(
        "{{\"held\": {}, \"seconds\": {seconds:.1}}}",
        sessions.len()
    ))
}
