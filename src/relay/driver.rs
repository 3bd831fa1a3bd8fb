//! Drives a [`Machine`] over two connections.
//!
//! The one loop: flush both sides and inform the machine, ask it what to wait for, receive what it
//! waits for, do the actions in their order, and give it the time if nothing came. It is generic
//! over the connections and over what the session provides, so that the simulation drives the very
//! loop that the product does. Octets go from one connection's scratch buffer to the other without
//! a copy.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::drain::Drain;
use super::interface::{Action, End, Event, Input, Interest, Next, Permit};
use super::machine::{Machine, STOP_TIMEOUT};
use crate::fault::Fault;

/// Interval at which each side receives before others of the runtime have their turn; each time 64
/// KiB at most.
pub(super) const ROUNDS: usize = 16;

/// Function that takes received octets.
type Receive<'a> = dyn FnMut(&mut Context<'_>, &[u8]) + 'a;

/// Connection of one side of a session.
pub trait Connection {
    /// Receives once; `receive` is called with everything that came. `Ok(false)`: the peer has
    /// ended its direction.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        receive: &mut Receive<'_>,
    ) -> Poll<io::Result<bool>>;

    /// Sends, or keeps what the peer does not take.
    fn send(&mut self, cx: &mut Context<'_>, octets: &[u8]);

    /// Sends what is kept; ready when nothing is. An error is final.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends our direction after everything that was sent.
    fn close(&mut self);

    /// Ready with the reason once the connection is gone, whatever of it was not received.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error>;
}

/// Services of a session that its relay calls.
pub trait Backend<C> {
    /// Begins to wait for a permit to send a message of `sender`.
    fn request_permit(&mut self, sender: &str);

    /// The permit, once it is there.
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Permit>;

    /// Gives a permit back, or stops waiting for one.
    fn release_permit(&mut self);

    /// The mail service refuses the mailbox for this time.
    fn back_off(&mut self, time: Duration);

    /// Begins to log in to the upstream as `mailbox`.
    fn open_upstream(&mut self, mailbox: &str);

    /// The upstream and what it has said since, once it is logged in to.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Result<(C, Bytes), Box<Fault>>>;

    /// Records an event of the relay.
    fn record(&mut self, event: Event);

    /// Records how the session ended. Its connections are still to be closed.
    fn on_end(&mut self, end: &End);

    /// Counts octets received from the client and from the upstream.
    fn count(&mut self, client: usize, upstream: usize);
}

/// A session's connections and its machine.
#[derive(Debug)]
pub struct Driver<C, B> {
    machine: Machine,
    client: C,
    upstream: Option<C>,
    backend: B,
    awaits_permit: bool,
    awaits_upstream: bool,
    /// Nothing can be sent to the upstream any more; what it said before may still come.
    upstream_error: Option<io::Error>,
    closing: Option<Box<Closing>>,
    until: Instant,
}

/// The connections of a session that has ended.
#[derive(Debug)]
struct Closing {
    until: Instant,
    client_flushed: bool,
    client_ended: bool,
}

/// Actions that were asked for while one of the connections was in use.
#[derive(Default)]
struct Deferred {
    to_client: Vec<u8>,
    to_upstream: Vec<u8>,
    close_upstream: bool,
    drop_upstream: bool,
    request_permit: bool,
    open_upstream: bool,
}

impl<C: Connection, B: Backend<C>> Driver<C, B> {
    /// Takes over both connections of a session. `upstream` is none where the machine opens it.
    pub fn new(machine: Machine, client: C, upstream: Option<C>, backend: B, now: Instant) -> Self {
        Self {
            machine,
            client,
            upstream,
            backend,
            awaits_permit: false,
            awaits_upstream: false,
            upstream_error: None,
            closing: None,
            until: now,
        }
    }

    /// Takes octets of one side that came before the relay began.
    pub fn begin(&mut self, client: &[u8], upstream: &[u8], now: Instant, cx: &mut Context<'_>) {
        for input in [Input::Upstream(upstream), Input::Client(client)] {
            if let Input::Upstream([_, ..]) | Input::Client([_, ..]) = input {
                self.input(input, now, cx);
            }
        }
        self.backend.count(client.len(), upstream.len());
    }

    /// Goes on as far as possible. `Pending`: call it again when woken, and at
    /// [`Driver::until`].
    pub fn poll(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            if self.closing.is_some() {
                return self.poll_closed(now, cx);
            }
            self.flush(now, cx);
            let interest = match self.machine.next() {
                Next::Wait(interest) => interest,
                Next::End(end) => {
                    self.begin_closing(end, cx);
                    continue;
                }
            };
            // What has come counts before the time that has passed.
            if !self.poll_inputs(interest, now, cx) {
                self.until = interest.until;
                if interest.until > now {
                    return Poll::Pending;
                }
                self.input(Input::Timeout, now, cx);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// When to call [`Driver::poll`] again although nothing happened.
    pub fn until(&self) -> Instant {
        match &self.closing {
            Some(closing) => closing.until,
            None => self.until,
        }
    }

    /// The session has to end at its next reply boundary, at most this much later.
    pub fn drain(&mut self, within: Duration, now: Instant, cx: &mut Context<'_>) {
        match &mut self.closing {
            None => self.input(Input::Drain(within), now, cx),
            Some(closing) => closing.until = closing.until.min(now + within),
        }
    }

    /// The session has to end now.
    pub fn stop(&mut self, now: Instant, cx: &mut Context<'_>) {
        match &mut self.closing {
            None => self.input(Input::Stop, now, cx),
            Some(closing) => closing.until = closing.until.min(now + STOP_TIMEOUT),
        }
    }

    /// Gives the services of the session.
    pub fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    fn input(&mut self, input: Input<'_>, now: Instant, cx: &mut Context<'_>) {
        let mut deferred = Deferred::default();
        let (client, upstream) = (&mut self.client, &mut self.upstream);
        let backend = &mut self.backend;
        self.machine.handle(input, now, &mut |action| match action {
            Action::ToClient(octets) => client.send(cx, octets),
            Action::ToUpstream(octets) => {
                if let Some(upstream) = upstream {
                    upstream.send(cx, octets);
                }
            }
            other => deferred.take(other, backend),
        });
        self.apply(deferred, cx);
    }

    fn apply(&mut self, deferred: Deferred, cx: &mut Context<'_>) {
        if !deferred.to_client.is_empty() {
            self.client.send(cx, &deferred.to_client);
        }
        if let Some(upstream) = &mut self.upstream {
            if !deferred.to_upstream.is_empty() {
                upstream.send(cx, &deferred.to_upstream);
            }
            if deferred.close_upstream || deferred.open_upstream {
                upstream.close();
                let _ = upstream.poll_flush(cx);
            }
        }
        if deferred.drop_upstream || deferred.open_upstream {
            self.upstream = None;
            self.upstream_error = None;
        }
        self.awaits_permit |= deferred.request_permit;
        self.awaits_upstream |= deferred.open_upstream;
    }

    fn flush(&mut self, now: Instant, cx: &mut Context<'_>) {
        let client = match self.client.poll_flush(cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                return self.input(Input::ClientGone(error.to_string()), now, cx);
            }
            Poll::Pending => false,
        };
        let upstream = match &mut self.upstream {
            Some(upstream) if self.upstream_error.is_none() => match upstream.poll_flush(cx) {
                Poll::Ready(Ok(())) => true,
                // What it said before it went is the client's all the same.
                Poll::Ready(Err(error)) => {
                    self.upstream_error = Some(error);
                    true
                }
                Poll::Pending => false,
            },
            Some(_) | None => true,
        };
        self.input(Input::Flushed { client, upstream }, now, cx);
    }

    /// Takes what there is of what the machine waits for; whether there was anything.
    fn poll_inputs(&mut self, interest: Interest, now: Instant, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        if self.awaits_permit
            && let Poll::Ready(permit) = self.backend.poll_permit(cx)
        {
            self.awaits_permit = false;
            self.input(Input::Permit(permit), now, cx);
            moved = true;
        }
        if self.awaits_upstream
            && let Poll::Ready(opened) = self.backend.poll_upstream(cx)
        {
            self.awaits_upstream = false;
            match opened {
                Ok((upstream, said)) => {
                    self.upstream = Some(upstream);
                    self.input(Input::UpstreamOpened, now, cx);
                    if !said.is_empty() {
                        self.input(Input::Upstream(&said), now, cx);
                    }
                }
                Err(fault) => self.input(Input::UpstreamRefused(fault), now, cx),
            }
            moved = true;
        }
        if interest.upstream {
            moved |= self.receive_upstream(now, cx);
        }
        if interest.client {
            moved |= self.receive_client(now, cx);
        } else if interest.client_gone
            && let Poll::Ready(error) = self.client.poll_gone(cx)
        {
            self.input(Input::ClientGone(error.to_string()), now, cx);
            moved = true;
        }
        moved
    }

    fn receive_upstream(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let Some(upstream) = &mut self.upstream else {
            return false;
        };
        let mut deferred = Deferred::default();
        let (machine, client, backend) = (&mut self.machine, &mut self.client, &mut self.backend);
        let received = upstream.poll_receive(cx, &mut |cx, octets| {
            backend.count(0, octets.len());
            machine.handle(Input::Upstream(octets), now, &mut |action| match action {
                Action::ToClient(octets) => client.send(cx, octets),
                other => deferred.take(other, backend),
            });
        });
        self.apply(deferred, cx);
        let input = match (received, &self.upstream_error) {
            (Poll::Ready(Ok(true)), _) => return true,
            (_, Some(error)) => Input::UpstreamGone(error.to_string()),
            (Poll::Ready(Ok(false)), None) => Input::UpstreamEnded,
            (Poll::Ready(Err(error)), None) => Input::UpstreamGone(error.to_string()),
            (Poll::Pending, None) => return false,
        };
        self.input(input, now, cx);
        true
    }

    fn receive_client(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let mut deferred = Deferred::default();
        let (machine, upstream, backend) =
            (&mut self.machine, &mut self.upstream, &mut self.backend);
        let received = self.client.poll_receive(cx, &mut |cx, octets| {
            backend.count(octets.len(), 0);
            machine.handle(Input::Client(octets), now, &mut |action| match action {
                Action::ToUpstream(octets) => {
                    if let Some(upstream) = upstream {
                        upstream.send(cx, octets);
                    }
                }
                other => deferred.take(other, backend),
            });
        });
        self.apply(deferred, cx);
        let input = match received {
            Poll::Ready(Ok(true)) => return true,
            Poll::Ready(Ok(false)) => Input::ClientEnded,
            Poll::Ready(Err(error)) => Input::ClientGone(error.to_string()),
            Poll::Pending => return false,
        };
        self.input(input, now, cx);
        true
    }

    /// Sends the final reply and ends both connections; nothing but an end goes to the upstream,
    /// where a message that is in progress must not look complete.
    fn begin_closing(&mut self, end: End, cx: &mut Context<'_>) {
        if self.awaits_permit || self.upstream.is_none() {
            self.backend.release_permit();
        }
        self.backend.on_end(&end);
        self.awaits_permit = false;
        self.awaits_upstream = false;
        self.client.send(cx, &end.reply);
        self.client.close();
        if let Some(upstream) = &mut self.upstream {
            upstream.close();
        }
        self.closing = Some(Box::new(Closing {
            until: end.close_by,
            client_flushed: false,
            client_ended: false,
        }));
    }

    /// Closing over octets that were not received resets a connection, and the final reply would
    /// be lost: what the client still sends is discarded until it ends its direction.
    fn poll_closed(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(upstream) = &mut self.upstream
            && upstream.poll_flush(cx).is_ready()
        {
            self.upstream = None;
            self.backend.release_permit();
        }
        let Some(closing) = &mut self.closing else {
            return Poll::Pending;
        };
        for round in 0..=ROUNDS {
            if closing.client_ended {
                break;
            }
            if round == ROUNDS {
                cx.waker().wake_by_ref();
                break;
            }
            if !closing.client_flushed {
                match self.client.poll_flush(cx) {
                    Poll::Ready(Ok(())) => closing.client_flushed = true,
                    Poll::Ready(Err(_)) => closing.client_ended = true,
                    Poll::Pending => break,
                }
                continue;
            }
            match self.client.poll_receive(cx, &mut |_, _| {}) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => closing.client_ended = true,
                Poll::Pending => break,
            }
        }
        if (closing.client_ended && self.upstream.is_none()) || closing.until <= now {
            self.backend.release_permit();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Deferred {
    fn take<C>(&mut self, action: Action<'_>, backend: &mut impl Backend<C>) {
        match action {
            Action::ToClient(octets) => self.to_client.extend_from_slice(octets),
            Action::ToUpstream(octets) => self.to_upstream.extend_from_slice(octets),
            Action::CloseUpstream => self.close_upstream = true,
            Action::DropUpstream => self.drop_upstream = true,
            Action::RequestPermit(sender) => {
                backend.request_permit(sender);
                self.request_permit = true;
            }
            Action::ReleasePermit => backend.release_permit(),
            Action::OpenUpstream(mailbox) => {
                backend.open_upstream(mailbox);
                self.open_upstream = true;
            }
            Action::BackOff(time) => backend.back_off(time),
            Action::Record(event) => backend.record(event),
        }
    }
}

/// Relays until the session has ended and its connections are closed.
pub async fn run<C: Connection, B: Backend<C>>(
    driver: &mut Driver<C, B>,
    drain: &Drain,
    stop: &CancellationToken,
) {
    let mut timer = pin!(tokio::time::sleep_until(driver.until()));
    let mut request = pin!(drain.requested_before(None));
    let mut stop = pin!(stop.cancelled());
    let mut stopping = false;
    poll_fn(|cx| {
        while let Poll::Ready(within) = request.as_mut().poll(cx) {
            driver.drain(within, Instant::now(), cx);
            request.set(drain.requested_before(Some(within)));
        }
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            driver.stop(Instant::now(), cx);
        }
        loop {
            if driver.poll(Instant::now(), cx).is_ready() {
                return Poll::Ready(());
            }
            // The timer is moved only when it fires, or has to sooner: an octet costs no timer.
            let until = driver.until();
            if timer.deadline() > until || timer.as_mut().poll(cx).is_ready() {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests;
