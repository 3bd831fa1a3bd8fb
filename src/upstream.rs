//! Connects to a mail service and logs in with a token, for sessions and the connection test.
//!
//! A [`Connector`] performs the steps [`dial`](Connector::dial), [`encrypt`](Connector::encrypt)
//! and [`log_in`](Connector::log_in), in this order. Every wait within a step has its own deadline.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use crate::config::{Endpoint, Provider, UpstreamTls};
use crate::fault::{Fault, Kind};
use crate::login::Step;
use crate::login::back::{self, Back, Ready, Stage, UpstreamCredentials};
use crate::outbound::{dial, tls_fault};
use crate::secret::Secret;
use crate::stream::Stream;
use crate::wire::Protocol;

/// Connector to a provider's mail service for one protocol.
pub struct Connector<'a> {
    provider: &'a Provider,
    endpoint: &'a Endpoint,
    protocol: Protocol,
    tls: Arc<ClientConfig>,
    step_timeout: Duration,
    deadline: Option<Instant>,
}

impl<'a> Connector<'a> {
    /// Creates a connector that uses `tls`. Each wait takes at most `step_timeout`
    /// (`limits.upstream_timeout`), and none exceeds `deadline`.
    ///
    /// # Errors
    ///
    /// `upstream: unreachable`: the provider has no endpoint for the protocol.
    pub fn new(
        provider: &'a Provider,
        protocol: Protocol,
        tls: Option<Arc<ClientConfig>>,
        step_timeout: Duration,
        deadline: Option<Instant>,
    ) -> Result<Self, Fault> {
        let (Some(endpoint), Some(tls)) = (provider.endpoint(protocol), tls) else {
            return Err(Fault::new(
                Kind::Unreachable,
                format!("the provider {} has no {protocol}", provider.name),
            )
            .with_remedy("give the provider's host and port for the protocol, or take it from the account's protocols"));
        };
        Ok(Self {
            provider,
            endpoint,
            protocol,
            tls,
            step_timeout,
            deadline,
        })
    }

    /// Opens the connection, through the egress proxy if the provider has one.
    pub async fn dial(&self) -> Result<Stream, Fault> {
        let dialled = dial(self.provider, self.endpoint);
        Ok(Stream::new(self.within("connection", dialled).await?))
    }

    /// Starts TLS, after STARTTLS if the endpoint requires it. Returns the stage for the login.
    pub async fn encrypt(&self, stream: &mut Stream) -> Result<Stage, Fault> {
        let stage = match self.endpoint.tls {
            UpstreamTls::Implicit => Stage::Implicit,
            UpstreamTls::StartTls => {
                // The cleartext dialogue gets no credentials.
                let nobody = self.credentials("", &Secret::default(), stream);
                let mut back = back::new(self.protocol, nobody, Stage::Cleartext);
                if self.drive(back.as_mut(), stream).await?.is_some() {
                    return Err(Fault::new(Kind::Internal, "a login in clear"));
                }
                Stage::Upgraded
            }
        };
        let name = tls_fault::server_name(self.endpoint)?;
        let handshake = async {
            stream
                .encrypt_as_client(self.tls.clone(), name)
                .await
                .map_err(|error| tls_fault::upstream_fault(self.endpoint, &error))
        };
        self.within("TLS", handshake).await?;
        Ok(stage)
    }

    /// Logs in to `mailbox` with `token` on the encrypted connection.
    pub async fn log_in(
        &self,
        mailbox: &str,
        token: &Secret,
        stage: Stage,
        stream: &mut Stream,
    ) -> Result<Ready, Fault> {
        let credentials = self.credentials(mailbox, token, stream);
        let mut back = back::new(self.protocol, credentials, stage);
        let ready = self.drive(back.as_mut(), stream).await?;
        ready.ok_or_else(|| Fault::new(Kind::Internal, "STARTTLS within TLS"))
    }

    fn credentials(&self, mailbox: &str, token: &Secret, stream: &Stream) -> UpstreamCredentials {
        UpstreamCredentials {
            mailbox: mailbox.to_owned(),
            token: token.clone(),
            mechanism: self.provider.mechanism,
            host: self.endpoint.host.clone(),
            port: self.endpoint.port,
            client_name: match self.protocol {
                Protocol::Smtp => client_name(stream),
                Protocol::Imap | Protocol::Pop3 => String::new(),
            },
        }
    }

    /// Carries out the dialogue's steps. `None`: TLS begins now.
    async fn drive(
        &self,
        back: &mut dyn Back,
        stream: &mut Stream,
    ) -> Result<Option<Ready>, Fault> {
        let mut waiting = back.waiting();
        let mut step_ends = self.step_ends();
        loop {
            let step = back.next();
            if back.waiting() != waiting {
                waiting = back.waiting();
                step_ends = self.step_ends();
            }
            let late = || self.late(waiting.name());
            match step {
                Step::Read => {
                    let received =
                        timeout_at(step_ends, stream.receive(|bytes| back.receive(bytes)));
                    match received.await.map_err(|_| late())? {
                        Ok(true) => {}
                        Ok(false) | Err(_) => return Err(back.closed()),
                    }
                }
                Step::Write(bytes) => {
                    let written = timeout_at(step_ends, stream.write(&bytes)).await;
                    if written.map_err(|_| late())?.is_err() {
                        return Err(back.closed());
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
        what: &str,
        step: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        timeout_at(self.step_ends(), step)
            .await
            .unwrap_or_else(|_| Err(self.late(what)))
    }

    fn step_ends(&self) -> Instant {
        let ends = Instant::now() + self.step_timeout;
        self.deadline.map_or(ends, |deadline| deadline.min(ends))
    }

    fn late(&self, what: &str) -> Fault {
        let Endpoint { host, port, .. } = self.endpoint;
        let (way, remedy) = match &self.provider.egress {
            None => (
                String::new(),
                "the mail service or the network is slow or drops packets; check the firewall, or wait",
            ),
            Some(proxy) => (
                format!(" through the egress proxy {}:{}", proxy.host, proxy.port),
                "check that the egress proxy answers and reaches the mail service, or wait",
            ),
        };
        let detail = format!("no {what} with {host}:{port} in time{way}");
        Fault::new(Kind::Unreachable, detail).with_remedy(remedy)
    }
}

/// Our address as a literal for EHLO (RFC 5321 §4.1.3).
fn client_name(stream: &Stream) -> String {
    match stream.local().map(|address| address.ip().to_canonical()) {
        Ok(std::net::IpAddr::V4(ip)) => format!("[{ip}]"),
        Ok(std::net::IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        Err(_) => "[127.0.0.1]".into(),
    }
}
