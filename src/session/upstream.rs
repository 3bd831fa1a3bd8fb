//! Gets a token and logs in to the mail service with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::service::Service;
use crate::auth::password::VerifiedLogin;
use crate::auth::{ClientInfo, LoginRefused};
use crate::config::{Account, SmtpLimits};
use crate::environment;
use crate::fault::{Fault, Kind, suggested_backoff};
use crate::login::back::Ready;
use crate::stream::Stream;
use crate::throttle::MailboxThrottle;
use crate::token::Token;
use crate::wire::Protocol;

/// A logged-in upstream connection.
pub(super) struct LoggedIn {
    pub(super) stream: Stream,
    pub(super) ready: Ready,
    /// Mailbox of the login.
    pub(super) mailbox: String,
}

/// Context of an upstream login: the session, its client and its deadline.
#[derive(Clone, Copy)]
pub(super) struct ConnectContext<'a> {
    /// Session id, for the log.
    pub(super) session: &'a str,
    pub(super) protocol: Protocol,
    /// Client of the session. `None` is only valid if the token requires no password of the client.
    pub(super) client: Option<ClientInfo<'a>>,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
}

impl Service {
    /// Gets a token and logs in with it. If the upstream refuses the token, tries once more with
    /// another.
    pub(super) async fn connect(
        &self,
        context: ConnectContext<'_>,
        verified: &VerifiedLogin,
    ) -> Result<LoggedIn, Fault> {
        let (protocol, deadline) = (context.protocol, context.deadline);
        self.wait_for_backoff(protocol, verified, deadline).await?;
        let mut first = true;
        loop {
            let token = timeout_at(deadline, self.token(context.client, verified)).await;
            let token = token.unwrap_or_else(|_| {
                Err(LoginRefused::at_once(
                    Fault::new(Kind::Unavailable, "no token within the login's deadline").with_remedy(
                        "the identity provider is slow; raise limits.login_timeout if it stays slow",
                    ),
                ))
            });
            let token = match token {
                Ok(token) => token,
                Err(refused) => return Err(delayed(refused, context.started, deadline).await),
            };
            let result = self
                .log_in_upstream(protocol, verified, &token, deadline)
                .await;
            match result {
                Ok(logged_in) => {
                    self.token_source.on_accepted(verified, &token);
                    return Ok(logged_in);
                }
                Err(fault)
                    if first
                        && fault.allows_token_retry()
                        && self.token_source.on_refused(verified, &token) =>
                {
                    tracing::debug!(session = context.session, %fault, "the token was refused; trying once more with another");
                    first = false;
                }
                Err(fault) => {
                    self.record_backoff(protocol, verified, &fault);
                    let fault = fault.for_mailbox(verified.mailbox());
                    let fault =
                        environment::hinted(fault, &verified.account().registration.provider);
                    return Err(of_delegate(fault, protocol, verified, &token));
                }
            }
        }
    }

    /// Gets an access token. Where the identity provider checks the client's password, this first
    /// waits for a [`PendingCheck`](crate::auth::PendingCheck): per address and login no more
    /// passwords are with it than `limits.lockout.failures` still permits.
    async fn token(
        &self,
        client: Option<ClientInfo<'_>>,
        verified: &VerifiedLogin,
    ) -> Result<Token, LoginRefused> {
        let Some(client) = client.filter(|_| verified.unverified_password().is_some()) else {
            return self
                .token_source
                .token(verified)
                .await
                .map_err(LoginRefused::at_once);
        };
        let check = self.authenticator.pending_check(client, verified).await?;
        match self.token_source.token(verified).await {
            Ok(token) => {
                check.succeeded();
                Ok(token)
            }
            Err(fault) if fault.kind() == Kind::Credentials => Err(check.failed(fault)),
            // The identity provider did not check the password.
            Err(fault) => Err(LoginRefused::at_once(fault)),
        }
    }

    /// Connects, starts TLS and logs in, all before `deadline`.
    async fn log_in_upstream(
        &self,
        protocol: Protocol,
        verified: &VerifiedLogin,
        token: &Token,
        deadline: Instant,
    ) -> Result<LoggedIn, Fault> {
        let provider = &verified.account().registration.provider;
        let connector = self.connector(provider, protocol, Some(deadline))?;
        let mut stream = connector.dial().await?;
        let stage = connector.encrypt(&mut stream).await?;
        let mailbox = verified.mailbox();
        let mut ready = connector
            .log_in(mailbox, &token.secret, stage, &mut stream)
            .await?;
        if let Some(capabilities) = ready.capabilities.take() {
            self.state.learn(&provider.name, protocol, capabilities);
        }
        Ok(LoggedIn {
            stream,
            ready,
            mailbox: mailbox.to_owned(),
        })
    }

    /// Waits for the end of a mailbox's backoff: SMTP clients up to `smtp_limits.wait`, others not
    /// at all. Errors: the backoff lasts longer.
    async fn wait_for_backoff(
        &self,
        protocol: Protocol,
        verified: &VerifiedLogin,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let throttle = self.throttle(verified);
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
            format!("the mail service wants no message from this mailbox for another {seconds} s");
        Err(Fault::new(Kind::Busy, detail).with_remedy(
            "the mail service is throttling this mailbox; let the application poll less often",
        ))
    }

    /// Records the backoff of a mailbox if the mail service named one.
    fn record_backoff(&self, protocol: Protocol, verified: &VerifiedLogin, fault: &Fault) {
        if let Some(time) = suggested_backoff(fault.detail()) {
            let time = Duration::from_millis(time);
            self.throttle(verified).back_off(protocol, time);
        }
    }

    /// Throttle of the mailbox.
    pub(super) fn throttle(&self, verified: &VerifiedLogin) -> Arc<MailboxThrottle> {
        let provider = &verified.account().registration.provider;
        let throttles = &self.state.throttles;
        throttles.of_mailbox(&provider.name, verified.mailbox())
    }
}

/// Limits of the account's mail service over SMTP.
pub(super) fn limits(account: &Account) -> Option<SmtpLimits> {
    account.registration.provider.smtp_limits
}

/// Waits for the delay of a refused login that began at `started`, and returns its fault.
pub(super) async fn delayed(refused: LoginRefused, started: Instant, deadline: Instant) -> Fault {
    tokio::time::sleep_until((started + refused.delay).min(deadline)).await;
    refused.fault
}

/// Extends the remedy if a delegate signed in: over SMTP a user's token may open only that user's
/// mailbox.
fn of_delegate(fault: Fault, protocol: Protocol, verified: &VerifiedLogin, token: &Token) -> Fault {
    let mailbox = verified.mailbox();
    let person = crate::token::person(token.secret.expose())
        .filter(|person| !person.eq_ignore_ascii_case(mailbox));
    let refused = protocol == Protocol::Smtp && fault.kind() == Kind::Refused;
    let Some(person) = person.filter(|_| refused) else {
        return fault;
    };
    let remedy = format!(
        "{person} signed in, and the mailbox is {mailbox}: set mailbox: {{smtp: {person}}} and give {person} \
         SendAs on {mailbox}, or FullAccess to log in as {mailbox}; {}",
        fault.remedy().unwrap_or_default()
    );
    fault.with_remedy(remedy)
}
