//! Bounded queue of records for another machine. A thread of its own sends them, and retries until
//! they are accepted.
//!
//! When the queue is full, `audit.on_full` decides: `continue` drops and counts messages (the file
//! still has them), `refuse` makes the writer wait, so that its own queue fills and logins are
//! refused.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::runtime::Runtime;

use super::record::AuditRecord;
use crate::config::OnFull;

/// Maximum size of the waiting messages, in octets.
const MAX_QUEUED: usize = 8 * 1024 * 1024;

/// Pause after the first failure, and its maximum: each failure doubles it.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// One kind of server: the form of its messages, and the log messages about it.
#[derive(Debug)]
pub(super) struct Receiver {
    /// Makes a message of a record and its sealed line.
    pub(super) message: fn(&AuditRecord, &[u8]) -> Vec<u8>,
    /// Log message when messages are dropped, and its remedy.
    pub(super) full: (&'static str, &'static str),
    /// Log message when messages cannot be sent, and its remedy.
    pub(super) unreachable: (&'static str, &'static str),
    /// Log message when records are sent again.
    pub(super) again: &'static str,
    /// Log message when records are left at the end.
    pub(super) unsent: &'static str,
}

/// Sends messages to one machine.
pub(super) trait Delivery {
    /// Address of the machine, for the log.
    fn address(&self) -> String;

    /// Maximum number of messages and of octets sent at once; a single message may be larger.
    fn batch(&self) -> (usize, usize);

    /// Sends messages in order, with its own deadlines.
    ///
    /// # Errors
    ///
    /// None of the messages counts as sent, and all are sent again.
    async fn deliver(&mut self, messages: &[Vec<u8>]) -> Result<(), Undelivered>;
}

/// Reason why messages were not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Undelivered {
    /// Retry after a pause.
    Later(String),
    /// Retry at once in smaller batches.
    Smaller,
}

/// Messages that wait for delivery.
#[derive(Debug)]
pub(super) struct Remote {
    on_full: OnFull,
    pub(super) receiver: &'static Receiver,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    octets: usize,
    /// Messages taken from the queue but not sent yet.
    sending: usize,
    dropped: u64,
    closed: bool,
}

impl Remote {
    pub(super) fn new(on_full: OnFull, receiver: &'static Receiver) -> Self {
        Self {
            on_full,
            receiver,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Adds the message of a sealed record. With `on_full: refuse` this waits for space.
    pub(super) fn pass(&self, record: &AuditRecord, line: &[u8]) {
        self.push((self.receiver.message)(record, line));
    }

    /// Adds a message. With `on_full: refuse` this waits for space.
    fn push(&self, message: Vec<u8>) {
        let mut state = self.state.lock();
        while state.octets > 0 && state.octets + message.len() > MAX_QUEUED && !state.closed {
            match self.on_full {
                OnFull::Continue => {
                    if state.dropped == 0 {
                        let (what, remedy) = self.receiver.full;
                        tracing::error!(remedy, "{what}");
                    }
                    state.dropped += 1;
                    return;
                }
                OnFull::Refuse => self.changed.wait(&mut state),
            }
        }
        state.octets += message.len();
        state.waiting.push_back(message);
        self.changed.notify_all();
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// Waits until everything is sent. Returns how many messages are not at the deadline.
    pub(super) fn finish(&self, deadline: Instant) -> usize {
        let mut state = self.state.lock();
        loop {
            let left = state.waiting.len() + state.sending;
            if left == 0 || deadline <= Instant::now() {
                return left;
            }
            self.changed.wait_until(&mut state, deadline);
        }
    }

    /// Takes the next messages; empty when the queue is closed.
    fn next(&self, (messages, octets): (usize, usize)) -> Vec<Vec<u8>> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() && !state.closed {
            self.changed.wait(&mut state);
        }
        let mut taken = Vec::new();
        let mut size = 0;
        while taken.len() < messages
            && let Some(message) = state
                .waiting
                .pop_front_if(|next| size == 0 || size + next.len() <= octets)
        {
            size += message.len();
            taken.push(message);
        }
        state.octets = state.octets.saturating_sub(size);
        state.sending = taken.len();
        self.changed.notify_all();
        taken
    }

    /// Records that messages were sent. Returns the number of dropped messages once the queue is
    /// half empty again.
    fn sent(&self, messages: usize) -> u64 {
        let mut state = self.state.lock();
        state.sending = state.sending.saturating_sub(messages);
        self.changed.notify_all();
        match state.octets < MAX_QUEUED / 2 {
            true => std::mem::take(&mut state.dropped),
            false => 0,
        }
    }

    /// Records that a message can never be sent. The number is logged with the next success.
    fn on_refused(&self) {
        let mut state = self.state.lock();
        state.sending = state.sending.saturating_sub(1);
        state.dropped += 1;
        self.changed.notify_all();
    }

    /// Sleeps. Returns false if the queue was closed.
    fn pause(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        let mut state = self.state.lock();
        while !state.closed {
            if end <= Instant::now() {
                return true;
            }
            self.changed.wait_until(&mut state, end);
        }
        false
    }

    /// Delivers messages until the queue is closed.
    pub(super) fn run(&self, runtime: &Runtime, mut delivery: impl Delivery) {
        let mut failing = false;
        let (mut pause, longest) = PAUSES;
        loop {
            let messages = self.next(delivery.batch());
            if messages.is_empty() {
                return;
            }
            let mut rest = &messages[..];
            let mut size = rest.len();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(size.min(rest.len()));
                match runtime.block_on(delivery.deliver(now)) {
                    Ok(()) => {
                        rest = later;
                        pause = PAUSES.0;
                        let dropped = self.sent(now.len());
                        if std::mem::take(&mut failing) || dropped > 0 {
                            let address = delivery.address();
                            tracing::info!(address, dropped, "{}", self.receiver.again);
                        }
                        continue;
                    }
                    Err(Undelivered::Smaller) if size > 1 => {
                        size = size.div_ceil(2);
                        continue;
                    }
                    Err(Undelivered::Smaller) => {
                        let octets = now.first().map_or(0, Vec::len);
                        tracing::error!(
                            octets,
                            address = delivery.address(),
                            remedy = "raise the size of a request that the server takes",
                            "an audit record is too large for the server; it was not sent"
                        );
                        self.on_refused();
                        rest = later;
                        continue;
                    }
                    Err(Undelivered::Later(why)) => {
                        if !std::mem::replace(&mut failing, true) {
                            let (what, remedy) = self.receiver.unreachable;
                            let address = delivery.address();
                            tracing::error!(address, error = why, remedy, "{what}");
                        }
                    }
                }
                if !self.pause(pause) {
                    return;
                }
                pause = (pause * 2).min(longest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVER: Receiver = Receiver {
        message: |_, line| line.to_vec(),
        full: ("full", "wait"),
        unreachable: ("unreachable", "wait"),
        again: "again",
        unsent: "unsent",
    };

    fn run(remote: &Remote, delivery: impl Delivery) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        remote.run(&runtime.unwrap(), delivery);
    }

    #[test]
    fn without_room_messages_are_dropped_and_counted() {
        let remote = Remote::new(OnFull::Continue, &RECEIVER);
        for _ in 0..5 {
            remote.push(vec![b'x'; MAX_QUEUED / 3]);
        }
        assert_eq!(remote.state.lock().waiting.len(), 3);
        assert_eq!(remote.state.lock().dropped, 2);
        assert_eq!(remote.finish(Instant::now()), 3);
    }

    /// Accepts messages that are small enough.
    struct Narrow(Vec<usize>);

    impl Delivery for &mut Narrow {
        fn address(&self) -> String {
            "test".into()
        }

        fn batch(&self) -> (usize, usize) {
            (8, 1000)
        }

        async fn deliver(&mut self, messages: &[Vec<u8>]) -> Result<(), Undelivered> {
            match messages.len() {
                ..=3 => {
                    self.0.push(messages.len());
                    Ok(())
                }
                _ => Err(Undelivered::Smaller),
            }
        }
    }

    /// Accepts no message of more than 100 octets.
    struct Low;

    impl Delivery for Low {
        fn address(&self) -> String {
            "test".into()
        }

        fn batch(&self) -> (usize, usize) {
            (8, 1000)
        }

        async fn deliver(&mut self, messages: &[Vec<u8>]) -> Result<(), Undelivered> {
            match messages.iter().all(|message| message.len() <= 100) {
                true => Ok(()),
                false => Err(Undelivered::Smaller),
            }
        }
    }

    #[test]
    fn messages_that_are_too_large_count_as_dropped() {
        let remote = Remote::new(OnFull::Continue, &RECEIVER);
        for octets in [100, 100, 101, 102] {
            remote.push(vec![b'x'; octets]);
        }
        remote.close();
        run(&remote, Low);
        assert_eq!(remote.finish(Instant::now()), 0);
        assert_eq!(remote.state.lock().dropped, 2);
    }

    #[test]
    fn batches_get_smaller_until_they_are_taken() {
        let remote = Remote::new(OnFull::Continue, &RECEIVER);
        for _ in 0..10 {
            remote.push(vec![b'x'; 100]);
        }
        remote.close();
        let mut narrow = Narrow(Vec::new());
        run(&remote, &mut narrow);
        assert_eq!(narrow.0, [2, 2, 2, 2, 2]);
        assert_eq!(remote.finish(Instant::now()), 0);
    }
}
