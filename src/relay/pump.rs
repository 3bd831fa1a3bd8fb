//! The two directions of a session that is relayed, in one future.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::{ClosedBy, Counts, Leave, News, Terms, Watch};
use crate::stream::Stream;
use crate::wire::Protocol;

#[cfg(test)]
mod tests;

/// How long a direction may stay open without a byte after the other has ended.
const LINGER: Duration = Duration::from_secs(60);

/// How often one direction receives before the other has its turn; each time 64 KiB at most.
const ROUNDS: usize = 16;

/// Octets a second that a message has to come with, once [`TIME_TO_START`] has passed: a client
/// that trickles holds one of its mailbox's few places.
pub(super) const LEAST_RATE: u64 = 500;

/// How long a message may take beyond what [`LEAST_RATE`] allows.
const TIME_TO_START: Duration = Duration::from_secs(120);

/// How long an SMTP client may leave its replies unread.
const UNREAD: Duration = Duration::from_secs(300);

/// Why the pump stopped.
pub(super) enum Stop {
    /// Both directions have ended, the client's first or the upstream's.
    Finished(ClosedBy),
    /// The upstream has ended or broken; the client has everything it sent.
    UpstreamGone(Option<io::Error>),
    ClientGone(io::Error),
    Idle,
    /// One direction ended, and the other did not within [`LINGER`].
    Lingered(ClosedBy),
    Draining,
    /// A message came too slowly.
    Trickle,
    /// A gate ended the session; the client was told why.
    Refused,
}

/// Which directions have ended, and since when one of them has.
#[derive(Default)]
struct Ends {
    first: Option<(ClosedBy, Instant)>,
    client: bool,
    upstream: bool,
}

/// A message on its way from the client.
struct Upload {
    since: Instant,
    /// Octets relayed before it.
    before: u64,
}

impl Upload {
    fn due(&self, up: u64) -> Instant {
        let octets = up.saturating_sub(self.before);
        self.since + TIME_TO_START + Duration::from_millis(octets * 1000 / LEAST_RATE)
    }
}

pub(super) async fn pump(
    terms: &Terms,
    client: &mut Stream,
    upstream: &mut Stream,
    watch: &mut Watch,
    counts: &Counts,
    news: &mut (dyn FnMut(News) + Send),
) -> Stop {
    let mut timer = pin!(tokio::time::sleep(terms.idle_timeout));
    let mut drain = pin!(terms.drain.cancelled());
    let mut hard_stop = pin!(terms.stop.cancelled());
    let mut draining = false;
    let mut deadlines = Deadlines {
        active: Instant::now(),
        unread: false,
        ends: Ends::default(),
        hold: None,
        upload: None,
    };
    let stop = poll_fn(|cx| {
        let before = (counts.up(), counts.down());
        loop {
            let ends = &mut deadlines.ends;
            if let Poll::Ready(stop) = turn(client, upstream, watch, counts, ends, cx) {
                return Poll::Ready(stop);
            }
            if !watch.asks() {
                break;
            }
            match leave(terms, &mut deadlines.hold) {
                Leave::At(_) => break,
                leave => watch.leave(leave == Leave::Now, &mut |bytes| upstream.send(cx, bytes)),
            }
        }
        if before != (counts.up(), counts.down()) {
            deadlines.active = Instant::now();
        }
        tell(terms, watch, news);
        deadlines.look(terms, client, upstream, watch, counts);
        if hard_stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Stop::Draining);
        }
        draining = draining || drain.as_mut().poll(cx).is_ready();
        if draining && watch.is_idle() && upstream.is_flushed() && client.is_flushed() {
            return Poll::Ready(Stop::Draining);
        }
        poll_deadline(terms, &deadlines, counts, timer.as_mut(), cx)
    })
    .await;
    // What the last turn brought, a refusal that ends the session included.
    tell(terms, watch, news);
    stop
}

/// Hands on what the watch has learned.
fn tell(terms: &Terms, watch: &mut Watch, news: &mut (dyn FnMut(News) + Send)) {
    let Some(smtp) = watch.smtp_mut() else {
        return;
    };
    let ended = smtp.take_ended();
    if !ended.is_empty() {
        news(News::Ended(ended));
    }
    for fault in smtp.take_faults() {
        news(News::Refused(fault));
    }
    if let (Some(postmaster), Some(backoff)) = (&terms.postmaster, smtp.take_backoff()) {
        postmaster.back_off(backoff);
    }
}

/// Whether the message that waits may go now.
fn leave(terms: &Terms, hold: &mut Option<Instant>) -> Leave {
    let leave = match (&terms.postmaster, *hold) {
        (None, _) => Leave::Now,
        (Some(_), Some(then)) => Leave::At(then),
        (Some(postmaster), None) => postmaster.message(),
    };
    match leave {
        Leave::At(then) if then > Instant::now() => {
            *hold = Some(then);
            leave
        }
        Leave::At(_) | Leave::Now => {
            *hold = None;
            Leave::Now
        }
        Leave::Never => Leave::Never,
    }
}

/// What the end of a wait depends on.
struct Deadlines {
    /// When the last byte came.
    active: Instant,
    /// The client does not take what it is sent.
    unread: bool,
    ends: Ends,
    /// When a message may go that waits.
    hold: Option<Instant>,
    upload: Option<Upload>,
}

impl Deadlines {
    fn look(
        &mut self,
        terms: &Terms,
        client: &Stream,
        upstream: &Stream,
        watch: &Watch,
        counts: &Counts,
    ) {
        self.unread = terms.protocol == Protocol::Smtp && !client.is_flushed();
        let receiving = watch.smtp().is_some_and(super::smtp::Smtp::is_receiving);
        match (&self.upload, receiving) {
            (_, false) => self.upload = None,
            // An upstream that does not take it is not the client's fault.
            (Some(_), true) if upstream.is_flushed() || watch.is_cut() => {}
            (_, true) => {
                self.upload = Some(Upload {
                    since: Instant::now(),
                    before: counts.up(),
                });
            }
        }
    }

    fn next(&self, terms: &Terms, counts: &Counts) -> (Instant, Option<Stop>) {
        let (mut due, mut stop) = (self.active + terms.idle_timeout, Some(Stop::Idle));
        let mut sooner = |then: Instant, what| {
            if then < due {
                (due, stop) = (then, what);
            }
        };
        if let Some((by, since)) = self.ends.first {
            let then = since.max(self.active) + LINGER;
            sooner(then, Some(Stop::Lingered(by)));
        }
        if self.unread {
            sooner(self.active + UNREAD, Some(Stop::Idle));
        }
        if let Some(upload) = &self.upload {
            sooner(upload.due(counts.up()), Some(Stop::Trickle));
        }
        if let Some(hold) = self.hold {
            sooner(hold, None);
        }
        // A session that one side has ended is not idle, whatever the clock did meanwhile.
        match (stop, &self.ends.first) {
            (Some(Stop::Idle), Some((by, _))) => (due, Some(Stop::Lingered(*by))),
            (stop, _) => (due, stop),
        }
    }
}

/// The timer is moved only when it fires, so that a byte costs no timer operation.
fn poll_deadline(
    terms: &Terms,
    deadlines: &Deadlines,
    counts: &Counts,
    mut timer: Pin<&mut Sleep>,
    cx: &mut Context<'_>,
) -> Poll<Stop> {
    loop {
        let (due, stop) = deadlines.next(terms, counts);
        if due <= Instant::now() {
            match stop {
                Some(stop) => return Poll::Ready(stop),
                None => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        if timer.deadline() > due || timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
    }
}

/// Moves bytes both ways until neither direction can go on, or for [`ROUNDS`]: a side that never
/// stops sending must not keep the other waiting.
fn turn(
    client: &mut Stream,
    upstream: &mut Stream,
    watch: &mut Watch,
    counts: &Counts,
    ends: &mut Ends,
    cx: &mut Context<'_>,
) -> Poll<Stop> {
    settle(client, upstream, watch, cx);
    let mut rounds = 0;
    // Upstream to client: received only while the client takes what it is sent.
    while !watch.is_cut() {
        match client.poll_flush(cx) {
            Poll::Ready(Ok(())) if ends.upstream => return Poll::Ready(upstream_ended(ends)),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => return Poll::Ready(Stop::ClientGone(error)),
            Poll::Pending => break,
        }
        if rounds == ROUNDS {
            cx.waker().wake_by_ref();
            break;
        }
        rounds += 1;
        let received = upstream.poll_receive(cx, &mut |cx, bytes| {
            counts.add(0, bytes.len());
            watch.down(bytes, &mut |bytes| client.send(cx, bytes));
        });
        match received {
            Poll::Ready(Ok(true)) => settle(client, upstream, watch, cx),
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
    rounds = 0;
    // Client to upstream, in the same way.
    while !watch.is_over() && wants_input(watch, client) {
        if !watch.is_cut() {
            match upstream.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Stop::UpstreamGone(Some(error))),
                Poll::Pending => break,
            }
        }
        if ends.client {
            break;
        }
        if rounds == ROUNDS {
            cx.waker().wake_by_ref();
            break;
        }
        rounds += 1;
        let received = client.poll_receive(cx, &mut |cx, bytes| {
            counts.add(bytes.len(), 0);
            watch.up(bytes, &mut |bytes| upstream.send(cx, bytes));
        });
        match received {
            Poll::Ready(Ok(true)) => settle(client, upstream, watch, cx),
            Poll::Ready(Ok(false)) => {
                ends.client = true;
                ends.first.get_or_insert((ClosedBy::Client, Instant::now()));
                if let Some(smtp) = watch.smtp_mut() {
                    smtp.client_ended(&mut |bytes| upstream.send(cx, bytes));
                }
                upstream.close();
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Stop::ClientGone(error)),
            Poll::Pending => break,
        }
    }
    if watch.is_cut() {
        // Nothing but the end of the connection goes up, in the middle of the message.
        upstream.close();
        let _ = upstream.poll_flush(cx);
        if ends.client {
            return Poll::Ready(Stop::Finished(ClosedBy::Client));
        }
    }
    if watch.is_over() {
        return Poll::Ready(Stop::Refused);
    }
    // What TLS itself may have to say by now; an error shows in the next turn.
    let _ = client.poll_flush(cx);
    if !wants_input(watch, client) {
        // Held back until a reply has come; what was sent up has to go meanwhile.
        let _ = upstream.poll_flush(cx);
    }
    Poll::Pending
}

/// A gate takes no more than it can answer.
fn wants_input(watch: &Watch, client: &Stream) -> bool {
    match watch.smtp() {
        Some(smtp) if smtp.is_gated() => client.is_flushed() && smtp.wants_input(),
        _ => true,
    }
}

/// Sends what a gate has to say, and goes on with what it holds.
fn settle(client: &mut Stream, upstream: &mut Stream, watch: &mut Watch, cx: &mut Context<'_>) {
    while watch.is_owing() {
        client.send(cx, &watch.take_ours());
        if !client.is_flushed() {
            break;
        }
        watch.settle(&mut |bytes| upstream.send(cx, bytes));
    }
}

/// The client has all that the upstream sent. A mail service that ends its direction has ended
/// the session: there is nothing left to wait for.
fn upstream_ended(ends: &Ends) -> Stop {
    match ends.first {
        Some((ClosedBy::Client, _)) => Stop::Finished(ClosedBy::Client),
        _ => Stop::UpstreamGone(None),
    }
}
