//! Reaching the mail service and logging in to it with a token.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use tokio::time::{Instant, timeout_at};

use super::Service;
use super::record::SessionRecord;
use crate::auth::password::VerifiedLogin;
use crate::auth::{ClientInfo, LoginRefused};
use crate::config::{Endpoint, UpstreamTls};
use crate::environment;
use crate::fault::{Fault, Kind};
use crate::login::Step;
use crate::login::back::{self, Back, Ready, Stage, UpstreamCredentials};
use crate::outbound::dial::dial;
use crate::outbound::tls_fault;
use crate::stream::Stream;
use crate::token::Token;
use crate::wire::Protocol;

/// An upstream that took the token.
pub(super) struct LoggedIn {
    pub(super) stream: Stream,
    pub(super) ready: Ready,
    /// Host and port as configured.
    pub(super) name: String,
    pub(super) address: Option<SocketAddr>,
    /// The mailbox that was logged in as.
    pub(super) mailbox: String,
}

/// For which session an upstream is opened, and what limits it.
#[derive(Clone, Copy)]
pub(super) struct ConnectContext<'a> {
    /// The session's id, for the log.
    pub(super) session: &'a str,
    pub(super) protocol: Protocol,
    /// Where the client comes from; without it no password of a client may be needed for the
    /// token.
    pub(super) visitor: Option<ClientInfo<'a>>,
    pub(super) started: Instant,
    pub(super) deadline: Instant,
}

impl Service {
    /// From a client that has proved who it is to an upstream that is logged in; none yet where
    /// each MAIL has its own.
    pub(super) async fn open(
        &self,
        visitor: ClientInfo<'_>,
        verified: &VerifiedLogin,
        record: &mut SessionRecord,
        started: Instant,
        deadline: Instant,
    ) -> Result<Option<LoggedIn>, Fault> {
        let protocol = visitor.listener.protocol;
        if protocol == Protocol::Smtp && verified.account().mailbox.smtp_is_sender {
            record.on_login(started);
            return Ok(None);
        }
        let session = record.id().to_owned();
        let context = ConnectContext {
            session: &session,
            protocol,
            visitor: Some(visitor),
            started,
            deadline,
        };
        let logged_in = self.connect(context, verified).await?;
        record.on_upstream(&logged_in);
        record.on_login(started);
        Ok(Some(logged_in))
    }

    /// Gets a token and logs in with it, once more with another where it is refused.
    pub(super) async fn connect(
        &self,
        context: ConnectContext<'_>,
        verified: &VerifiedLogin,
    ) -> Result<LoggedIn, Fault> {
        let ConnectContext {
            session,
            protocol,
            visitor,
            started,
            deadline,
        } = context;
        self.wait_for_backoff(protocol, verified, deadline).await?;
        let mut first = true;
        loop {
            let token = timeout_at(deadline, self.token(visitor, verified)).await;
            let token = token.unwrap_or_else(|_| {
                Err(LoginRefused::at_once(
                    Fault::new(Kind::Unavailable, "no token within the login's deadline").with_remedy(
                        "the identity provider is slow; raise limits.login_timeout if it stays so",
                    ),
                ))
            });
            let token = match token {
                Ok(token) => token,
                Err(refused) => {
                    tokio::time::sleep_until((started + refused.delay).min(deadline)).await;
                    return Err(refused.fault);
                }
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
                    tracing::debug!(session, %fault, "the token was refused; trying once more with another");
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

    /// An access token. Of a password that only the identity provider can check no more guesses
    /// are with it than the lockout allows.
    async fn token(
        &self,
        visitor: Option<ClientInfo<'_>>,
        verified: &VerifiedLogin,
    ) -> Result<Token, LoginRefused> {
        let Some(visitor) = visitor.filter(|_| verified.unverified_password().is_some()) else {
            return self
                .token_source
                .token(verified)
                .await
                .map_err(LoginRefused::at_once);
        };
        let trial = self.accounts.pending_check(visitor, verified).await?;
        match self.token_source.token(verified).await {
            Ok(token) => {
                trial.succeeded();
                Ok(token)
            }
            Err(fault) if fault.kind() == Kind::Credentials => Err(trial.failed(fault)),
            // Nothing was said of the password.
            Err(fault) => Err(LoginRefused::at_once(fault)),
        }
    }

    /// Dials, encrypts, logs in; each step within `limits.upstream_timeout`, all within
    /// `deadline`.
    pub(super) async fn log_in_upstream(
        &self,
        protocol: Protocol,
        verified: &VerifiedLogin,
        token: &Token,
        deadline: Instant,
    ) -> Result<LoggedIn, Fault> {
        let provider = &verified.account().registration.provider;
        let (Some(endpoint), Some(config)) =
            (provider.endpoint(protocol), self.tls.get(&provider.name))
        else {
            return Err(Fault::new(
                Kind::Unreachable,
                format!("the provider {} has no {protocol}", provider.name),
            )
            .with_remedy("give the provider's host and port for the protocol, or take it from the account's protocols"));
        };
        let tcp = self
            .within(deadline, endpoint, "connection", dial(provider, endpoint))
            .await?;
        let mut stream = Stream::new(tcp);
        let address = stream.peer().ok();
        let login = UpstreamCredentials {
            mailbox: verified.mailbox().to_owned(),
            token: token.secret.clone(),
            mechanism: provider.mechanism,
            host: endpoint.host.clone(),
            port: endpoint.port,
            client_name: client_name(&stream),
        };
        let mut stage = match endpoint.tls {
            UpstreamTls::Implicit => Stage::Implicit,
            UpstreamTls::StartTls => Stage::Cleartext,
        };
        let ready = loop {
            if stage != Stage::Cleartext {
                self.encrypt_upstream(&mut stream, endpoint, config.clone(), deadline)
                    .await?;
            }
            let mut back = back::new(protocol, login.clone(), stage);
            match self
                .drive(back.as_mut(), &mut stream, endpoint, deadline)
                .await?
            {
                Some(ready) => break ready,
                None if stage == Stage::Cleartext => stage = Stage::Upgraded,
                None => return Err(Fault::new(Kind::Internal, "STARTTLS within TLS")),
            }
        };
        if let Some(capabilities) = &ready.capabilities {
            self.learn(&provider.name, protocol, capabilities);
        }
        Ok(LoggedIn {
            stream,
            ready,
            name: format!("{}:{}", endpoint.host, endpoint.port),
            address,
            mailbox: verified.mailbox().to_owned(),
        })
    }

    async fn encrypt_upstream(
        &self,
        stream: &mut Stream,
        endpoint: &Endpoint,
        config: Arc<rustls::ClientConfig>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let name = tls_fault::server_name(endpoint)?;
        let handshake = async {
            stream
                .encrypt_as_client(config, name)
                .await
                .map_err(|error| tls_fault::upstream_fault(endpoint, &error))
        };
        self.within(deadline, endpoint, "TLS", handshake).await
    }

    /// Does what the dialogue says; `None`: it wants TLS now.
    async fn drive(
        &self,
        back: &mut dyn Back,
        stream: &mut Stream,
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Result<Option<Ready>, Fault> {
        let lost = |back: &mut dyn Back| back.closed();
        let mut waiting = back.waiting();
        let mut step_ends = self.step_ends(deadline);
        loop {
            let step = back.next();
            if back.waiting() != waiting {
                waiting = back.waiting();
                step_ends = self.step_ends(deadline);
            }
            let late = || late(endpoint, waiting.name());
            match step {
                Step::Read => {
                    let received =
                        timeout_at(step_ends, stream.receive(|bytes| back.receive(bytes)));
                    match received.await.map_err(|_| late())? {
                        Ok(true) => {}
                        Ok(false) | Err(_) => return Err(lost(back)),
                    }
                }
                Step::Write(bytes) => {
                    let written = timeout_at(step_ends, stream.write(&bytes)).await;
                    if written.map_err(|_| late())?.is_err() {
                        return Err(lost(back));
                    }
                }
                Step::StartTls => return Ok(None),
                Step::Done(ready) => return Ok(Some(ready)),
                Step::Failed(fault) => return Err(fault),
            }
        }
    }

    async fn within<T>(
        &self,
        deadline: Instant,
        endpoint: &Endpoint,
        what: &str,
        step: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        timeout_at(self.step_ends(deadline), step)
            .await
            .unwrap_or_else(|_| Err(late(endpoint, what)))
    }

    fn step_ends(&self, deadline: Instant) -> Instant {
        deadline.min(Instant::now() + self.limits.upstream_timeout)
    }

    fn learn(&self, provider: &str, protocol: Protocol, capabilities: &[String]) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let known = learned.get(&(provider.to_owned(), protocol));
        if known.is_none_or(|known| **known != *capabilities) {
            learned.insert((provider.to_owned(), protocol), capabilities.into());
        }
    }
}

/// Over SMTP a person's token may open that person's own mailbox only: where the two differ, the
/// remedy says how to log in as that person.
fn of_delegate(fault: Fault, protocol: Protocol, verified: &VerifiedLogin, token: &Token) -> Fault {
    let mailbox = verified.mailbox();
    let person = crate::token::person(token.secret.expose())
        .filter(|person| !person.eq_ignore_ascii_case(mailbox));
    match (person, fault.remedy()) {
        (Some(person), remedy) if protocol == Protocol::Smtp && fault.kind() == Kind::Refused => {
            let remedy = remedy.unwrap_or_default();
            let remedy = format!(
                "{person} signed in, and the mailbox is {mailbox}: set mailbox: {{smtp: {person}}} and give {person} \
                 SendAs on {mailbox}, or FullAccess to log in as {mailbox}; {remedy}"
            );
            fault.with_remedy(remedy)
        }
        _ => fault,
    }
}

fn late(endpoint: &Endpoint, what: &str) -> Fault {
    Fault::new(
        Kind::Unreachable,
        format!("no {what} with {}:{} in time", endpoint.host, endpoint.port),
    )
    .with_remedy("the mail service or the way to it is slow or swallows packets; check the firewall, or wait")
}

/// Our address as EHLO's literal (RFC 5321 §4.1.3).
fn client_name(stream: &Stream) -> String {
    match stream.local().map(|address| address.ip().to_canonical()) {
        Ok(std::net::IpAddr::V4(ip)) => format!("[{ip}]"),
        Ok(std::net::IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        Err(_) => "[127.0.0.1]".into(),
    }
}
