//! Drives a [`Machine`] over two connections.
//!
//! It is generic over the connections and the session's services, so that the simulation runs the
//! same loop as the product. Octets pass from one connection's receive buffer to the other
//! connection without a copy.

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

/// Maximum number of reads from each side before other tasks of the runtime run. One read has at
/// most 64 KiB.
pub(super) const ROUNDS: usize = 16;

/// Function that takes received octets.
type Receive<'a> = dyn FnMut(&mut Context<'_>, &[u8]) + 'a;

/// Connection to one side of a session.
pub trait Connection {
    /// Receives once and passes everything that arrived to `receive`. `Ok(false)`: the peer has
    /// closed its direction.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        receive: &mut Receive<'_>,
    ) -> Poll<io::Result<bool>>;

    /// Sends octets, and keeps those that the peer does not accept yet.
    fn send(&mut self, cx: &mut Context<'_>, octets: &[u8]);

    /// Sends the kept octets. Ready when none are left. An error is final.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Closes our direction after everything already sent.
    fn close(&mut self);

    /// Ready with the error once the connection is lost, even if received octets are unread.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error>;
}

/// Services that the session provides to its relay.
pub trait Backend<C> {
    /// Begins to wait for a permit to send a message from `sender`.
    fn request_permit(&mut self, sender: &str);

    /// Ready with the permit, or with the reason why there is none.
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Permit>;

    /// Returns the permit, or stops waiting for one.
    fn release_permit(&mut self);

    /// Records that the mail service refuses the mailbox for this time.
    fn back_off(&mut self, time: Duration);

    /// Begins to log in to the upstream as `mailbox`.
    fn open_upstream(&mut self, mailbox: &str);

    /// Ready with the logged-in upstream connection and the octets it has sent since the login.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Result<(C, Bytes), Box<Fault>>>;

    /// Records an event of the session.
    fn record(&mut self, event: Event);

    /// Records the end of the session. Its connections are still open.
    fn on_end(&mut self, end: &End);

    /// Counts octets received from the client and the upstream.
    fn count(&mut self, client: usize, upstream: usize);
}

/// Connections of a session and the machine that relays between them.
#[derive(Debug)]
pub struct Driver<C, B> {
    machine: Machine,
    client: C,
    upstream: Option<C>,
    backend: B,
    awaits_permit: bool,
    awaits_upstream: bool,
    /// Error after which nothing can be sent to the upstream. Octets it sent before may still
    /// arrive.
    upstream_error: Option<io::Error>,
    closing: Option<Closing>,
    /// Time at which to act even if nothing happens.
    until: Instant,
}

/// State while the connections of an ended session close.
#[derive(Debug, Default)]
struct Closing {
    client_flushed: bool,
    client_ended: bool,
}

/// Actions that have to wait because one of the connections is in use.
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
    /// Creates the driver of a session's two connections. `upstream` is `None` if the machine opens
    /// it.
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

    /// Sends the client the reply to its login, and handles what both sides have sent since.
    pub fn begin(
        &mut self,
        reply: &[u8],
        client: &[u8],
        upstream: &[u8],
        now: Instant,
        cx: &mut Context<'_>,
    ) {
        self.client.send(cx, reply);
        if !upstream.is_empty() {
            self.input(Input::Upstream(upstream), now, cx);
        }
        if !client.is_empty() {
            self.input(Input::Client(client), now, cx);
        }
        self.backend.count(client.len(), upstream.len());
    }

    /// Advances as far as possible. `Pending`: call again when woken, and at [`Driver::until`].
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
            // Received input takes precedence over elapsed time.
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

    /// Time at which to call [`Driver::poll`] even if nothing happened.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Ends the session at its next reply boundary, within this time at the latest.
    pub fn drain(&mut self, within: Duration, now: Instant, cx: &mut Context<'_>) {
        match self.closing {
            None => self.input(Input::Drain(within), now, cx),
            Some(_) => self.until = self.until.min(now + within),
        }
    }

    /// Ends the session at once.
    pub fn stop(&mut self, now: Instant, cx: &mut Context<'_>) {
        match self.closing {
            None => self.input(Input::Stop, now, cx),
            Some(_) => self.until = self.until.min(now + STOP_TIMEOUT),
        }
    }

    /// The session's services.
    pub fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    fn input(&mut self, input: Input<'_>, now: Instant, cx: &mut Context<'_>) {
        let mut deferred = Deferred::default();
        let (machine, backend) = (&mut self.machine, &mut self.backend);
        machine.handle(input, now, &mut |action| deferred.take(action, backend));
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
                // Octets that the upstream sent before the error are still relayed.
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

    /// Handles available input that the machine waits for. Returns whether there was any.
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

    /// Sends the final reply and closes both connections. The upstream's is closed without another
    /// octet, so that an incomplete message cannot look complete.
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
        self.until = end.close_by;
        self.closing = Some(Closing::default());
    }

    /// Discards what the client still sends until it closes its direction: closing a socket with
    /// unread input resets the connection, and the final reply would be lost.
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
        if !closing.client_flushed {
            match self.client.poll_flush(cx) {
                Poll::Ready(Ok(())) => closing.client_flushed = true,
                Poll::Ready(Err(_)) => closing.client_ended = true,
                Poll::Pending => {}
            }
        }
        let mut rounds = 0..ROUNDS;
        while closing.client_flushed && !closing.client_ended {
            if rounds.next().is_none() {
                cx.waker().wake_by_ref();
                break;
            }
            match self.client.poll_receive(cx, &mut |_, _| {}) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => closing.client_ended = true,
                Poll::Pending => break,
            }
        }
        if (closing.client_ended && self.upstream.is_none()) || self.until <= now {
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

/// Relays until the session has ended and both connections are closed.
pub async fn run<C: Connection, B: Backend<C>>(
    driver: &mut Driver<C, B>,
    drain: &Drain,
    stop: &CancellationToken,
) {
    // Set by the first poll. A timer of the past would be entered all the same, wake the runtime's
    // thread that waits for sockets, and this task once more.
    let mut timer = pin!(tokio::time::sleep(Duration::MAX));
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
            // The timer is reset only when it fires or must fire sooner, so octets cost no timer.
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
