//! What SMTP sessions need besides: a place of the mailbox's few, its messages' turns, the
//! account's policy.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Service;
use crate::config::{Account, SmtpFrom, SmtpLimits, SmtpPolicy};
use crate::fault::{Fault, Kind, suggested_backoff};
use crate::proof::Verified;
use crate::quota::{Place, Quota, Quotas, Turn, Wait};
use crate::relay::{Gate, Leave, Policy, Postmaster, Watch};
use crate::wire::Protocol;

/// What an SMTP session holds until its end.
pub(super) struct Submission {
    verified: Verified,
    /// Given back when the session ends.
    _place: Option<Place>,
}

impl Service {
    /// Nobody goes to a mail service for a mailbox that it wants left alone. Who sends waits for
    /// the end of that as long as for a place.
    pub(super) async fn wait_for_pause(
        &self,
        protocol: Protocol,
        verified: &Verified,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let quota = quota(&self.quotas, verified);
        let patience = match (protocol, limits(verified.account())) {
            (Protocol::Smtp, Some(limits)) => deadline.min(Instant::now() + limits.wait),
            _ => Instant::now(),
        };
        while let Some(until) = quota.pause(protocol)
            && until <= patience
        {
            tokio::time::sleep_until(until).await;
        }
        let Some(until) = quota.pause(protocol) else {
            return Ok(());
        };
        let seconds = until.duration_since(Instant::now()).as_secs() + 1;
        let detail = format!("the mail service wants the mailbox left alone for {seconds} s more");
        Err(Fault::new(Kind::Busy, detail).remedy_is(
            "the mail service limits this mailbox for now; let the application poll less often",
        ))
    }

    /// The mail service said how long it wants to be left alone.
    pub(super) fn note_pause(&self, protocol: Protocol, verified: &Verified, fault: &Fault) {
        if let Some(time) = suggested_backoff(fault.detail()) {
            let time = Duration::from_millis(time);
            quota(&self.quotas, verified).back_off(protocol, time);
        }
    }

    /// Waits for the mailbox's place, where the provider has few.
    pub(super) async fn submission(
        &self,
        protocol: Protocol,
        verified: &Verified,
        deadline: Instant,
    ) -> Result<Option<Submission>, Fault> {
        if protocol != Protocol::Smtp {
            return Ok(None);
        }
        let mut place = None;
        if let Some(limits) = limits(verified.account()) {
            let quota = quota(&self.quotas, verified);
            let found = quota.place(limits.connections, limits.wait, deadline).await;
            self.metrics.smtp_wait(match found {
                Some((_, Wait::Immediate)) => "immediate",
                Some((_, Wait::Waited)) => "waited",
                None => "timeout",
            });
            let Some((found, _)) = found else {
                let detail = format!(
                    "all {} SMTP sessions that the mail service grants the mailbox were taken",
                    limits.connections
                );
                return Err(Fault::new(Kind::Full, detail).remedy_is(
                    "let applications close their sessions after sending, or send from several mailboxes",
                ));
            };
            place = Some(found);
        }
        Ok(Some(Submission {
            verified: verified.clone(),
            _place: place,
        }))
    }

    /// What the relay is to look at, and whom it is to ask.
    pub(super) fn watch(
        &self,
        protocol: Protocol,
        submission: Option<&Submission>,
    ) -> (Watch, Option<Box<dyn Postmaster>>) {
        let Some(Submission { verified, .. }) = submission else {
            return (Watch::new(protocol), None);
        };
        let account = verified.account();
        let policy = account.smtp.as_ref();
        let own_rate = policy.and_then(|policy| policy.messages_per_minute);
        let limits = limits(account);
        let gate = Gate {
            policy: policy
                .filter(|policy| policy.looks_at_commands())
                .map(|policy| relayed(policy, verified.mailbox())),
            paced: limits.is_some() || own_rate.is_some(),
        };
        let desk = Desk {
            mailbox: quota(&self.quotas, verified),
            limits,
            own: own_rate.map(|rate| (self.quotas.login(verified.login()), rate)),
        };
        (Watch::gated(gate), Some(Box::new(desk)))
    }
}

fn limits(account: &Account) -> Option<SmtpLimits> {
    account.registration.provider.smtp_limits
}

fn quota(quotas: &Quotas, verified: &Verified) -> Arc<Quota> {
    let provider = &verified.account().registration.provider;
    quotas.mailbox(&provider.name, verified.mailbox())
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

/// Answers for one session.
struct Desk {
    mailbox: Arc<Quota>,
    limits: Option<SmtpLimits>,
    /// The account's own rate.
    own: Option<(Arc<Quota>, usize)>,
}

impl Postmaster for Desk {
    fn message(&self) -> Leave {
        if let Some((quota, rate)) = &self.own
            && quota.message(*rate, Duration::ZERO) != Turn::Now
        {
            return Leave::Never;
        }
        let Some(limits) = self.limits else {
            return Leave::Now;
        };
        match self
            .mailbox
            .message(limits.messages_per_minute, limits.wait)
        {
            Turn::Now => Leave::Now,
            Turn::At(then) => Leave::At(then),
            Turn::Never => Leave::Never,
        }
    }

    fn back_off(&self, time: Duration) {
        tracing::debug!(
            seconds = time.as_secs(),
            "the mail service wants the mailbox left alone"
        );
        self.mailbox.back_off(Protocol::Smtp, time);
    }
}
