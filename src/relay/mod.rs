//! After login: bytes both ways, unchanged.
//!
//! [`run`] is one future over two [`Stream`]s; it holds no buffer of its own. A [`Watch`] sees the
//! bytes in passing and knows, without keeping them, whether a reply, a literal or a message is
//! open: the only thing authrelay ever adds is a last word (`* BYE`, `421`) on a clean boundary.

mod framing;
mod imap;
mod pop3;
mod smtp;

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::fault::{Fault, Kind};
use crate::stream::Stream;
use crate::wire::Protocol;

/// How long a direction may stay open without a byte after the other has ended.
const LINGER: Duration = Duration::from_secs(60);

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a session's relay needs to know.
#[derive(Debug)]
pub struct Terms {
    /// What is spoken.
    pub protocol: Protocol,
    /// No byte either way for so long ends the session.
    pub idle_timeout: Duration,
    /// End at the next clean boundary.
    pub drain: CancellationToken,
    /// End now.
    pub stop: CancellationToken,
}

/// Who ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client.
    Client,
    /// The mail service.
    Upstream,
    /// We did.
    Authrelay,
}

impl ClosedBy {
    /// As in logs and audit records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Authrelay => "authrelay",
        }
    }
}

/// How a relay ended.
#[derive(Debug)]
pub struct Ended {
    /// Who began it.
    pub closed_by: ClosedBy,
    /// Where it was no orderly end.
    pub fault: Option<Fault>,
}

/// Octets relayed so far; kept outside so that a cancelled session has them too, and that others
/// may look.
#[derive(Debug, Default)]
pub struct Counts {
    up: AtomicU64,
    down: AtomicU64,
}

impl Counts {
    /// From client to upstream.
    pub fn up(&self) -> u64 {
        self.up.load(Ordering::Relaxed)
    }

    /// From upstream to client.
    pub fn down(&self) -> u64 {
        self.down.load(Ordering::Relaxed)
    }

    /// So many more went up and down.
    pub fn add(&self, up: usize, down: usize) {
        self.up.fetch_add(up as u64, Ordering::Relaxed);
        self.down.fetch_add(down as u64, Ordering::Relaxed);
    }
}

/// Messages that came to an end (SMTP).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Messages {
    /// The mail service took them.
    pub accepted: u64,
    /// It refused them.
    pub rejected: u64,
    /// The session ended before their final reply.
    pub lost: u64,
}

/// Sees a session in passing.
#[derive(Debug)]
pub enum Watch {
    /// RFC 9051.
    Imap(imap::Imap),
    /// RFC 1939.
    Pop3(pop3::Pop3),
    /// RFC 5321.
    Smtp(smtp::Smtp),
}

impl Watch {
    /// Of a session that was just logged in.
    pub fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Imap => Self::Imap(imap::Imap::default()),
            Protocol::Pop3 => Self::Pop3(pop3::Pop3::default()),
            Protocol::Smtp => Self::Smtp(smtp::Smtp::default()),
        }
    }

    /// Bytes of the client.
    pub fn up(&mut self, bytes: &[u8]) {
        match self {
            Self::Imap(watch) => watch.up(bytes),
            Self::Pop3(watch) => watch.up(bytes),
            Self::Smtp(watch) => watch.up(bytes),
        }
    }

    /// Bytes of the upstream.
    pub fn down(&mut self, bytes: &[u8]) {
        match self {
            Self::Imap(watch) => watch.down(bytes),
            Self::Pop3(watch) => watch.down(bytes),
            Self::Smtp(watch) => watch.down(bytes),
        }
    }

    /// Whether a line of ours may follow what the client got so far.
    pub fn may_speak(&self) -> bool {
        match self {
            Self::Imap(watch) => watch.may_speak(),
            Self::Pop3(watch) => watch.may_speak(),
            Self::Smtp(watch) => watch.may_speak(),
        }
    }

    /// Whether no command is being answered and no message is under way.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Imap(watch) => watch.is_idle(),
            Self::Pop3(watch) => watch.is_idle(),
            Self::Smtp(watch) => watch.is_idle(),
        }
    }

    /// What became of the session's messages, now that it has ended.
    pub fn messages(&self) -> Messages {
        match self {
            Self::Imap(_) | Self::Pop3(_) => Messages::default(),
            Self::Smtp(watch) => watch.messages(),
        }
    }

    /// Whether the upstream has announced the end (`BYE`, `221`, `421`), or the client was told
    /// to expect it (QUIT).
    pub fn said_goodbye(&self) -> bool {
        match self {
            Self::Imap(watch) => watch.said_goodbye(),
            Self::Pop3(watch) => watch.said_goodbye(),
            Self::Smtp(watch) => watch.said_goodbye(),
        }
    }
}

/// Why the pump stopped.
enum Stop {
    /// Both directions have ended, the client's first or the upstream's.
    Finished(ClosedBy),
    /// The upstream has ended or broken; the client has everything it sent.
    UpstreamGone(Option<io::Error>),
    ClientGone(io::Error),
    Idle,
    /// One direction ended, and the other did not within [`LINGER`].
    Lingered(ClosedBy),
    Draining,
}

/// Relays until the session ends. `client` and `upstream` are the session's streams, each with
/// nothing received but not handed on.
pub async fn run(
    terms: &Terms,
    client: &mut Stream,
    upstream: &mut Stream,
    watch: &mut Watch,
    counts: &Counts,
) -> Ended {
    let stop = pump(terms, client, upstream, watch, counts).await;
    let (closed_by, fault) = match stop {
        Stop::Finished(by) => (by, None),
        Stop::ClientGone(error) => {
            tracing::debug!(%error, "the client's connection broke");
            (ClosedBy::Client, None)
        }
        Stop::UpstreamGone(_) if watch.said_goodbye() => (ClosedBy::Upstream, None),
        Stop::UpstreamGone(error) => {
            let how = error.map_or_else(
                || "was closed".to_owned(),
                |error| format!("broke: {error}"),
            );
            let fault = Fault::new(Kind::Lost, format!("the mail service's connection {how}"))
                .remedy_is(
                    "the mail service ended the session; applications log in again by themselves",
                );
            (ClosedBy::Upstream, Some(fault))
        }
        Stop::Idle => {
            let idle = terms.idle_timeout.as_secs();
            let fault = Fault::new(Kind::Idle, format!("no byte either way for {idle} s"));
            (ClosedBy::Authrelay, Some(fault))
        }
        Stop::Lingered(by) => (by, None),
        Stop::Draining => (
            ClosedBy::Authrelay,
            Some(Fault::new(Kind::Draining, "shutting down")),
        ),
    };
    let words = match &fault {
        Some(fault) if watch.may_speak() && !watch.said_goodbye() => {
            fault.reply(terms.protocol, None).text
        }
        _ => Bytes::new(),
    };
    farewell(client, upstream, &words).await;
    Ended { closed_by, fault }
}

/// The client's last words; both connections end.
async fn farewell(client: &mut Stream, upstream: &mut Stream, words: &[u8]) {
    let to_client = async {
        if client.write(words).await.is_ok() {
            client.finish().await;
        }
    };
    // Nothing but an end goes up: a message that is under way must not look complete.
    let to_upstream = async {
        upstream.close();
        let _ = poll_fn(|cx| upstream.poll_flush(cx)).await;
    };
    let _ = tokio::time::timeout(FAREWELL, async { tokio::join!(to_client, to_upstream) }).await;
}

/// Which directions have ended, and since when one of them has.
#[derive(Default)]
struct Ends {
    first: Option<(ClosedBy, Instant)>,
    client: bool,
    upstream: bool,
}

async fn pump(
    terms: &Terms,
    client: &mut Stream,
    upstream: &mut Stream,
    watch: &mut Watch,
    counts: &Counts,
) -> Stop {
    let mut active = Instant::now();
    let mut timer = pin!(tokio::time::sleep(terms.idle_timeout));
    let mut drain = pin!(terms.drain.cancelled());
    let mut hard_stop = pin!(terms.stop.cancelled());
    let mut draining = false;
    let mut ends = Ends::default();
    poll_fn(|cx| {
        let before = (counts.up(), counts.down());
        if let Poll::Ready(stop) = turn(client, upstream, watch, counts, &mut ends, cx) {
            return Poll::Ready(stop);
        }
        if before != (counts.up(), counts.down()) {
            active = Instant::now();
        }
        if hard_stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Stop::Draining);
        }
        draining = draining || drain.as_mut().poll(cx).is_ready();
        if draining && watch.is_idle() && upstream.is_flushed() && client.is_flushed() {
            return Poll::Ready(Stop::Draining);
        }
        poll_deadline(terms, &ends, active, timer.as_mut(), cx)
    })
    .await
}

/// The timer is moved only when it fires, so that a byte costs no timer operation.
fn poll_deadline(
    terms: &Terms,
    ends: &Ends,
    active: Instant,
    mut timer: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Poll<Stop> {
    loop {
        let idle = active + terms.idle_timeout;
        let due = match ends.first {
            Some((_, since)) => idle.min(since.max(active) + LINGER),
            None => idle,
        };
        if due <= Instant::now() {
            return Poll::Ready(match ends.first {
                Some((by, _)) => Stop::Lingered(by),
                None => Stop::Idle,
            });
        }
        if timer.deadline() > due || timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
    }
}

/// Moves bytes both ways until neither direction can go on.
fn turn(
    client: &mut Stream,
    upstream: &mut Stream,
    watch: &mut Watch,
    counts: &Counts,
    ends: &mut Ends,
    cx: &mut Context<'_>,
) -> Poll<Stop> {
    // Upstream to client: received only while the client takes what it is sent.
    loop {
        match client.poll_flush(cx) {
            Poll::Ready(Ok(())) if ends.upstream => return Poll::Ready(upstream_ended(ends)),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Stop::ClientGone(error)),
            Poll::Pending => break,
        }
        let received = upstream.poll_receive(cx, &mut |cx, bytes| {
            counts.add(0, bytes.len());
            watch.down(bytes);
            client.send(cx, bytes);
        });
        match received {
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) => {
                ends.upstream = true;
                ends.first
                    .get_or_insert((ClosedBy::Upstream, Instant::now()));
            }
            // What came before it is the client's all the same.
            Poll::Ready(Err(error)) => return Poll::Ready(Stop::UpstreamGone(Some(error))),
            Poll::Pending => break,
        }
    }
    // Client to upstream, in the same way.
    loop {
        match upstream.poll_flush(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Stop::UpstreamGone(Some(error))),
            Poll::Pending => break,
        }
        if ends.client {
            break;
        }
        let received = client.poll_receive(cx, &mut |cx, bytes| {
            counts.add(bytes.len(), 0);
            watch.up(bytes);
            upstream.send(cx, bytes);
        });
        match received {
            Poll::Ready(Ok(true)) => {}
            Poll::Ready(Ok(false)) => {
                ends.client = true;
                ends.first.get_or_insert((ClosedBy::Client, Instant::now()));
                upstream.close();
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Stop::ClientGone(error)),
            Poll::Pending => break,
        }
    }
    // What TLS itself may have to say by now; an error shows in the next turn.
    let _ = client.poll_flush(cx);
    Poll::Pending
}

/// The client has all that the upstream sent. A mail service that ends its direction has ended
/// the session: there is nothing left to wait for.
fn upstream_ended(ends: &Ends) -> Stop {
    match ends.first {
        Some((ClosedBy::Client, _)) => Stop::Finished(ClosedBy::Client),
        _ => Stop::UpstreamGone(None),
    }
}
