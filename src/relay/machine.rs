//! State machine of one relayed session. It decides everything between the login and the closing of
//! both connections, without IO and without a clock.
//!
//! Received octets, closed connections, permits, drains and the time are [`Input`]s. The resulting
//! [`Action`]s are emitted at once, with octets as slices of the input, so that nothing is copied
//! or kept. After each input [`Machine::next`] returns what to wait for, or how the session ends:
//!
//! | state | left by |
//! | --- | --- |
//! | relaying | one side's end, a deadline, a drain, a refusal that ends the session |
//! | one side has ended | the other's end, or [`HALF_CLOSE_TIMEOUT`] without an octet |
//! | draining | the next reply boundary, at the latest the drain's deadline |
//! | ended | nothing: [`Next::End`] from now on |

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::interface::{Action, ClosedBy, End, Input, Interest, Next, Out};
use super::smtp::Smtp;
use super::tracker::Tracker;
use crate::fault::{Fault, Kind};

/// Longest time for both connections to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time for both connections to close at a stop.
pub const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// Longest time without an octet after one side has closed its direction.
const HALF_CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest time that MAIL waits for its permit and its upstream, which have shorter deadlines of
/// their own.
const OWN_WAITS: Duration = Duration::from_secs(3600);

/// Rate at which a message must arrive after [`UPLOAD_GRACE`], in octets a second: a slow client
/// occupies one of its mailbox's messages in flight.
pub(super) const MIN_UPLOAD_RATE: u64 = 500;

/// Time that a message may take beyond what [`MIN_UPLOAD_RATE`] allows.
const UPLOAD_GRACE: Duration = Duration::from_secs(120);

/// Longest time that an SMTP client may leave replies unread.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest wait after a dot on a line that does not end with CRLF.
const LINE_ENDS_TIMEOUT: Duration = Duration::from_secs(300);

/// Deadlines of a session that has to end.
#[derive(Debug, Clone, Copy)]
struct Drain {
    /// Time at which it ends even in the middle of a reply.
    ends: Instant,
    /// Time by which its connections are closed.
    closed: Instant,
}

/// A message that the client is sending.
#[derive(Debug)]
struct Upload {
    since: Instant,
    /// Octets received from the client before the message.
    before: u64,
}

/// State of one relayed session, without IO.
#[derive(Debug)]
pub struct Machine {
    tracker: Tracker,
    idle_timeout: Duration,
    /// Time of the last octet from either side.
    active: Instant,
    /// Time of the last octet from the client.
    client_active: Instant,
    /// Octets received from the client.
    received: u64,
    upload: Option<Upload>,
    first_end: Option<(ClosedBy, Instant)>,
    client_ended: bool,
    /// Whether the client left a message that waits behind a line end without CR.
    left_waiting: bool,
    upstream_ended: bool,
    /// Whether our direction of the upstream connection was closed.
    closing: bool,
    client_flushed: bool,
    upstream_flushed: bool,
    drain: Option<Drain>,
    end: Option<Box<End>>,
}

impl Machine {
    /// Begins a session in which both sides are logged in.
    pub fn new(tracker: Tracker, idle_timeout: Duration, now: Instant) -> Self {
        Self {
            tracker,
            idle_timeout,
            active: now,
            client_active: now,
            received: 0,
            upload: None,
            first_end: None,
            client_ended: false,
            left_waiting: false,
            upstream_ended: false,
            closing: false,
            client_flushed: true,
            upstream_flushed: true,
            drain: None,
            end: None,
        }
    }

    /// Tracker of the session's protocol.
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Handles an input and emits the resulting actions.
    pub fn handle(&mut self, input: Input<'_>, now: Instant, out: Out<'_>) {
        if self.end.is_some() {
            return;
        }
        match input {
            Input::Client(octets) => {
                self.active = now;
                self.client_active = now;
                self.received = self.received.saturating_add(octets.len() as u64);
                self.tracker.on_client(octets, out);
            }
            Input::Upstream(octets) => {
                self.active = now;
                self.tracker.on_upstream(octets, out);
            }
            Input::ClientEnded => {
                self.client_ended = true;
                self.first_end.get_or_insert((ClosedBy::Client, now));
                self.left_waiting = self.is(Smtp::waits_behind_bare_line_end);
                self.smtp(|smtp| smtp.on_client_ended(out));
            }
            Input::ClientGone(error) => {
                tracing::debug!(error, "the client's connection broke");
                self.finish_left(now, out);
            }
            Input::UpstreamEnded | Input::UpstreamGone(_)
                if self.is(Smtp::goes_on_without_upstream) =>
            {
                self.smtp(|smtp| smtp.on_upstream_lost(out));
            }
            Input::UpstreamEnded => {
                self.upstream_ended = true;
                self.first_end.get_or_insert((ClosedBy::Upstream, now));
            }
            Input::UpstreamGone(error) => self.on_lost(&format!("broke: {error}"), now, out),
            Input::Flushed { client, upstream } => {
                self.client_flushed = client;
                self.upstream_flushed = upstream;
                if client {
                    self.smtp(|smtp| smtp.on_client_flushed(out));
                }
            }
            Input::Permit(permit) => {
                self.active = now;
                self.smtp(|smtp| smtp.on_permit(permit, out));
            }
            Input::UpstreamOpened => {
                self.active = now;
                self.smtp(|smtp| smtp.on_upstream_opened(out));
            }
            Input::UpstreamRefused(fault) => {
                self.active = now;
                self.smtp(|smtp| smtp.on_upstream_refused(*fault, out));
            }
            Input::Drain(within) => self.on_drain(now, within),
            Input::Timeout => self.on_timeout(now, out),
            Input::Stop => self.on_stop(now, out),
        }
        self.advance(now, out);
    }

    /// Calls `event` over SMTP, which alone waits for answers to actions.
    fn smtp(&mut self, event: impl FnOnce(&mut Smtp)) {
        if let Tracker::Smtp(smtp) = &mut self.tracker {
            event(smtp);
        }
    }

    /// Whether `query` holds for an SMTP session; in other protocols it never does.
    fn is(&self, query: impl FnOnce(&Smtp) -> bool) -> bool {
        matches!(&self.tracker, Tracker::Smtp(smtp) if query(smtp))
    }

    /// Whether the session has an upstream connection. Only over SMTP it may have none.
    fn has_upstream(&self) -> bool {
        match &self.tracker {
            Tracker::Plain(_) => true,
            Tracker::Smtp(smtp) => smtp.has_upstream(),
        }
    }

    /// Sets the deadlines of a drain, unless earlier ones exist.
    fn on_drain(&mut self, now: Instant, within: Duration) {
        let closed = now + within;
        let ends = closed - STOP_TIMEOUT.min(within / 2);
        if self.drain.is_none_or(|before| closed < before.closed) {
            self.drain = Some(Drain { ends, closed });
        }
    }

    fn on_stop(&mut self, now: Instant, out: Out<'_>) {
        let closed = now + STOP_TIMEOUT;
        self.drain = Some(Drain { ends: now, closed });
        self.on_deadline(Deadline::Drain, now, out);
    }

    /// Handles the next deadline if it has passed.
    fn on_timeout(&mut self, now: Instant, out: Out<'_>) {
        let (until, deadline) = self.deadline();
        if until <= now {
            self.on_deadline(deadline, now, out);
        }
    }

    /// Draws the consequences that any input may have.
    fn advance(&mut self, now: Instant, out: Out<'_>) {
        if self.end.is_some() {
            return;
        }
        if self.client_ended && self.is(Smtp::is_waiting_alone) {
            // The client sent MAIL last and left, so no client is there to get the reply.
            return self.finish(ClosedBy::Client, None, now, out);
        }
        let aborted = self.is(Smtp::is_aborted);
        if !self.closing && (aborted || (self.client_ended && !self.is(Smtp::holds_input))) {
            self.closing = true;
            out(Action::CloseUpstream);
        }
        if self.is(Smtp::is_over) {
            return self.refuse(now, out);
        }
        if self.client_ended && (aborted || (self.closing && !self.has_upstream())) {
            return self.finish_left(now, out);
        }
        if self.upstream_ended && self.client_flushed {
            // The client has everything the upstream sent. A mail service that closes its direction
            // has ended the session.
            match self.first_end {
                Some((ClosedBy::Client, _)) => self.finish_left(now, out),
                _ => self.on_lost("was closed", now, out),
            }
        }
        self.watch_upload(now);
        let flushed = self.client_flushed && self.upstream_flushed;
        if self.end.is_none() && self.drain.is_some() && flushed && self.tracker.is_idle() {
            self.finish(ClosedBy::Authrelay, Some(draining()), now, out);
        }
    }

    fn watch_upload(&mut self, now: Instant) {
        match (&self.upload, self.is(Smtp::is_receiving)) {
            (_, false) => self.upload = None,
            // An upstream that does not accept the message is not the client's fault.
            (Some(_), true) if self.upstream_flushed || self.is(Smtp::is_aborted) => {}
            (_, true) => {
                self.upload = Some(Upload {
                    since: now,
                    before: self.received,
                });
            }
        }
    }

    /// Returns what to wait for, or how the session ended. Call after every input.
    #[must_use]
    pub fn next(&self) -> Next {
        match &self.end {
            Some(end) => Next::End((**end).clone()),
            None => Next::Wait(self.interest(self.deadline().0)),
        }
    }

    fn interest(&self, until: Instant) -> Interest {
        let aborted = self.is(Smtp::is_aborted);
        // A session under rules accepts no more input than it can reply to.
        let takes_input = !self.is(Smtp::is_full)
            && (self.upstream_flushed || aborted)
            && (self.client_flushed || !self.is(Smtp::is_ruled));
        let client = !self.client_ended && takes_input;
        Interest {
            client,
            client_gone: !client && !self.client_ended,
            upstream: !self.upstream_ended
                && !aborted
                && self.client_flushed
                && self.has_upstream(),
            until,
        }
    }

    /// Returns the next deadline and its kind.
    fn deadline(&self) -> (Instant, Deadline) {
        // Waiting for a permit or an upstream is not idleness of the peers.
        let waits = match self.is(Smtp::is_waiting) {
            true => OWN_WAITS,
            false => Duration::ZERO,
        };
        let mut first = match self.first_end {
            // A session that one side has closed is not idle, even if the clock jumped meanwhile.
            Some((by, since)) => (
                since.max(self.active) + HALF_CLOSE_TIMEOUT.max(waits),
                Deadline::HalfClose(by),
            ),
            None => (self.active + self.idle_timeout.max(waits), Deadline::Idle),
        };
        let mut sooner = |then: Instant, what| {
            if then < first.0 {
                first = (then, what);
            }
        };
        if matches!(self.tracker, Tracker::Smtp(_)) && !self.client_flushed {
            sooner(self.active + UNREAD_TIMEOUT, Deadline::Unread);
        }
        if self.is(Smtp::waits_behind_bare_line_end) {
            let then = self.client_active + LINE_ENDS_TIMEOUT;
            sooner(then, Deadline::LineEnds);
        } else if let Some(upload) = &self.upload {
            let octets = self.received.saturating_sub(upload.before);
            let time = Duration::from_millis(octets.saturating_mul(1000) / MIN_UPLOAD_RATE);
            sooner(upload.since + UPLOAD_GRACE + time, Deadline::Upload);
        }
        if let Some(drain) = self.drain {
            sooner(drain.ends, Deadline::Drain);
        }
        first
    }

    fn on_deadline(&mut self, deadline: Deadline, now: Instant, out: Out<'_>) {
        let (by, fault) = match deadline {
            Deadline::HalfClose(by) => (by, None),
            Deadline::Idle => {
                let idle = self.idle_timeout.as_secs();
                let fault = Fault::new(Kind::Idle, format!("no byte either way for {idle} s"));
                (ClosedBy::Authrelay, Some(fault))
            }
            Deadline::Unread => {
                let unread = UNREAD_TIMEOUT.as_secs();
                let detail = format!("the client left its replies unread for {unread} s");
                let fault = Fault::new(Kind::Idle, detail).with_remedy(
                    "the application has stopped or the network is broken: it would keep other messages of the mailbox waiting",
                );
                (ClosedBy::Authrelay, Some(fault))
            }
            Deadline::Upload => {
                let detail =
                    format!("the message arrived at less than {MIN_UPLOAD_RATE} octets a second");
                let fault = Fault::new(Kind::Idle, detail).with_remedy(
                    "the application or the network is too slow: it would keep other messages of the mailbox waiting",
                );
                (ClosedBy::Authrelay, Some(fault))
            }
            Deadline::LineEnds => (ClosedBy::Authrelay, Some(bare_line_ends())),
            Deadline::Drain => (ClosedBy::Authrelay, Some(draining())),
        };
        self.finish(by, fault, now, out);
    }

    /// Ends the session of a client that has left.
    fn finish_left(&mut self, now: Instant, out: Out<'_>) {
        let waited = self.left_waiting || self.is(Smtp::waits_behind_bare_line_end);
        let fault = waited.then(bare_line_ends);
        self.finish_with(Bytes::new(), ClosedBy::Client, fault, now, out);
    }

    /// Ends the session after the upstream connection was lost.
    fn on_lost(&mut self, how: &str, now: Instant, out: Out<'_>) {
        let fault = (!self.tracker.closing_announced()).then(|| {
            Fault::new(Kind::Lost, format!("the mail service's connection {how}")).with_remedy(
                "the mail service ended the session; applications usually log in again by themselves",
            )
        });
        self.finish(ClosedBy::Upstream, fault, now, out);
    }

    /// Ends the session, with the fault's reply if it has one.
    fn finish(&mut self, closed_by: ClosedBy, fault: Option<Fault>, now: Instant, out: Out<'_>) {
        let reply = match &fault {
            Some(fault) => fault.reply(self.tracker.protocol(), None).text,
            None => Bytes::new(),
        };
        self.finish_with(reply, closed_by, fault, now, out);
    }

    /// Ends the session, with `reply` where one may follow, and records its unfinished messages.
    fn finish_with(
        &mut self,
        mut reply: Bytes,
        closed_by: ClosedBy,
        fault: Option<Fault>,
        now: Instant,
        out: Out<'_>,
    ) {
        if !self.tracker.at_reply_boundary() || self.tracker.closing_announced() {
            reply = Bytes::new();
        }
        self.smtp(|smtp| smtp.on_end(out));
        self.end = Some(Box::new(End {
            closed_by,
            fault,
            reply,
            close_by: match self.drain {
                Some(drain) => drain.closed.min(now + CLOSE_TIMEOUT),
                None => now + CLOSE_TIMEOUT,
            },
        }));
    }

    /// Ends the session after a refusal that was already sent and recorded.
    fn refuse(&mut self, now: Instant, out: Out<'_>) {
        if self.tracker.closing_announced() {
            return self.finish(ClosedBy::Client, None, now, out);
        }
        let reply = Bytes::from_static(b"421 4.7.0 Closing the connection.\r\n");
        self.finish_with(reply, ClosedBy::Authrelay, None, now, out);
    }
}

#[derive(Debug, Clone, Copy)]
enum Deadline {
    Idle,
    HalfClose(ClosedBy),
    Unread,
    Upload,
    LineEnds,
    Drain,
}

fn bare_line_ends() -> Fault {
    Fault::new(
        Kind::LineEnds,
        "the client ended its message with a dot on a line that ends with LF; only CRLF.CRLF ends a message",
    )
    .with_remedy("let the application end lines with CRLF, or set smtp: {line_ends: crlf} for its account")
}

/// Fault of a session that a drain ends.
pub fn draining() -> Fault {
    Fault::new(Kind::Draining, "shutting down")
}
