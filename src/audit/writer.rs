//! The writer, the only code that seals and writes records.
//!
//! A piece that could not be written is kept and retried; until then no more records are taken from
//! the queue. A partially written line is removed again, so that readers find only whole lines. The
//! disk is synced (fdatasync) at most once a second, and whenever a caller waits for it.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chain::Chain;
use super::file::{self, AuditError, AuditFile};
use super::queue::Queue;
use super::record::AuditRecord;
use super::remote::Remote;
use super::sign::Signer;
use crate::config::AuditPath;
use crate::platform::{self, FileId};

/// Interval between syncs.
const SYNC: Duration = Duration::from_secs(1);

/// Pause before a failed write is retried.
const RETRY: Duration = Duration::from_millis(500);

/// Destination of the audit lines.
enum Sink {
    None,
    /// Standard output without the standard library's buffer, which might keep unwritten data.
    Stdout(File),
    File(AuditFile),
}

pub(super) struct Writer {
    queue: Arc<Queue>,
    remotes: Vec<Arc<Remote>>,
    signer: Option<Signer>,
    sink: Sink,
    chain: Chain,
    /// Sealed lines; `records` is their number, `written` the octets already written.
    pending: Vec<u8>,
    records: u64,
    written: usize,
    /// Sealed records not yet passed to the remotes, since they are not written. One piece at most.
    unsent: Vec<(AuditRecord, Vec<u8>)>,
    /// Records written but not synced.
    unsynced: u64,
    synced: Instant,
    /// Records since the last head.
    unsigned: u64,
    /// Whether the last write failed and was logged.
    failing: bool,
    /// Whether it was logged that records are dropped.
    dropping: bool,
}

impl Writer {
    /// Opens the destination in `path`.
    pub(super) fn open(
        path: Option<&AuditPath>,
        queue: Arc<Queue>,
        remotes: Vec<Arc<Remote>>,
        signer: Option<Signer>,
    ) -> Result<Self, AuditError> {
        let mut head = None;
        let sink = match path {
            None => Sink::None,
            Some(AuditPath::Stdout) => {
                let stdout = platform::unbuffered_stdout();
                Sink::Stdout(stdout.map_err(|error| AuditError::new(Path::new("-"), error))?)
            }
            Some(AuditPath::File(path)) => {
                let opened;
                (opened, head) = file::open(path)?;
                Sink::File(opened)
            }
        };
        let writer = Self {
            queue,
            remotes,
            signer,
            sink,
            chain: Chain::continuing_from(head),
            pending: Vec::new(),
            records: 0,
            written: 0,
            unsent: Vec::new(),
            unsynced: 0,
            unsigned: 0,
            synced: Instant::now(),
            failing: false,
            dropping: false,
        };
        writer.show_file();
        Ok(writer)
    }

    /// Runs until the queue is closed, and empty or not writable.
    pub(super) fn run(mut self) {
        self.log_head("started");
        // A torn line that could not be moved is logged at once.
        self.write();
        loop {
            let deadline = match (self.failing, self.unsynced) {
                (true, _) => Some(Instant::now() + RETRY),
                (false, 1..) => Some(self.synced + SYNC),
                (false, 0) => None,
            };
            let head_due = self.signer.as_ref().map(Signer::due);
            let deadline = deadline.into_iter().chain(head_due).min();
            let mut work = self.queue.take(!self.failing, deadline);
            let mut lines = self.seal(&work.records);
            self.records += work.records.len() as u64;
            self.unsigned += work.records.len() as u64;
            let head = self.head_due(work.finishing);
            let headed = head.is_some();
            if let Some(head) = head {
                lines.extend(self.seal(std::slice::from_ref(&head)));
                work.records.push(head);
            }
            if work.reopen {
                self.reopen();
            }
            self.write();
            let due = work.hurry || work.finishing || work.closed;
            let due = due || self.synced + SYNC <= Instant::now();
            if headed || (self.unsynced > 0 && due) {
                self.sync();
            }
            if headed && !self.failing {
                self.queue.on_head();
            }
            // Last, since this may wait with `on_full: refuse`. Lines that are not in the file yet
            // are held back: if they were lost there, the chain would fork.
            if !self.remotes.is_empty() {
                self.unsent.extend(work.records.into_iter().zip(lines));
                if !self.failing {
                    for (record, line) in self.unsent.drain(..) {
                        for remote in &self.remotes {
                            remote.pass(&record, &line);
                        }
                    }
                }
            }
            let idle = self.queue.is_empty() && self.pending.is_empty();
            if work.finishing && idle {
                self.log_head("finished");
                self.queue.finished();
            }
            if work.closed && (idle || self.failing) {
                return;
            }
        }
    }

    /// Signs a head if one is due: each hour, and at the end after further records.
    fn head_due(&mut self, finishing: bool) -> Option<AuditRecord> {
        let signer = self.signer.as_mut()?;
        let is_last = finishing && self.unsigned > 0 && self.queue.is_empty();
        if !is_last && signer.due() > Instant::now() {
            return None;
        }
        self.unsigned = 0;
        Some(AuditRecord {
            relay: self.queue.relay(),
            ..signer.sign(self.chain.head())
        })
    }

    /// Seals records, adds their lines to the pending ones, and returns them.
    fn seal(&mut self, records: &[AuditRecord]) -> Vec<Vec<u8>> {
        let seal = |record: &AuditRecord| {
            if let Some(dropped) = record.records {
                tracing::error!(
                    records = dropped,
                    remedy = "the disk or its file system is too slow or was full; audit.on_full: refuse would refuse logins instead",
                    "audit records were dropped; the chain says so too"
                );
            }
            // Strings and numbers always serialize.
            let line = self.chain.seal(record).unwrap_or_default();
            self.pending.extend_from_slice(&line);
            line
        };
        records.iter().map(seal).collect()
    }

    /// Writes pending lines, and logs failures.
    fn write(&mut self) {
        let is_torn = matches!(&self.sink, Sink::File(open) if open.torn.is_some());
        if self.pending.is_empty() && self.records == 0 && !is_torn {
            return;
        }
        match self.write_out() {
            Ok(()) => {
                self.unsynced += std::mem::take(&mut self.records);
                self.pending.clear();
                self.pending.shrink_to(64 * 1024);
                self.written = 0;
                self.queue.set_full(false);
                if std::mem::take(&mut self.failing) {
                    self.dropping = false;
                    tracing::info!("audit records are written again");
                }
            }
            Err(error) => {
                self.take_back();
                let dropped = self.queue.set_full(true);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(
                        path = %self.name(),
                        %error,
                        remedy = "free space or correct the path; with on_full: refuse no one can log in until then",
                        "audit records cannot be written"
                    );
                }
                if dropped > 0 && !std::mem::replace(&mut self.dropping, true) {
                    tracing::error!(
                        path = %self.name(),
                        remedy = "the chain will say how many; audit.on_full: refuse would refuse logins instead",
                        "audit records are dropped"
                    );
                }
            }
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        if let Sink::File(open) = &mut self.sink
            && let Some(end) = open.torn
        {
            file::repair_torn_end(&open.file, &open.path, end)?;
            open.torn = None;
        }
        while let Some(rest) = self
            .pending
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            let written = match &mut self.sink {
                Sink::None => Ok(rest.len()),
                Sink::Stdout(stdout) => stdout.write(rest),
                Sink::File(open) => (&*open.file).write(rest),
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(octets) => self.written += octets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Drops whole lines that were written. A partial line is removed from the file if possible,
    /// and completed later otherwise.
    fn take_back(&mut self) {
        let Some(AuditFile { file, .. }) = self.regular_file() else {
            return;
        };
        let written = self.pending.get(..self.written).unwrap_or_default();
        let whole = memchr::memrchr(b'\n', written).map_or(0, |at| at + 1);
        let part = (self.written - whole) as u64;
        let taken_back = file
            .metadata()
            .and_then(|metadata| file.set_len(metadata.len().saturating_sub(part)))
            .and_then(|()| (&**file).seek(SeekFrom::End(0)));
        if part == 0 || taken_back.is_ok() {
            self.pending.drain(..whole);
            self.written = 0;
        }
    }

    fn sync(&mut self) {
        if let Some(open) = self.regular_file()
            && let Err(error) = open.file.sync_data()
        {
            tracing::error!(path = %self.name(), %error, "the disk does not confirm audit records");
        }
        self.synced = Instant::now();
        self.queue.confirm(std::mem::take(&mut self.unsynced));
    }

    /// Continues the chain in the file that is now at the path.
    fn reopen(&mut self) {
        self.write();
        self.sync();
        let Sink::File(AuditFile { path, file, .. }) = &self.sink else {
            return;
        };
        let same = FileId::of_path(path)
            .and_then(|at_path| Ok((at_path, FileId::of_file(file)?)))
            .is_ok_and(|(at_path, open)| at_path == open);
        if same {
            return self.log_head("reopened");
        }
        match file::open(path) {
            Ok((opened, head)) => {
                if head.is_some_and(|head| head != self.chain.head()) {
                    tracing::warn!(
                        path = %path.display(),
                        "the new audit file holds records of another chain; verify will find a break in it"
                    );
                }
                self.sink = Sink::File(opened);
                self.show_file();
                self.log_head("reopened");
            }
            Err(error) => tracing::error!(
                %error,
                "the audit file cannot be opened again; records go on into the old one"
            ),
        }
    }

    /// Logs the head, since a copy outside the file reveals a truncation.
    fn log_head(&self, why: &str) {
        tracing::info!(
            head = %self.chain.head(),
            records = self.chain.records(),
            path = %self.name(),
            why,
            "audit"
        );
    }

    fn show_file(&self) {
        let shown = |open: &AuditFile| (open.file.clone(), open.path.clone());
        self.queue.file(self.regular_file().map(shown));
    }

    fn regular_file(&self) -> Option<&AuditFile> {
        match &self.sink {
            Sink::File(open) if open.is_regular => Some(open),
            Sink::File(_) | Sink::Stdout(_) | Sink::None => None,
        }
    }

    fn name(&self) -> String {
        match &self.sink {
            Sink::None => "(syslog)".into(),
            Sink::Stdout(_) => "-".into(),
            Sink::File(open) => open.path.display().to_string(),
        }
    }
}
