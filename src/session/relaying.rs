//! A logged-in session: its tracker, and the services for its relay. Over SMTP these are permits to
//! send, and with `mailbox: {smtp: sender}` an upstream for each sender.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::record::{SessionOutcome, SessionRecord};
use super::service::Service;
use super::upstream::{ConnectContext, LoggedIn, limits};
use crate::accept::admission::SessionPermit;
use crate::auth::password::VerifiedLogin;
use crate::config::{LineEnds, SmtpFrom, SmtpLimits, SmtpPolicy};
use crate::fault::{Fault, Kind};
use crate::login::front;
use crate::metrics::Metrics;
use crate::relay::{
    Backend, Connection, Drain, Driver, End, Event, Permit, Policy, SmtpRules, Tracker,
};
use crate::stream::Stream;
use crate::throttle::{Denied, Limits, MailboxThrottle, MessagePermit};
use crate::wire::Protocol;

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

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Sending side of one SMTP session: its account, and the permit of its current message.
pub(super) struct SubmissionPermits {
    service: Arc<Service>,
    verified: VerifiedLogin,
    /// Throttle of the mailbox whose permit was requested last.
    throttle: Arc<MailboxThrottle>,
    waiting: Option<Pending<Result<Option<MessagePermit>, Denied>>>,
    permit: Option<MessagePermit>,
    opening: Option<Pending<Result<Box<LoggedIn>, Fault>>>,
}

/// Polls a future that is dropped when it is ready.
fn poll_pending<T>(pending: &mut Option<Pending<T>>, cx: &mut Context<'_>) -> Poll<T> {
    let Some(future) = pending else {
        return Poll::Pending;
    };
    let result = ready!(future.as_mut().poll(cx));
    *pending = None;
    Poll::Ready(result)
}

impl Backend<Stream> for SessionBackend {
    fn request_permit(&mut self, sender: &str) {
        if let Some(submission) = &mut self.submission {
            submission.turn_to(sender);
            submission.waiting = Some(submission.permit_future());
        }
    }

    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        let Some(submission) = &mut self.submission else {
            return Poll::Pending;
        };
        Poll::Ready(match ready!(poll_pending(&mut submission.waiting, cx)) {
            Ok(permit) => {
                submission.permit = permit;
                Permit::Granted
            }
            Err(Denied::Full) => Permit::Full,
            Err(Denied::TooMany) => Permit::TooMany,
        })
    }

    fn release_permit(&mut self) {
        if let Some(submission) = &mut self.submission {
            submission.waiting = None;
            submission.permit = None;
        }
    }

    fn back_off(&mut self, time: Duration) {
        if let Some(submission) = &mut self.submission {
            tracing::debug!(
                seconds = time.as_secs(),
                "the mail service asks for no message of this mailbox for a while"
            );
            submission.throttle.back_off(Protocol::Smtp, time);
        }
    }

    fn open_upstream(&mut self, mailbox: &str) {
        self.record.on_opening(mailbox);
        if let Some(submission) = &mut self.submission {
            submission.turn_to(mailbox);
            let session = self.record.session.id.clone();
            submission.opening = Some(submission.upstream_of(mailbox.to_owned(), session));
        }
    }

    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Stream, Bytes), Box<Fault>>> {
        let Some(submission) = &mut self.submission else {
            return Poll::Pending;
        };
        let opened = ready!(poll_pending(&mut submission.opening, cx));
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

impl Service {
    /// Creates the protocol tracker, over SMTP with the account's rules.
    pub(super) fn tracker(
        self: &Arc<Self>,
        protocol: Protocol,
        verified: &VerifiedLogin,
        capabilities: &[String],
    ) -> (Tracker, Option<Box<SubmissionPermits>>) {
        if protocol != Protocol::Smtp {
            return (Tracker::new(protocol), None);
        }
        let account = verified.account();
        let policy = account.smtp.as_ref();
        let own_rate = policy.and_then(|policy| policy.messages_per_minute);
        let by_sender = account.mailbox.smtp_is_sender;
        let rules = SmtpRules {
            policy: policy
                .filter(|policy| policy.looks_at_commands() || by_sender)
                .map(|policy| relayed(policy, verified.mailbox())),
            rate_limited: limits(account).is_some() || own_rate.is_some(),
            repair_line_ends: policy.is_some_and(|policy| policy.line_ends == LineEnds::Crlf),
            chunking: capabilities
                .iter()
                .any(|capability| capability.eq_ignore_ascii_case("CHUNKING")),
            by_sender: by_sender.then(|| front::ehlo_reply(capabilities)),
        };
        let submission = SubmissionPermits {
            service: self.clone(),
            verified: verified.without_password(),
            throttle: self.throttle(verified),
            waiting: None,
            permit: None,
            opening: None,
        };
        (Tracker::with_rules(rules), Some(Box::new(submission)))
    }
}

impl SubmissionPermits {
    /// Switches to the throttle of this sender's mailbox.
    fn turn_to(&mut self, sender: &str) {
        let account = self.verified.account();
        if account.mailbox.smtp_is_sender {
            let provider = &account.registration.provider.name;
            self.throttle = self.service.state.throttles.of_mailbox(provider, sender);
        }
    }

    /// Waits for a permit to send a message.
    fn permit_future(&self) -> Pending<Result<Option<MessagePermit>, Denied>> {
        let account = self.verified.account();
        let rate = account
            .smtp
            .as_ref()
            .and_then(|policy| policy.messages_per_minute);
        let own = rate.map(|rate| {
            let throttle = self.service.state.throttles.of_login(self.verified.login());
            let reserved = throttle.reserve(rate, Duration::ZERO);
            let reserved = reserved.ok_or(Denied::TooMany)?;
            Ok((throttle, rate, reserved))
        });
        let (throttle, limits) = (self.throttle.clone(), limits(account));
        let metrics = self.service.state.metrics.clone();
        Box::pin(async move {
            // The account's own reservation is returned if the mailbox's permit is denied.
            let own = own.transpose()?;
            if let Some((throttle, rate, _)) = &own {
                throttle.pace(*rate).await?;
            }
            let permit = match limits {
                Some(limits) => Some(permit(&throttle, limits, &metrics).await?),
                None => None,
            };
            own.into_iter().for_each(|(_, _, own)| own.begin());
            Ok(permit)
        })
    }

    /// Logs in to the upstream as `sender`.
    fn upstream_of(
        &self,
        sender: String,
        session: String,
    ) -> Pending<Result<Box<LoggedIn>, Fault>> {
        let (service, verified) = (self.service.clone(), self.verified.clone());
        Box::pin(async move {
            let Some(verified) = verified.as_sender(&sender) else {
                let detail = format!("{sender} is not among the senders that the account allows");
                return Err(Fault::new(Kind::Message, detail));
            };
            let started = Instant::now();
            let context = ConnectContext {
                session: &session,
                protocol: Protocol::Smtp,
                client: None,
                started,
                deadline: started + service.limits.login_timeout,
            };
            service.connect(context, &verified).await.map(Box::new)
        })
    }
}

async fn permit(
    throttle: &Arc<MailboxThrottle>,
    limits: SmtpLimits,
    metrics: &Metrics,
) -> Result<MessagePermit, Denied> {
    let result = throttle
        .permit(Limits {
            in_flight: limits.connections,
            per_minute: limits.messages_per_minute,
            wait: limits.wait,
        })
        .await;
    match &result {
        Ok(permit) if permit.waited => metrics.smtp_wait("waited"),
        Ok(_) => metrics.smtp_wait("immediate"),
        Err(_) => metrics.smtp_wait("timeout"),
    }
    result
}

fn relayed(policy: &SmtpPolicy, mailbox: &str) -> Policy {
    Policy {
        senders: policy.senders.clone(),
        recipients: policy.recipients.clone(),
        max_size: policy.max_size,
        from: match policy.from {
            SmtpFrom::Keep => None,
            SmtpFrom::Mailbox => Some(mailbox.to_owned()),
        },
    }
}
