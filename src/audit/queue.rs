//! Bounded queue between sessions and the writer, on which sessions never wait.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::record::AuditRecord;
use crate::config::OnFull;
use crate::platform;

/// Octets of waiting records above which records are dropped or logins refused.
pub(super) const QUEUE_FULL: usize = 8 * 1024 * 1024;

/// Octets of waiting records allowed for logged-in sessions with `on_full: refuse`.
const RESERVE: usize = 64 * 1024 * 1024;

/// Octets of records that are written as one piece.
const BATCH: usize = 256 * 1024;

/// Period in which records are collected into one piece: waking the writer for each would cost as
/// much as the record.
const GATHER: Duration = Duration::from_millis(30);

/// Queue and conditions shared by the writer and its users.
#[derive(Debug)]
pub(super) struct Queue {
    on_full: OnFull,
    /// Name of this relay, if it is one of several.
    relay: Option<String>,
    state: Mutex<State>,
    /// Signals work for the writer.
    work: Condvar,
    /// Signals that the writer has confirmed records.
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<AuditRecord>,
    octets: usize,
    /// Records dropped since the last waiting record.
    dropped: u64,
    /// Number of accepted records; `confirmed` counts those synced to disk.
    pushed: u64,
    confirmed: u64,
    /// Whether the last write failed.
    full: bool,
    reopen: bool,
    /// Whether a caller waits for the disk, or a failed write should be retried.
    hurry: bool,
    /// Whether a caller waits for the end, and for the head in the log.
    finishing: bool,
    closed: bool,
    /// The file, used to query free space.
    file: Option<(Arc<File>, PathBuf)>,
    /// Time at which the last signed head was written, in seconds since 1970.
    head_signed: u64,
}

/// Work for the writer: records and requests.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) records: Vec<AuditRecord>,
    pub(super) reopen: bool,
    pub(super) hurry: bool,
    pub(super) finishing: bool,
    pub(super) closed: bool,
}

impl Queue {
    pub(super) fn new(on_full: OnFull, relay: Option<String>) -> Self {
        Self {
            on_full,
            relay,
            state: Mutex::new(State {
                head_signed: unix_now(),
                ..State::default()
            }),
            work: Condvar::new(),
            settled: Condvar::new(),
        }
    }

    /// Name of this relay, if it is one of several.
    pub(super) fn relay(&self) -> Option<String> {
        self.relay.clone()
    }
    pub(super) fn push(&self, record: AuditRecord) {
        let mut state = self.state.lock();
        let octets = record.octets();
        let most = match self.on_full {
            OnFull::Refuse if record.admitted() => RESERVE,
            _ => QUEUE_FULL,
        };
        if state.octets + octets > most {
            state.dropped += 1;
            if state.waiting.is_empty() {
                self.work.notify_one();
            }
            return;
        }
        // The writer wakes for the first record, then collects others until the piece is full.
        let gathered = state.octets < BATCH && state.octets + octets >= BATCH;
        let wakes = (state.waiting.is_empty() && state.dropped == 0) || gathered;
        state.mark_dropped();
        state.octets += octets;
        state.pushed += 1;
        state.waiting.push_back(record);
        drop(state);
        if wakes {
            self.work.notify_one();
        }
    }

    /// Whether logins must be refused at the moment.
    pub(super) fn blocks_logins(&self) -> bool {
        if self.on_full == OnFull::Continue {
            return false;
        }
        let mut state = self.state.lock();
        if state.full || state.octets > QUEUE_FULL {
            // Retried, since there may be space again.
            state.hurry = true;
            self.work.notify_one();
            return true;
        }
        let file = state.file.clone();
        drop(state);
        file.is_some_and(|(file, path)| platform::has_no_space(&file, &path))
    }

    pub(super) fn is_failing(&self) -> bool {
        self.state.lock().full
    }

    /// Time at which the last signed head was written; at first the start.
    pub(super) fn head_signed(&self) -> u64 {
        self.state.lock().head_signed
    }

    /// Records that a signed head was written.
    pub(super) fn on_head(&self) {
        self.state.lock().head_signed = unix_now();
    }

    pub(super) fn reopen(&self) {
        self.state.lock().reopen = true;
        self.work.notify_one();
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_one();
    }

    /// Waits until all records so far are confirmed. Returns how many are not at the deadline.
    pub(super) fn finish(&self, deadline: Instant) -> usize {
        let mut state = self.state.lock();
        let target = state.pushed + u64::from(state.dropped > 0);
        state.finishing = true;
        while state.confirmed < target || state.finishing {
            if deadline <= Instant::now() {
                break;
            }
            state.hurry = true;
            self.work.notify_one();
            self.settled.wait_until(&mut state, deadline);
        }
        usize::try_from(target.saturating_sub(state.confirmed)).unwrap_or(usize::MAX)
    }

    /// Waits for work, until `deadline` at most. Returns records only if `wants_records`: a writer
    /// that cannot write leaves them in this bounded queue.
    pub(super) fn take(&self, wants_records: bool, deadline: Option<Instant>) -> Work {
        let mut state = self.state.lock();
        loop {
            let some = !state.waiting.is_empty() || state.dropped > 0;
            if (wants_records && (some || state.finishing))
                || state.reopen
                || state.hurry
                || state.closed
            {
                break;
            }
            match deadline {
                Some(end) if end <= Instant::now() => break,
                Some(end) => {
                    self.work.wait_until(&mut state, end);
                }
                None => self.work.wait(&mut state),
            }
        }
        if wants_records {
            self.gather(&mut state);
        }
        let mut work = Work {
            reopen: std::mem::take(&mut state.reopen),
            hurry: std::mem::take(&mut state.hurry),
            finishing: state.finishing,
            closed: state.closed,
            records: Vec::new(),
        };
        let mut octets = 0;
        while wants_records && octets < BATCH {
            if state.waiting.is_empty() {
                state.mark_dropped();
            }
            let Some(record) = state.waiting.pop_front() else {
                break;
            };
            octets += record.octets();
            work.records.push(AuditRecord {
                relay: self.relay.clone(),
                ..record
            });
        }
        state.octets = state.octets.saturating_sub(octets);
        work
    }

    /// Waits for more records, unless a caller waits.
    fn gather(&self, state: &mut MutexGuard<'_, State>) {
        let end = Instant::now() + GATHER;
        while !state.waiting.is_empty()
            && state.octets < BATCH
            && !(state.reopen || state.hurry || state.finishing || state.closed)
            && end > Instant::now()
        {
            self.work.wait_until(state, end);
        }
    }

    /// Confirms that this many more records are on disk.
    pub(super) fn confirm(&self, records: u64) {
        self.state.lock().confirmed += records;
        self.settled.notify_all();
    }

    /// Confirms that everything is written and the head is in the log.
    pub(super) fn finished(&self) {
        self.state.lock().finishing = false;
        self.settled.notify_all();
    }

    /// Sets whether the last write failed. Returns how many dropped records are not in the chain
    /// yet.
    pub(super) fn set_full(&self, full: bool) -> u64 {
        let mut state = self.state.lock();
        state.full = full;
        state.dropped
    }

    /// Number of dropped records that are not in the chain yet.
    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.waiting.is_empty() && state.dropped == 0
    }

    /// Sets the file that is being written.
    pub(super) fn file(&self, file: Option<(Arc<File>, PathBuf)>) {
        self.state.lock().file = file;
    }
}

impl State {
    /// Adds a record for dropped records.
    fn mark_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let record = AuditRecord::dropped(dropped);
            self.octets += record.octets();
            self.pushed += 1;
            self.waiting.push_back(record);
        }
    }
}

/// Seconds since 1970.
fn unix_now() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| since.as_secs())
}
