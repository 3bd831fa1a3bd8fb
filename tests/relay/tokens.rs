//! Access tokens: one request for all who wait, patience in an outage, and no more than two
//! attempts at an upstream that refuses.

use std::sync::Arc;
use std::time::Duration;

use authrelay::auth::password::VerifiedLogin;
use authrelay::auth::{Authenticator, ClientInfo};
use authrelay::fault::{Fault as Failed, Kind};
use authrelay::outbound::http;
use authrelay::sandbox::{Fault, LOGIN, MAILBOX, Options, PASSWORD, Sandbox};
use authrelay::tls;
use authrelay::token::{Token, TokenSource, TokenSourceConfig};
use authrelay::wire::Protocol::{self, Imap, Smtp};
use authrelay::wire::sasl::Credentials;

use crate::clock::{Clock, patient, still};
use crate::stage::{Relay, Setup, is_success};

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

/// The token broker alone, and what it may be asked with.
struct Desk {
    sandbox: Sandbox,
    broker: TokenSource,
    verified: VerifiedLogin,
}

impl Desk {
    async fn open() -> Self {
        let prepared = Setup::default().prepare().await;
        let config = prepared.config();
        let provider = &config.registrations["sandbox"].provider;
        let client = http::Client::new(tls::client(&provider.ca.0).unwrap(), None, provider.ip);
        let clients = [(provider.name.clone(), client)].into();
        let credentials = Credentials::new(LOGIN.as_bytes(), PASSWORD.as_bytes()).unwrap();
        let visitor = ClientInfo {
            address: [127, 0, 0, 1].into(),
            listener: &config.listeners[0],
            names: &[],
        };
        let accounts = Authenticator::new(&config).unwrap();
        let verified = accounts.check(visitor, &credentials).await.unwrap();
        Self {
            sandbox: prepared.sandbox,
            broker: TokenSource::new(TokenSourceConfig {
                registrations: &config.registrations,
                clients,
                timeout: config.limits.upstream_timeout,
                store: None,
            })
            .unwrap(),
            verified,
        }
    }

    /// Asks; time passes only where the endpoint keeps silent.
    async fn ask(&self, clock: &Clock) -> Result<Token, Failed> {
        let token = self.broker.token(&self.verified);
        if self.sandbox.fault() == Some(Fault::TokenSlow) {
            return clock.until_ready(Duration::from_secs(30), token).await;
        }
        patient("the token endpoint", token).await
    }

    /// Requests that the endpoint saw, or would have seen.
    fn requests(&self) -> u64 {
        let seen = self.sandbox.seen();
        seen.token_requests.max(seen.token_connections)
    }
}

#[test]
fn r19_five_hundred_logins_cost_one_token_request() {
    still(|clock| async move {
        let token_delay = Duration::from_secs(3);
        let options = Options {
            token_delay,
            smtp_connections: None,
            ..Options::default()
        };
        let relay = Arc::new(Setup::default().options(options).unlimited().start().await);
        let mut clients = tokio::task::JoinSet::new();
        let mut waiting = Vec::new();
        for number in 0..500 {
            let protocol = Protocol::ALL[number % 3];
            waiting.push(relay.connect(protocol).await);
        }
        for mut client in waiting {
            clients.spawn(async move {
                let reply = client.log_in(LOGIN, PASSWORD).await;
                (is_success(client.protocol, &reply), client)
            });
        }
        let asked = relay.sandbox.wait_for(|seen| seen.token_requests > 0);
        patient("the first request", asked).await;
        clock.advance(token_delay).await;
        let all = async {
            let mut open = Vec::new();
            while let Some(client) = clients.join_next().await {
                let (success, client) = client.unwrap();
                assert!(success);
                open.push(client);
            }
            open
        };
        assert_eq!(patient("500 logins", all).await.len(), 500);
        let seen = relay.sandbox.seen();
        assert_eq!(seen.token_requests, 1);
        assert_eq!(seen.logins.total(), 500);
    });
}

/// Twelve hours of everything that an endpoint in trouble answers, asked each minute: it is left
/// in peace, and afterwards works without anybody's help.
#[test]
fn r21_an_outage_of_twelve_hours_ends_by_itself() {
    let outage = [
        Fault::Token500,
        Fault::TokenUnreachable,
        Fault::TokenSlow,
        Fault::TokenGarbage,
        Fault::TokenHtml,
        Fault::TokenTruncated,
        Fault::TokenTransient,
        Fault::TokenRedirect,
        Fault::Token429,
        Fault::TokenThrottled,
        Fault::SecretExpired,
        Fault::Token500,
    ];
    still(|clock| async move {
        let desk = Desk::open().await;
        for (hour, fault) in (1..).zip(outage) {
            desk.sandbox.set_fault(Some(fault));
            while clock.elapsed() < hours(hour) {
                assert!(desk.ask(&clock).await.is_err(), "{fault}");
                clock.advance(Duration::from_secs(60)).await;
            }
        }
        let requests = desk.requests();
        assert!((100..=160).contains(&requests), "{requests} requests");
        desk.sandbox.set_fault(None);
        // The longest pause is 5 minutes and a fifth.
        while desk.ask(&clock).await.is_err() {
            assert!(clock.elapsed() < hours(12) + Duration::from_secs(420));
            clock.advance(Duration::from_secs(60)).await;
        }
    });
}

/// A client that polls each second for an hour.
async fn poll_for_an_hour(clock: Clock, fault: Fault) {
    let desk = Desk::open().await;
    desk.sandbox.set_fault(Some(fault));
    let mut times = Vec::new();
    while clock.elapsed() < hours(1) {
        let before = desk.requests();
        let refused = desk.ask(&clock).await.unwrap_err();
        let expected = match fault {
            Fault::SecretWrong | Fault::ConsentMissing => Kind::GrantRefused,
            _ => Kind::Unavailable,
        };
        assert_eq!(refused.kind(), expected, "{fault}");
        if desk.requests() > before {
            times.push(clock.elapsed());
        }
        clock.advance(Duration::from_secs(1)).await;
    }
    assert!(times.len() <= 22, "{fault}: {} requests", times.len());
    assert!(times.len() >= 8, "{fault}: {} requests", times.len());
    if fault == Fault::Token429 {
        let pause = times.windows(2).map(|pair| pair[1] - pair[0]).min();
        assert!(
            pause.unwrap() >= Duration::from_secs(60),
            "Retry-After: {times:?}"
        );
    }
}

#[test]
fn r22_a_client_that_polls_each_second_costs_a_handful_of_requests() {
    for fault in [
        Fault::Token429,
        Fault::Token500,
        Fault::TokenUnreachable,
        // AADSTS50196 arrives as invalid_grant, yet it is throttling.
        Fault::TokenThrottled,
        Fault::TokenTransient,
        Fault::SecretWrong,
        Fault::ConsentMissing,
    ] {
        still(|clock| poll_for_an_hour(clock, fault));
    }
}

/// The polling client's own view: the same reply, at once, from memory.
#[test]
fn r22_clients_are_answered_while_the_endpoint_rests() {
    still(|_| async {
        let relay = Relay::start().await;
        relay.sandbox.set_fault(Some(Fault::Token429));
        let mut client = relay.connect(Smtp).await;
        for _ in 0..5 {
            let reply = client.log_in(LOGIN, PASSWORD).await;
            assert!(reply.starts_with("454 4.7.0 "), "{reply}");
        }
        assert_eq!(relay.sandbox.seen().token_requests, 1);
        // Told once: the log is no place for what a polling client repeats.
        assert_eq!(relay.log.faults(), ["identity_provider: unavailable"]);
    });
}

async fn log_in(relay: &Relay, protocol: Protocol) -> String {
    relay.connect(protocol).await.log_in(LOGIN, PASSWORD).await
}

/// A cached token that is refused: invalidate, fetch once, connect once more.
#[test]
fn r24_a_stale_token_is_replaced_within_the_login() {
    for protocol in Protocol::ALL {
        still(|_| async move {
            let relay = Relay::start().await;
            relay.session(protocol).await;
            relay.sandbox.set_fault(Some(Fault::TokenStale));
            let reply = log_in(&relay, protocol).await;
            assert!(is_success(protocol, &reply), "{reply}");
            let seen = relay.sandbox.seen();
            assert_eq!(seen.token_requests, 2);
            assert_eq!(seen.connections.total(), 3);
            assert_eq!(relay.log.faults(), [""; 0]);
        });
    }
}

/// Two attempts at most, and at most one replacement a minute.
#[test]
fn r24_a_refusal_is_final_after_one_fresh_token() {
    for protocol in Protocol::ALL {
        still(|clock| async move {
            let relay = Relay::start().await;
            relay.session(protocol).await;
            relay.sandbox.set_fault(Some(Fault::AuthRefused));
            let cost = || {
                let seen = relay.sandbox.seen();
                (seen.token_requests, seen.connections.total())
            };
            assert!(!is_success(protocol, &log_in(&relay, protocol).await));
            assert_eq!(cost(), (2, 3));
            // The new one was refused too; it is not the token.
            assert!(!is_success(protocol, &log_in(&relay, protocol).await));
            assert_eq!(cost(), (2, 4));
            assert_eq!(relay.log.faults(), ["upstream: refused"; 2]);
            // A minute later it may be.
            clock.advance(Duration::from_secs(61)).await;
            assert!(!is_success(protocol, &log_in(&relay, protocol).await));
            assert_eq!(cost(), (3, 6));
        });
    }
}

/// One mailbox without permission must not churn the token that all share.
#[test]
fn r24_a_mailbox_without_permission_does_not_churn_the_shared_token() {
    still(|_| async {
        let other = "  - login: other@contoso.test\n    registration: sandbox\n    \
             mailbox: nobody@contoso.test\n    password: other\n";
        let relay = Setup::default().append(other).start().await;
        relay.session(Imap).await;
        for _ in 0..5 {
            let mut client = relay.connect(Imap).await;
            let reply = client.log_in("other@contoso.test", "other").await;
            assert!(reply.starts_with("a NO [AUTHORIZATIONFAILED] "), "{reply}");
        }
        let seen = relay.sandbox.seen();
        assert_eq!(seen.token_requests, 1);
        assert_eq!(seen.connections.imap, 6);
        relay.session(Imap).await;
        assert_eq!(relay.sandbox.seen().token_requests, 1);
    });
}

/// Whatever `expires_in` says: the token is used meanwhile, and replaced in time.
#[test]
fn r25_lifetimes_of_any_shape() {
    for fault in [
        Fault::TokenExpiresString,
        Fault::TokenExpiresMissing,
        Fault::TokenExpiresZero,
        Fault::TokenExpiresHuge,
    ] {
        still(|clock| async move {
            let relay = Relay::start().await;
            relay.sandbox.set_fault(Some(fault));
            relay.session(Imap).await;
            clock.advance(hours(1) / 2).await;
            relay.session(Imap).await;
            assert_eq!(relay.sandbox.seen().token_requests, 1, "{fault}");
            clock.advance(hours(1)).await;
            relay.session(Imap).await;
            assert_eq!(relay.sandbox.seen().token_requests, 2, "{fault}");
            assert_eq!(relay.log.faults(), [""; 0], "{fault}");
        });
    }
}

/// A new session never begins with a token that has less than five minutes left.
#[test]
fn r36_a_nearly_spent_token_is_given_to_nobody() {
    still(|clock| async move {
        let relay = Relay::start().await;
        relay.session(Imap).await;
        clock.advance(Duration::from_secs(3599 - 299)).await;
        let mut client = relay.session(Imap).await;
        assert_eq!(relay.sandbox.seen().token_requests, 2);
        // The mail service ends sessions with their token: this one goes on beyond the first's.
        clock.advance(Duration::from_secs(600)).await;
        assert_eq!(
            client.ask("b NOOP\r\n", "\r\n").await,
            "b OK NOOP completed.\r\n"
        );
    });
}

/// Eight to twelve minutes before its end a token is replaced beside a login that it still serves.
#[test]
fn r36_a_token_is_renewed_ahead_of_its_end() {
    still(|clock| async move {
        let relay = Relay::start().await;
        relay.session(Imap).await;
        clock.advance(Duration::from_secs(3599 - 13 * 60)).await;
        relay.session(Imap).await;
        assert_eq!(relay.sandbox.seen().token_requests, 1);
        clock.advance(Duration::from_secs(6 * 60)).await;
        // The endpoint is slow now; the login does not wait for it.
        relay.sandbox.set_fault(Some(Fault::TokenSlow));
        relay.session(Imap).await;
        let asked = relay.sandbox.wait_for(|seen| seen.token_requests == 2);
        patient("the request ahead", asked).await;
        assert_eq!(relay.log.faults(), [""; 0]);
    });
}

/// Exchange's own end of a session goes to the client; its next login has a fresh token.
#[test]
fn r36_expired_sessions_are_told_and_the_next_login_works() {
    still(|clock| async move {
        let relay = Relay::start().await;
        let mut client = relay.session(Imap).await;
        client.ask("b SELECT INBOX\r\n", "b OK").await;
        client.line().await;
        client
            .ask("c IDLE\r\n", "+ IDLE accepted, awaiting DONE command.\r\n")
            .await;
        clock.advance(Duration::from_secs(1800)).await;
        relay
            .sandbox
            .deliver(MAILBOX, "Subject: still there\r\n\r\n");
        assert_eq!(client.line().await, "* 4 EXISTS\r\n");
        clock.advance(Duration::from_secs(1799)).await;
        assert_eq!(
            client.rest().await,
            "* BYE Session invalidated - AccessTokenExpired\r\n"
        );
        assert!(is_success(Imap, &log_in(&relay, Imap).await));
        assert_eq!(relay.sandbox.seen().token_requests, 2);
    });
}
