//! Between sessions and the writer: bounded, and it never makes a session wait.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::record::AuditRecord;
use crate::config::OnFull;
use crate::platform;

/// Octets of records that wait before records are dropped, or logins refused.
pub(super) const QUEUE_FULL: usize = 8 * 1024 * 1024;

/// With `on_full: refuse`, room for what sessions that are logged in have yet to record.
const RESERVE: usize = 64 * 1024 * 1024;

/// Octets of records that are written as one piece.
const BATCH: usize = 256 * 1024;

/// Time for which records gather before they are written as one piece: to wake the writer for each
/// costs as much as the record.
const GATHER: Duration = Duration::from_millis(30);

/// State that the writer shares with its users: the queue, and its conditions.
#[derive(Debug)]
pub(super) struct Queue {
    on_full: OnFull,
    /// Which of several relays this is.
    relay: Option<String>,
    state: Mutex<State>,
    /// There is something for the writer.
    work: Condvar,
    /// The writer has confirmed something.
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<AuditRecord>,
    octets: usize,
    /// Dropped since the last record that is waiting.
    dropped: u64,
    /// Records that came in, and those of them that the disk has confirmed.
    pushed: u64,
    confirmed: u64,
    /// Whether the last write failed.
    full: bool,
    reopen: bool,
    /// Somebody waits for the disk, or asks that a failed write be tried again.
    hurry: bool,
    /// Somebody waits for the end, and for the head in the log.
    finishing: bool,
    closed: bool,
    /// The file, to ask for its free space.
    file: Option<(Arc<File>, PathBuf)>,
    /// When the last signed head was written, in seconds since 1970.
    head_signed: u64,
}

/// Work for the writer: records, and what else was asked for.
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

    /// Name of this relay, where several are one.
    pub(super) fn relay(&self) -> Option<String> {
        self.relay.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, record: AuditRecord) {
        let mut state = self.lock();
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
        // The writer waits for the first, and gathers the others until there is a piece of them.
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

    /// Whether logins must be refused now.
    pub(super) fn blocks_logins(&self) -> bool {
        if self.on_full == OnFull::Continue {
            return false;
        }
        let mut state = self.lock();
        if state.full || state.octets > QUEUE_FULL {
            // There may be space again.
            state.hurry = true;
            self.work.notify_one();
            return true;
        }
        let file = state.file.clone();
        drop(state);
        file.is_some_and(|(file, path)| platform::has_no_space(&file, &path))
    }

    pub(super) fn is_failing(&self) -> bool {
        self.lock().full
    }

    /// When the last signed head was written; at first, the start.
    pub(super) fn head_signed(&self) -> u64 {
        self.lock().head_signed
    }

    /// A signed head was written.
    pub(super) fn on_head(&self) {
        self.lock().head_signed = unix_now();
    }

    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.work.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    /// Waits until all that came in so far is confirmed; gives how much is not at the deadline.
    pub(super) fn finish(&self, deadline: Instant) -> usize {
        let mut state = self.lock();
        let target = state.pushed + u64::from(state.dropped > 0);
        state.finishing = true;
        while state.confirmed < target || state.finishing {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                break;
            };
            state.hurry = true;
            self.work.notify_one();
            (state, _) = self
                .settled
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        usize::try_from(target.saturating_sub(state.confirmed)).unwrap_or(usize::MAX)
    }

    /// The writer's side: waits for something to do, until `deadline` at most. Records are taken
    /// only where `wants_records`: one who cannot write leaves them here, where they are bounded.
    pub(super) fn take(&self, wants_records: bool, deadline: Option<Instant>) -> Work {
        let mut state = self.lock();
        loop {
            let some = !state.waiting.is_empty() || state.dropped > 0;
            if (wants_records && (some || state.finishing))
                || state.reopen
                || state.hurry
                || state.closed
            {
                break;
            }
            state = match deadline.map(|end| end.checked_duration_since(Instant::now())) {
                Some(None) => break,
                Some(Some(left)) => {
                    self.work
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .work
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
        if wants_records {
            state = self.gather(state);
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

    /// Waits for more records, unless somebody waits for those that there are.
    fn gather<'s>(&'s self, mut state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        let end = Instant::now() + GATHER;
        while !state.waiting.is_empty()
            && state.octets < BATCH
            && !(state.reopen || state.hurry || state.finishing || state.closed)
            && let Some(left) = end.checked_duration_since(Instant::now())
        {
            (state, _) = self
                .work
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Confirms that this many more records are on disk, or as far as they can get.
    pub(super) fn confirm(&self, records: u64) {
        self.lock().confirmed += records;
        self.settled.notify_all();
    }

    /// Records that everything is written and the head is in the log.
    pub(super) fn finished(&self) {
        self.lock().finishing = false;
        self.settled.notify_all();
    }

    /// How the last write went. Gives how many records were dropped without having been marked.
    pub(super) fn set_full(&self, full: bool) -> u64 {
        let mut state = self.lock();
        state.full = full;
        state.dropped
    }

    /// Dropped, and not in the chain yet.
    #[cfg(test)]
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Whether there is anything to write or to do at once.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.waiting.is_empty() && state.dropped == 0
    }

    /// The file that is written now.
    pub(super) fn file(&self, file: Option<(Arc<File>, PathBuf)>) {
        self.lock().file = file;
    }
}

impl State {
    /// A gap becomes a record of its own.
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
