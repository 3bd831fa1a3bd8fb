//! Services for SMTP sessions: permits to send, the account's policy, and with `mailbox: {smtp:
//! sender}` an upstream for each sender.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use super::service::Service;
use super::upstream::{ConnectContext, LoggedIn};
use crate::auth::password::VerifiedLogin;
use crate::config::{Account, LineEnds, SmtpFrom, SmtpLimits, SmtpPolicy};
use crate::fault::{Fault, Kind, suggested_backoff};
use crate::login::front;
use crate::metrics::Metrics;
use crate::relay::{Permit, Policy, SmtpRules, Tracker};
use crate::throttle::{Denied, Limits, MailboxThrottle, MessagePermit, Throttles};
use crate::wire::Protocol;

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

impl Service {
    /// Waits for the end of a mailbox's backoff: SMTP clients up to `smtp_limits.wait`, others not
    /// at all. Errors: the backoff lasts longer.
    pub(super) async fn wait_for_backoff(
        &self,
        protocol: Protocol,
        verified: &VerifiedLogin,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let throttle = throttle(&self.state.throttles, verified);
        let patience = match (protocol, limits(verified.account())) {
            (Protocol::Smtp, Some(limits)) => deadline.min(Instant::now() + limits.wait),
            _ => Instant::now(),
        };
        while let Some(until) = throttle.backoff_until(protocol)
            && until <= patience
        {
            tokio::time::sleep_until(until).await;
        }
        let Some(until) = throttle.backoff_until(protocol) else {
            return Ok(());
        };
        let seconds = until.duration_since(Instant::now()).as_secs() + 1;
        let detail =
            format!("the mail service asks for no message of this mailbox for {seconds} s more");
        Err(Fault::new(Kind::Busy, detail).with_remedy(
            "the mail service limits this mailbox for now; let the application poll less often",
        ))
    }

    /// Records the backoff of a mailbox if the mail service named one.
    pub(super) fn record_backoff(
        &self,
        protocol: Protocol,
        verified: &VerifiedLogin,
        fault: &Fault,
    ) {
        if let Some(time) = suggested_backoff(fault.detail()) {
            let time = Duration::from_millis(time);
            throttle(&self.state.throttles, verified).back_off(protocol, time);
        }
    }

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
            throttle: throttle(&self.state.throttles, verified),
            waiting: None,
            permit: None,
            opening: None,
        };
        (Tracker::with_rules(rules), Some(Box::new(submission)))
    }
}

impl SubmissionPermits {
    /// Begins to wait for a permit to send a message from `sender`.
    pub(super) fn request_permit(&mut self, sender: &str) {
        self.turn_to(sender);
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
        self.waiting = Some(Box::pin(async move {
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
        }));
    }

    /// Switches to the throttle of this sender's mailbox.
    fn turn_to(&mut self, sender: &str) {
        let account = self.verified.account();
        if account.mailbox.smtp_is_sender {
            let provider = &account.registration.provider.name;
            self.throttle = self.service.state.throttles.of_mailbox(provider, sender);
        }
    }

    pub(super) fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<Permit> {
        let Some(waiting) = &mut self.waiting else {
            return Poll::Pending;
        };
        let result = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        Poll::Ready(match result {
            Ok(permit) => {
                self.permit = permit;
                Permit::Granted
            }
            Err(Denied::Full) => Permit::Full,
            Err(Denied::TooMany) => Permit::TooMany,
        })
    }

    /// Returns the permit, or stops waiting for one.
    pub(super) fn release_permit(&mut self) {
        self.waiting = None;
        self.permit = None;
    }

    pub(super) fn back_off(&mut self, time: Duration) {
        tracing::debug!(
            seconds = time.as_secs(),
            "the mail service asks for no message of this mailbox for a while"
        );
        self.throttle.back_off(Protocol::Smtp, time);
    }

    /// Begins to log in to the upstream as `sender`.
    pub(super) fn open_upstream(&mut self, sender: &str, session: String) {
        self.turn_to(sender);
        let (service, verified) = (self.service.clone(), self.verified.clone());
        let sender = sender.to_owned();
        self.opening = Some(Box::pin(async move {
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
        }));
    }

    pub(super) fn poll_upstream(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Box<LoggedIn>, Fault>> {
        let Some(opening) = &mut self.opening else {
            return Poll::Pending;
        };
        let result = ready!(opening.as_mut().poll(cx));
        self.opening = None;
        Poll::Ready(result)
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

fn limits(account: &Account) -> Option<SmtpLimits> {
    account.registration.provider.smtp_limits
}

fn throttle(throttles: &Throttles, verified: &VerifiedLogin) -> Arc<MailboxThrottle> {
    let provider = &verified.account().registration.provider;
    throttles.of_mailbox(&provider.name, verified.mailbox())
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
