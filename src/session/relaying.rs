//! A logged-in session: the services for its relay, and the record of its events.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::record::{SessionOutcome, SessionRecord};
use super::submission::SubmissionPermits;
use crate::accept::admission::SessionPermit;
use crate::fault::Fault;
use crate::relay::{Backend, Connection, Drain, Driver, End, Event, Permit};
use crate::stream::Stream;

/// A relayed session. The fields are dropped in this order.
pub(super) struct RelayingSession {
    pub(super) driver: Driver<Stream, SessionBackend>,
    pub(super) drain: Drain,
    pub(super) stop: CancellationToken,
    pub(super) _permit: SessionPermit,
}

impl Connection for Stream {
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        receive: &mut (dyn FnMut(&mut Context<'_>, &[u8]) + '_),
    ) -> Poll<io::Result<bool>> {
        self.poll_receive(cx, receive)
    }

    fn send(&mut self, cx: &mut Context<'_>, octets: &[u8]) {
        self.send(cx, octets);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }

    fn close(&mut self) {
        self.close();
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.poll_reset(cx)
    }
}

/// Services of a session for its relay: record, permits, upstream connections.
pub(super) struct SessionBackend {
    pub(super) record: SessionRecord,
    pub(super) submission: Option<Box<SubmissionPermits>>,
}

impl Backend<Stream> for SessionBackend {
    fn request_permit(&mut self, sender: &str) {
        if let Some(submission) = &mut self.submission {
            submission.request_permit(sender);
        }
    }

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        let submission = self.submission.as_mut();
        submission.map_or(Poll::Pending, |submission| submission.poll_permit(cx))
    }

    fn release_permit(&mut self) {
        if let Some(submission) = &mut self.submission {
            submission.release_permit();
        }
    }

    fn back_off(&mut self, time: Duration) {
        if let Some(submission) = &mut self.submission {
            submission.back_off(time);
        }
    }

    fn open_upstream(&mut self, mailbox: &str) {
        self.record.on_opening(mailbox);
        if let Some(submission) = &mut self.submission {
            submission.open_upstream(mailbox, self.record.session.id.clone());
        }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Stream, Bytes), Box<Fault>>> {
        let Some(submission) = &mut self.submission else {
            return Poll::Pending;
        };
        let opened = std::task::ready!(submission.poll_upstream(cx));
        Poll::Ready(opened.map_err(Box::new).map(|logged_in| {
            self.record.on_upstream(&logged_in);
            (logged_in.stream, logged_in.ready.leftover)
        }))
    }

    fn record(&mut self, event: Event) {
        self.record.on_relay_event(event);
    }

    fn on_end(&mut self, end: &End) {
        self.record.outcome = SessionOutcome::Relayed;
        self.record.closed_by = Some(end.closed_by);
        if let Some(fault) = &end.fault {
            self.record.on_end(fault);
        }
    }

    fn count(&mut self, client: usize, upstream: usize) {
        self.record.session.counts.add(client, upstream);
    }
}
