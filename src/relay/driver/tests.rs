//! A side that never stops sending, beside one that has a word to say.

use std::io::{Read as _, Write as _};
use std::net::TcpStream as Peer;
use std::sync::Arc;
use std::thread;

use socket2::SockRef;
use tokio::net::TcpListener;

use super::*;
use crate::relay::{ByteCounters, Tracker};
use crate::stream::Stream;
use crate::wire::Protocol;

const TURN: u64 = ROUNDS as u64 * 64 * 1024;
const FLOOD: u64 = 16 * TURN;
const ROOM: usize = 4 * 1024 * 1024;

/// Nothing but the count of octets.
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
    fn count(&mut self, client: usize, upstream: usize) {
        self.0.add(client, upstream);
    }
}

struct Plain(Stream);

impl Connection for Plain {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        receive: &mut (dyn FnMut(&mut Context<'_>, &[u8]) + '_),
    ) -> Poll<io::Result<bool>> {
        self.0.poll_receive(cx, receive)
    }
    fn send(&mut self, cx: &mut Context<'_>, octets: &[u8]) {
        self.0.send(cx, octets);
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx)
    }
    fn close(&mut self) {
        self.0.close();
    }
    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }
}

/// One of the session's streams, and its peer, with as much room between them as the kernel gives.
async fn connected() -> (Stream, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().await.unwrap();
    for socket in [SockRef::from(&ours), SockRef::from(&peer)] {
        socket.set_recv_buffer_size(ROOM).unwrap();
        socket.set_send_buffer_size(ROOM).unwrap();
    }
    (Stream::new(ours), peer)
}

/// Has sent as much as there is room for, goes on without a pause, and ends.
fn flood(mut peer: Peer) {
    let lines = b"* 1 EXISTS\r\n".repeat(64 * 1024);
    let mut rest = FLOOD;
    let mut send = move |peer: &mut Peer| {
        while rest > 0 {
            let part = lines.len().min(rest.try_into().unwrap());
            match peer.write(&lines[..part]) {
                Ok(written) => rest -= written as u64,
                Err(_) => break,
            }
        }
    };
    peer.set_nonblocking(true).unwrap();
    send(&mut peer);
    peer.set_nonblocking(false).unwrap();
    thread::spawn(move || send(&mut peer));
}

/// Takes whatever comes, at once.
fn drain(mut peer: Peer) {
    thread::spawn(move || {
        let mut scratch = vec![0; ROOM];
        while peer.read(&mut scratch).is_ok_and(|octets| octets > 0) {}
    });
}

/// What one turn of the relay moved at most, up and down, until `done`.
async fn longest_turns(
    client: Stream,
    upstream: Stream,
    done: impl Fn(&ByteCounters) -> bool,
) -> (u64, u64) {
    let now = Instant::now();
    let machine = Machine::new(
        Tracker::new(Protocol::Imap),
        Duration::from_secs(60),
        now,
    );
    let (client, upstream) = (Plain(client), Plain(upstream));
    let mut driver = Driver::new(machine, client, Some(upstream), Counting::default(), now);
    let counts = driver.backend.0.clone();
    let (mut up, mut down) = (0, 0);
    poll_fn(|cx| {
        let before = (counts.up(), counts.down());
        let ended = driver.poll(Instant::now(), cx).is_ready();
        up = up.max(counts.up() - before.0);
        down = down.max(counts.down() - before.1);
        match ended || done(&counts) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    (up, down)
}

#[tokio::test]
async fn an_upstream_that_never_stops_leaves_the_client_its_turn() {
    let (client, mut application) = connected().await;
    let (upstream, service) = connected().await;
    application.write_all(b"a NOOP\r\n").unwrap();
    drain(application);
    flood(service);
    let (up, down) = longest_turns(client, upstream, |counts| counts.down() == FLOOD).await;
    assert!(down <= TURN, "{down} octets before the client's turn");
    assert_eq!(up, 8);
}

#[tokio::test]
async fn a_client_that_never_stops_leaves_the_upstream_its_turn() {
    let (client, application) = connected().await;
    let (upstream, mut service) = connected().await;
    service.write_all(b"* 1 EXISTS\r\n").unwrap();
    drain(service);
    flood(application);
    let (up, down) = longest_turns(client, upstream, |counts| counts.up() == FLOOD).await;
    assert!(up <= TURN, "{up} octets before the upstream's turn");
    assert_eq!(down, 12);
}
