//! Steps of the connection test, in order.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::advice::{self, Advice, TokenClaims};
use super::certificate::describe;
use super::mailbox::Failure;
use super::report::{Step, TestTarget};
use super::{claims, mailbox};
use crate::auth::password::VerifiedLogin;
use crate::config::Endpoint;
use crate::environment;
use crate::expiry::ends_soon;
use crate::fault::{Fault, Kind};
use crate::login::back::{Ready, Stage};
use crate::outbound::{connect, dial};
use crate::session::Service;
use crate::stream::Stream;
use crate::token::Token;
use crate::upstream::Connector;

/// Longest time for one address family to answer.
const FAMILY: Duration = Duration::from_secs(3);

/// Tests one protocol step by step, up to the first step that fails; `on_step` gets each as it ends.
pub(super) async fn run(
    service: &Service,
    target: &TestTarget,
    on_step: &mut (dyn FnMut(&Step) + Send),
) -> Vec<Step> {
    let mut run = TestRun {
        service,
        target,
        on_step,
        steps: Vec::new(),
        began: Instant::now(),
    };
    let _ = run.steps().await;
    run.steps
}

struct TestRun<'a> {
    service: &'a Service,
    target: &'a TestTarget,
    on_step: &'a mut (dyn FnMut(&Step) + Send),
    /// Steps that have ended.
    steps: Vec<Step>,
    /// End of the last of them, at which the next one began.
    began: Instant,
}

/// Error: a step failed and was reported.
struct StepFailed;

impl TestRun<'_> {
    async fn steps(&mut self) -> Result<(), StepFailed> {
        let target = self.target;
        let provider = target.account.registration.provider.clone();
        let mailbox = target.account.mailbox_of(target.protocol, &target.login);
        let endpoint = match provider.endpoint(target.protocol) {
            Some(endpoint) if target.account.protocols.contains(&target.protocol) => endpoint,
            endpoint => return self.nowhere(endpoint.is_some()),
        };
        self.store().await;
        let mut stream = self.connect(endpoint).await?;
        let connector = self.service.connector(&provider, target.protocol, None);
        let connector = self.judged("tls", connector)?;
        let stage = self.encrypt(&connector, &mut stream).await?;
        let (verified, token) = self.token(&mailbox).await?;
        let claims = self.claims(&token, &mailbox)?;
        let ready = self
            .log_in(&connector, &mailbox, &token, stage, &mut stream, &claims)
            .await?;
        self.service.token_source.on_accepted(&verified, &token);
        self.mailbox(&mailbox, ready, &mut stream, &claims).await
    }

    fn nowhere(&mut self, provided: bool) -> Result<(), StepFailed> {
        let account = &self.target.account;
        let detail = match provided {
            true => format!("the account does not allow {}", self.target.protocol),
            false => format!(
                "the provider {} has no {}",
                account.registration.provider.name, self.target.protocol
            ),
        };
        let remedy = "test another protocol, or change the account's protocols";
        let advice = Advice::new(detail.clone(), remedy);
        Err(self.bad("dns", &detail, advice))
    }

    /// Runs the step `store` if several relays share one. Its failure does not end the test, since
    /// mail is relayed without the store too.
    async fn store(&mut self) {
        let Some(sharing) = &self.service.state.sharing else {
            return;
        };
        let (detail, wrong) = match sharing.examine().await {
            Err(away) => (
                "the shared store cannot be used".to_owned(),
                Some((
                    away.0,
                    "mail continues without it, each relay for itself; correct the connection to it, its password, TLS or key",
                )),
            ),
            Ok(findings) => (findings.good.join(", "), findings.wrong.into_iter().next()),
        };
        match wrong {
            None => self.good("store", detail, None),
            Some((cause, remedy)) => {
                let advice = Advice::new(cause, remedy);
                let StepFailed = self.bad("store", &detail, advice);
            }
        }
    }

    /// Runs the steps `dns` and `tcp`.
    async fn connect(&mut self, endpoint: &Endpoint) -> Result<Stream, StepFailed> {
        let provider = self.target.account.registration.provider.clone();
        let limit = self.service.limits.upstream_timeout;
        if let Some(egress) = &provider.egress {
            let detail = format!("left to the egress proxy {}:{}", egress.host, egress.port);
            self.good("dns", detail, None);
            let connected = within(limit, dial(&provider, endpoint)).await;
            let tcp = self.judged("tcp", connected)?;
            let stream = Stream::new(tcp);
            let detail = format!("connected through {}", peer(&stream));
            self.good("tcp", detail, None);
            return Ok(stream);
        }
        let resolved = within(limit, connect::resolve(endpoint, provider.ip)).await;
        let addresses = self.judged("dns", resolved)?;
        let list: Vec<_> = addresses
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        let detail = format!("{} is {}", endpoint.host, list.join(", "));
        self.good("dns", detail, None);
        let connected = within(limit, connect::connect(endpoint, addresses.clone())).await;
        let tcp = self.judged("tcp", connected)?;
        let stream = Stream::new(tcp);
        let took = self.began.elapsed();
        let mut detail = format!("connected to {}", peer(&stream));
        let mut remedy = None;
        if let Some(dead) = dead_family(endpoint, &addresses).await {
            detail.push_str(&format!("; {dead} does not work from here"));
            remedy = Some(without(dead));
        }
        self.report(Step {
            remedy,
            ..step("tcp", took, detail)
        });
        Ok(stream)
    }

    /// Runs the step `tls`, STARTTLS included.
    async fn encrypt(
        &mut self,
        connector: &Connector<'_>,
        stream: &mut Stream,
    ) -> Result<Stage, StepFailed> {
        let encrypted = connector.encrypt(stream).await;
        let stage = self.judged("tls", encrypted)?;
        let encryption = stream.encryption().unwrap_or_default();
        let certificate = stream.peer_certificate();
        let detail = match certificate.as_deref().and_then(describe) {
            Some(certificate) => format!("{encryption}, {certificate}"),
            None => encryption,
        };
        let ends = certificate
            .as_deref()
            .and_then(crate::expiry::of_certificate)
            .and_then(ends_soon);
        let remedy = ends.map(|when| {
            format!("the mail service's certificate {when}: its operator must renew it")
        });
        self.good("tls", detail, remedy);
        Ok(stage)
    }

    async fn token(&mut self, mailbox: &str) -> Result<(VerifiedLogin, Token), StepFailed> {
        let target = self.target;
        let verified = VerifiedLogin::by_operator(
            target.account.clone(),
            target.login.clone(),
            mailbox.to_owned(),
            target.password.clone(),
        );
        let token_source = self.service.token_source.clone();
        token_source.ask_again(&verified);
        let token = token_source.token(&verified).await;
        let token = self.judged("token", token)?;
        let registration = &target.account.registration;
        let detail = format!("by {} of {}", registration.grant.name(), registration.name);
        let ends = registration.credential_expires.and_then(ends_soon);
        let detail = match &ends {
            Some(when) => format!("{detail}; the client secret or certificate {when}"),
            None => detail,
        };
        let remedy = ends.map(|_| {
            "make a new client secret or certificate under Certificates & secrets, put it into the registration, and reload".into()
        });
        self.good("token", detail, remedy);
        Ok((verified, token))
    }

    fn claims(&mut self, token: &Token, mailbox: &str) -> Result<TokenClaims, StepFailed> {
        let seen = claims::inspect(self.target, token.secret.expose(), mailbox);
        if let Some(advice) = seen.wrong {
            return Err(self.bad("claims", &seen.detail, advice));
        }
        self.good("claims", seen.detail, None);
        Ok(seen.claims)
    }

    async fn log_in(
        &mut self,
        connector: &Connector<'_>,
        mailbox: &str,
        token: &Token,
        stage: Stage,
        stream: &mut Stream,
        claims: &TokenClaims,
    ) -> Result<Ready, StepFailed> {
        let ready = connector.log_in(mailbox, &token.secret, stage, stream);
        match ready.await {
            Ok(ready) => {
                let said = String::from_utf8_lossy(&ready.accepted.text);
                self.good("auth", crate::fault::sanitize(&said), None);
                Ok(ready)
            }
            Err(fault) => {
                let mut advice = advice::of_login(self.target, claims, &fault);
                advice.is_refusal = fault.kind() == Kind::Refused;
                Err(self.bad("auth", fault.detail(), advice))
            }
        }
    }

    async fn mailbox(
        &mut self,
        name: &str,
        ready: Ready,
        stream: &mut Stream,
        claims: &TokenClaims,
    ) -> Result<(), StepFailed> {
        let asked = mailbox::ask(self.target.protocol, name, &ready.leftover, stream);
        let asked = timeout(self.service.limits.upstream_timeout, asked).await;
        match asked {
            Ok(Ok(said)) => {
                self.good("mailbox", said, None);
                Ok(())
            }
            Ok(Err(Failure::Refused(said))) => {
                let mut advice = advice::of_mailbox(self.target, claims, &said);
                advice.is_refusal = !advice::is_temporary(&said);
                Err(self.bad("mailbox", &said, advice))
            }
            Ok(Err(Failure::Broken(why))) => {
                let remedy = "the mail service has a problem or is dropping connections; wait";
                let fault = Fault::new(Kind::Unreachable, why).with_remedy(remedy);
                self.judged("mailbox", Err(fault))
            }
            Err(_) => self.judged("mailbox", Err(late("answer to the first mailbox command"))),
        }
    }

    /// Returns the result, or reports the step as failed.
    fn judged<T>(&mut self, name: &'static str, result: Result<T, Fault>) -> Result<T, StepFailed> {
        result.map_err(|fault| {
            let fault = environment::hinted(fault, &self.target.account.registration.provider);
            let advice = advice::of_fault(self.target, &fault);
            self.bad(name, fault.detail(), advice)
        })
    }

    /// Reports a step that succeeded, with advice if something will need attention.
    fn good(&mut self, name: &'static str, detail: String, remedy: Option<String>) {
        self.report(Step {
            remedy,
            ..step(name, self.began.elapsed(), detail)
        });
    }

    fn bad(&mut self, name: &'static str, detail: &str, advice: Advice) -> StepFailed {
        self.report(Step {
            ok: false,
            cause: Some(advice.cause),
            remedy: Some(advice.remedy),
            is_refusal: advice.is_refusal,
            ..step(name, self.began.elapsed(), detail.to_owned())
        });
        StepFailed
    }

    fn report(&mut self, step: Step) {
        (self.on_step)(&step);
        self.steps.push(step);
        self.began = Instant::now();
    }
}

/// A step that succeeded.
fn step(name: &'static str, took: Duration, detail: String) -> Step {
    Step {
        name,
        ok: true,
        ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        detail,
        cause: None,
        remedy: None,
        is_refusal: false,
    }
}

async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(limit, step)
        .await
        .unwrap_or_else(|_| Err(late("connection")))
}

/// Finds an address family of which no address answers, although the other works.
async fn dead_family(endpoint: &Endpoint, addresses: &[SocketAddr]) -> Option<&'static str> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(SocketAddr::is_ipv6);
    if v6.is_empty() || v4.is_empty() {
        return None;
    }
    let works = |addresses| async move {
        let connected = timeout(FAMILY, connect::connect(endpoint, addresses)).await;
        matches!(connected, Ok(Ok(_)))
    };
    match tokio::join!(works(v6), works(v4)) {
        (false, true) => Some("IPv6"),
        (true, false) => Some("IPv4"),
        _ => None,
    }
}

/// Remedy for an address family that does not answer.
fn without(family: &str) -> String {
    match family {
        "IPv6" => "set the provider's ip to v4: each login tries IPv6 in vain first".into(),
        _ => "set the provider's ip to v6".into(),
    }
}

fn peer(stream: &Stream) -> String {
    stream
        .peer()
        .map_or_else(|_| "?".into(), |peer| peer.to_string())
}

fn late(what: &str) -> Fault {
    Fault::new(Kind::Unreachable, format!("no {what} in time"))
        .with_remedy("the other side or the network is slow or drops packets; check the firewall")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UpstreamTls;

    /// A service with an address in each family that listens on one of them only.
    #[tokio::test]
    async fn the_family_that_does_not_answer_is_named() {
        let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let v4 = service.local_addr().unwrap();
        let port = v4.port();
        let endpoint = Endpoint {
            host: "localhost".into(),
            port,
            tls: UpstreamTls::Implicit,
        };
        let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port));
        assert_eq!(dead_family(&endpoint, &[v6, v4]).await, Some("IPv6"));
        assert!(without("IPv6").contains("ip to v4"));
        assert_eq!(dead_family(&endpoint, &[v4]).await, None);
        assert_eq!(dead_family(&endpoint, &[v6]).await, None);
    }
}
