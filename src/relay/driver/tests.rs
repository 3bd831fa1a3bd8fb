//! Fairness: a peer that never stops sending, and another that has a line to send.

use std::sync::Arc;
use std::task::Waker;

use super::*;
use crate::relay::{ByteCounters, Tracker};
use crate::wire::Protocol;

/// Octets available on a connection at once.
const PIECE: usize = 64 * 1024;
const TURN: u64 = (ROUNDS * PIECE) as u64;
const FLOOD: u64 = 16 * TURN;

/// A peer that sends its lines and accepts everything.
struct Peer {
    lines: Vec<u8>,
    left: u64,
}

impl Peer {
    fn sending(octets: u64) -> Self {
        Self {
            lines: b"* 1 EXISTS\r\n".repeat(PIECE / 12 + 1),
            left: octets,
        }
    }
}

impl Connection for Peer {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        receive: &mut Receive<'_>,
    ) -> Poll<io::Result<bool>> {
        let octets = PIECE.min(self.left.try_into().unwrap());
        if octets == 0 {
            return Poll::Pending;
        }
        self.left -= octets as u64;
        receive(cx, &self.lines[..octets]);
        Poll::Ready(Ok(true))
    }

    fn send(&mut self, _cx: &mut Context<'_>, _octets: &[u8]) {}

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn close(&mut self) {}

    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }
}

/// A backend that only counts octets.
#[derive(Default)]
struct Counting(Arc<ByteCounters>);

impl<C> Backend<C> for Counting {
    fn request_permit(&mut self, _sender: &str) {}

    fn poll_permit(&mut self, _cx: &mut Context<'_>) -> Poll<Permit> {
        Poll::Pending
    }

    fn release_permit(&mut self) {}

    fn back_off(&mut self, _time: Duration) {}

    fn open_upstream(&mut self, _mailbox: &str) {}

    fn poll_upstream(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(C, Bytes), Box<Fault>>> {
        Poll::Pending
    }

    fn record(&mut self, _event: Event) {}

    fn on_end(&mut self, _end: &End) {}

    fn count(&mut self, client: usize, upstream: usize) {
        self.0.add(client, upstream);
    }
}

/// Maximum number of octets moved in one call of `poll`, in each direction, until nothing was left.
fn longest_turns(client: Peer, upstream: Peer) -> (u64, u64) {
    let now = Instant::now();
    let idle = Duration::from_secs(60);
    let machine = Machine::new(Tracker::new(Protocol::Imap), idle, now);
    let mut driver = Driver::new(machine, client, Some(upstream), Counting::default(), now);
    let counts = driver.backend().0.clone();
    let mut cx = Context::from_waker(Waker::noop());
    let (mut up, mut down) = (0, 0);
    loop {
        let before = (counts.up(), counts.down());
        assert!(driver.poll(now, &mut cx).is_pending());
        let moved = (counts.up() - before.0, counts.down() - before.1);
        if moved == (0, 0) {
            return (up, down);
        }
        (up, down) = (up.max(moved.0), down.max(moved.1));
    }
}

#[test]
fn an_upstream_that_never_stops_leaves_the_client_its_turn() {
    let (up, down) = longest_turns(Peer::sending(8), Peer::sending(FLOOD));
    assert_eq!((up, down), (8, TURN));
}

#[test]
fn a_client_that_never_stops_leaves_the_upstream_its_turn() {
    let (up, down) = longest_turns(Peer::sending(FLOOD), Peer::sending(12));
    assert_eq!((up, down), (TURN, 12));
}

/// A waker that counts its calls.
#[derive(Default)]
struct Wakes(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Octets after the end are discarded, sixteen pieces per call. Each call requests the next, since
/// a socket with unread octets wakes no task.
#[test]
fn a_session_that_closes_takes_all_that_a_client_still_sends() {
    let now = Instant::now();
    let machine = Machine::new(Tracker::new(Protocol::Imap), Duration::from_secs(60), now);
    let backend = Counting::default();
    let (client, upstream) = (Peer::sending(3 * TURN), Peer::sending(0));
    let mut driver = Driver::new(machine, client, Some(upstream), backend, now);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut cx = Context::from_waker(&waker);
    driver.stop(now, &mut cx);
    let mut turns = 0;
    while driver.client.left > 0 {
        let before = wakes.0.load(std::sync::atomic::Ordering::Relaxed);
        assert!(driver.poll(now, &mut cx).is_pending());
        let after = wakes.0.load(std::sync::atomic::Ordering::Relaxed);
        assert!(driver.client.left == 0 || after > before, "nobody wakes it");
        turns += 1;
        assert!(turns < 10, "{} octets left", driver.client.left);
    }
}
