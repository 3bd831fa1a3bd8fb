//! What a token endpoint's answers do to a consent, and what is stored of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use authrelay::config::{Config, LoadMode};
use authrelay::sandbox::{LOGIN, PASSWORD, Sandbox};
use authrelay::wire::Protocol::Imap;
use serde_json::{Value, json};

use crate::consent::accounts;
use crate::disk::SmallDisk;
use crate::endpoint::{Answer, Asked, Endpoint};
use crate::stage::{Relay, Setup};
use crate::{assert_logs_in, consent, consenting, log_in, registration};

/// A relay whose consents are redeemed at a scripted endpoint.
async fn scripted(setup: Setup) -> (Relay, Endpoint) {
    let endpoint = Endpoint::start().await;
    let relay = setup.token_url(&endpoint.url()).start().await;
    grant(&endpoint, &relay.sandbox);
    (relay, endpoint)
}

/// A good answer for each request, with a refresh token that is another each time.
fn good(token: &str, number: usize) -> Value {
    json!({
        "access_token": token, "refresh_token": format!("refresh-{number}"), "expires_in": 3599,
        "scope": "offline_access",
    })
}

/// The endpoint grants whatever it is asked.
fn grant(endpoint: &Endpoint, sandbox: &Sandbox) {
    let tokens: Vec<_> = (0..40).map(|_| sandbox.issue_token().unwrap()).collect();
    let mut number = 0;
    endpoint.script(move |_| {
        number += 1;
        Answer::json(200, &good(&tokens[number], number))
    });
}

async fn consented(setup: Setup) -> (Relay, Endpoint) {
    let (relay, endpoint) = scripted(setup).await;
    let (status, page) = consent(&relay).await;
    assert_eq!(status, 200, "{page}");
    (relay, endpoint)
}

fn state_of(relay: &Relay) -> (String, String) {
    let rows = accounts(relay.directory());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&rows[0]["consent"]),
        text(&rows[0]["last_fault"]["remedy"]),
    )
}

pub async fn metric(relay: &Relay, line: &str) -> bool {
    let url = format!("http://{}/metrics", relay.listener("admin"));
    let text = crate::http()
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    text.lines().any(|other| other == line)
}

/// d22, f41: by what a consent ends, and by what it does not; what is counted; and that a consent
/// that was only refused for a while works again by itself.
#[tokio::test]
async fn d22_a_consent_ends_by_a_known_list_alone() {
    let bare = |error: &str| Answer::json(400, &json!({"error": error}));
    let suberror = |suberror: &str| {
        Answer::json(
            400,
            &json!({"error": "invalid_grant", "suberror": suberror, "error_description": "AADSTS999999: x"}),
        )
    };
    let mut cases = vec![
        ("needed", bare("invalid_grant")),
        // f40, d25
        ("needed", bare("INVALID_REFRESH_TOKEN")),
        ("needed", bare("INVALID_GRANT")),
        ("needed", Answer::entra("invalid_grant", 50173)),
        // Codes as text, and no description.
        (
            "needed",
            Answer::json(
                400,
                &json!({"error": "invalid_grant", "error_codes": ["700082"]}),
            ),
        ),
        (
            "attention",
            Answer::json(
                400,
                &json!({"error": "invalid_grant", "error_codes": ["53003", null]}),
            ),
        ),
        ("needed", suberror("bad_token")),
        ("needed", suberror("token_expired")),
        ("attention", suberror("client_mismatch")),
        ("attention", bare("interaction_required")),
        ("attention", bare("invalid_client")),
        ("given", bare("rate_limit_exceeded")),
        ("given", bare("temporarily_unavailable")),
        (
            "given",
            Answer::json(302, &json!({"error": "invalid_grant"})),
        ),
        (
            "given",
            Answer::json(503, &json!({"error": "invalid_grant"})),
        ),
        (
            "given",
            Answer::json(429, &json!({"error": "invalid_grant"})),
        ),
        ("given", Answer::text(200, "<html>")),
        ("given", Answer::text(400, "invalid_grant")),
    ];
    for code in [50087, 50088, 50166, 50000, 50196] {
        cases.push(("given", Answer::entra("invalid_grant", code)));
    }
    for code in [
        50105, 50097, 53002, 53004, 53011, 530_003, 50144, 500_571, 65001, 50076, 50079,
    ] {
        cases.push(("attention", Answer::entra("invalid_grant", code)));
    }
    for (expected, answer) in cases {
        let (relay, endpoint) = consented(consenting()).await;
        let text = format!("{:?}", serde_json::from_str::<Value>(answer.body()));
        relay.sandbox.revoke_tokens();
        endpoint.always(answer);
        let reply = log_in(&relay, Imap).await;
        let start = match expected {
            "given" => "a NO [UNAVAILABLE] ",
            _ => "a NO [CONTACTADMIN] ",
        };
        assert!(reply.starts_with(start), "{text}: {reply}");
        assert_eq!(state_of(&relay).0, expected, "{text}");
        for (name, state) in [
            ("reauthorization_required", "needed"),
            ("consents_attention", "attention"),
        ] {
            let count = u8::from(state == expected);
            let line = format!("authrelay_{name}{{registration=\"sandbox\"}} {count}");
            assert!(metric(&relay, &line).await, "{text}: {line}");
        }
    }
}

/// f41: whoever mends the policy has nothing else to do.
#[test]
fn f41_a_consent_heals_by_itself_and_is_asked_about_seldom() {
    crate::clock::still(|clock| async move {
        let (relay, endpoint) = consented(consenting()).await;
        relay.sandbox.revoke_tokens();
        endpoint.always(Answer::entra("invalid_grant", 53003));
        let before = endpoint.count();
        let day = Duration::from_secs(24 * 3600);
        let (began, uncounted) = (clock.elapsed(), before - counted_requests(&relay));
        // Requests must not be under way when time jumps: they would time out. One that did before it
        // arrived is counted by the relay alone.
        let answered = async || {
            let all = || endpoint.count() <= counted_requests(&relay) + uncounted;
            crate::clock::patient("answers", until(all)).await;
        };
        while clock.elapsed() - began < day {
            let reply = log_in(&relay, Imap).await;
            assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
            answered().await;
            let (asked, looks) = (endpoint.count(), looks_before(clock.elapsed()));
            clock.advance(Duration::from_secs(600)).await;
            if looks_before(clock.elapsed()) > looks {
                crate::clock::patient("a look", until(|| endpoint.count() > asked)).await;
                answered().await;
            }
        }
        let asked = endpoint.count() - before;
        assert!((2..=40).contains(&asked), "asked {asked} times in a day");
        clock.advance(Duration::from_secs(5000)).await;
        grant(&endpoint, &relay.sandbox);
        assert_logs_in(&relay, Imap).await;
        assert_eq!(state_of(&relay).0, "given");
        // Where nobody logs in, it is looked after as well.
        endpoint.always(Answer::entra("invalid_grant", 53003));
        relay.sandbox.revoke_tokens();
        clock.advance(Duration::from_secs(120)).await;
        log_in(&relay, Imap).await;
        assert_eq!(state_of(&relay).0, "attention");
        grant(&endpoint, &relay.sandbox);
        clock.advance(day).await;
        let asked = endpoint.count();
        let again = until(|| endpoint.count() > asked);
        crate::clock::patient("the daily look", again).await;
        relay.log.wait_for("token obtained").await;
    });
}

/// Looks at consents that need attention, which come every twelve hours from the start on.
fn looks_before(time: Duration) -> u64 {
    time.as_secs() / (12 * 3600)
}

/// Token requests whose answer has been taken in.
fn counted_requests(relay: &Relay) -> usize {
    let text = relay.control.current().active().state.metrics.text();
    let counters = text
        .lines()
        .filter(|line| line.starts_with("authrelay_token_requests_total"));
    let count = |line: &str| line.rsplit_once(' ').unwrap().1.parse::<usize>().unwrap();
    counters.map(count).sum()
}

async fn until(is_true: impl Fn() -> bool) {
    while !is_true() {
        tokio::task::yield_now().await;
    }
}

/// d26: an empty refresh token is none.
#[tokio::test]
async fn d26_an_empty_refresh_token_replaces_nothing() {
    for empty in [json!(""), json!(null), json!("  ")] {
        let (relay, endpoint) = consented(consenting()).await;
        let tokens: Vec<_> = (0..3)
            .map(|_| relay.sandbox.issue_token().unwrap())
            .collect();
        let first = endpoint.count();
        let mut number = 0;
        let answer = empty.clone();
        endpoint.script(move |_| {
            number += 1;
            let mut json = good(&tokens[number - 1], number);
            json["refresh_token"] = answer.clone();
            json["expires_in"] = json!(2);
            Answer::json(200, &json)
        });
        relay.sandbox.revoke_tokens();
        // Revoked too are the tokens to come: the redemption is what counts.
        log_in(&relay, Imap).await;
        let config = Config::load(&relay.directory().join("proxy.yaml"), LoadMode::Run).unwrap();
        let service = authrelay::session::Service::new(&config).unwrap();
        service.refresh_unused(Duration::ZERO).await;
        let asked = endpoint.asked();
        assert!(asked.len() >= first + 2, "{empty}");
        for form in &asked[first..] {
            assert_eq!(form["refresh_token"], "refresh-1", "{empty}");
        }
    }
}

/// f43: a consent that brings no refresh token is said and not stored.
#[tokio::test]
async fn f43_a_consent_without_a_refresh_token_is_not_stored() {
    for (keys, remedy) in [
        ("", "must allow offline access"),
        (
            "\nscope: [https://outlook.office.com/IMAP.AccessAsUser.All]",
            "add offline_access to the registration's scope",
        ),
    ] {
        let setup = registration(&format!("grant: authorization_code{keys}")).append(
            "admin: {bind: \"127.0.0.1:0\", public_url: \"http://localhost:8025\", token: admin-token-9Zk4}\n",
        );
        let (relay, endpoint) = scripted(setup).await;
        let token = relay.sandbox.issue_token().unwrap();
        endpoint.always(Answer::json(
            200,
            &json!({"access_token": token, "expires_in": 3599}),
        ));
        let (status, page) = consent(&relay).await;
        assert_eq!(status, 400, "{page}");
        assert!(
            page.contains("no refresh token") && page.contains("59 minutes"),
            "{page}"
        );
        assert!(page.contains(&remedy.replace('\'', "&#39;")), "{page}");
        assert_eq!(state_of(&relay).0, "needed");
    }
}

/// f45: another tenant, client id or provider asks for a new consent, and gives back the old one.
#[tokio::test]
async fn f45_a_consent_belongs_to_its_application() {
    let client = authrelay::sandbox::CLIENT_ID;
    for (key, value, other) in [
        ("client_id", client, "99999999-2222-3333-4444-555555555555"),
        ("tenant", authrelay::sandbox::TENANT, "fabrikam.test"),
    ] {
        let (relay, endpoint) = consented(consenting()).await;
        assert_logs_in(&relay, Imap).await;
        let asked = endpoint.count();
        let change = |from: &str, to: &str| {
            relay.rewrite(&[(&format!("{key}: {from}"), &format!("{key}: {to}"))]);
        };
        change(value, other);
        relay.control.reload().await.unwrap();
        let reply = log_in(&relay, Imap).await;
        assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{key}: {reply}");
        assert_eq!(
            endpoint.count(),
            asked,
            "{key}: the refresh token stays at home"
        );
        assert_eq!(state_of(&relay).0, "needed");
        // A consent to the new one.
        let (status, page) = by_hand(&relay, &endpoint).await;
        assert_eq!(status, 200, "{page}");
        assert_logs_in(&relay, Imap).await;
        // And back: the old one is there, with its own refresh token.
        change(other, value);
        relay.control.reload().await.unwrap();
        assert_logs_in(&relay, Imap).await;
        assert_eq!(state_of(&relay).0, "given");
        relay.sandbox.revoke_tokens();
        let asked = endpoint.count();
        log_in(&relay, Imap).await;
        let forms = endpoint.asked();
        assert_eq!(forms[asked]["refresh_token"], "refresh-1", "{key}");
    }
}

/// A consent whose code the identity provider hands out unseen: the sandbox does not know every
/// client.
async fn by_hand(relay: &Relay, _endpoint: &Endpoint) -> (u16, String) {
    let answer = crate::begin(relay).await;
    let url = url::Url::parse(answer["url"].as_str().unwrap()).unwrap();
    let pair = |name: &str| {
        let pair = url.query_pairs().find(|(key, _)| key == name);
        pair.unwrap().1.into_owned()
    };
    let mut back = url::Url::parse(&pair("redirect_uri")).unwrap();
    back.query_pairs_mut()
        .append_pair("code", "by-hand")
        .append_pair("state", &pair("state"));
    crate::come_back(relay, back.as_str()).await
}

/// Another person's consent replaces a good one only where the mailbox's owner gives it.
#[tokio::test]
async fn a_wrong_persons_consent_replaces_no_good_one() {
    use base64::Engine as _;
    let (relay, endpoint) = scripted(consenting()).await;
    let token = relay.sandbox.issue_token().unwrap();
    let signs_in = |who: &str, refresh_token: &str| {
        let claims = json!({"upn": who}).to_string();
        let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
        endpoint.always(Answer::json(
            200,
            &json!({
                "access_token": token, "id_token": format!("e30.{claims}.x"), "expires_in": 3599,
                "refresh_token": refresh_token, "scope": "offline_access",
            }),
        ));
    };
    let redeemed = async || {
        let config = Config::load(&relay.directory().join("proxy.yaml"), LoadMode::Run).unwrap();
        let service = authrelay::session::Service::new(&config).unwrap();
        service.refresh_unused(Duration::ZERO).await;
        endpoint.asked().last().unwrap()["refresh_token"].clone()
    };
    // A delegate, then another one by mistake.
    signs_in("anna@contoso.test", "anna-1");
    assert_eq!(consent(&relay).await.0, 200);
    signs_in("mallory@contoso.test", "mallory-1");
    let (status, page) = consent(&relay).await;
    assert_eq!(status, 400, "{page}");
    assert!(
        page.contains("mallory@contoso.test signed in") && page.contains("authrelay forget"),
        "{page}"
    );
    signs_in("anna@contoso.test", "anna-2");
    assert_eq!(redeemed().await, "anna-1");
    // The same person again, and the owner of the mailbox, may.
    assert_eq!(consent(&relay).await.0, 200);
    signs_in("Tickets@Contoso.test", "tickets-1");
    assert_eq!(consent(&relay).await.0, 200);
    assert_eq!(redeemed().await, "tickets-1");
    // And anybody where the consent that is there brings nothing.
    endpoint.always(Answer::entra("invalid_grant", 50173));
    redeemed().await;
    signs_in("mallory@contoso.test", "mallory-2");
    assert_eq!(consent(&relay).await.0, 200);
}

/// An opaque token does not say who signed in: the mail service's refusal gives back what was there.
#[tokio::test]
async fn a_wrong_persons_opaque_consent_is_taken_back() {
    let (relay, endpoint) = scripted(consenting()).await;
    let consent_with = async |token: String, refresh_token: &str| {
        endpoint.always(Answer::json(
            200,
            &json!({"access_token": token, "refresh_token": refresh_token, "expires_in": 3599}),
        ));
        consent(&relay).await
    };
    relay
        .sandbox
        .set_fault(Some(authrelay::sandbox::Fault::TokenOpaque));
    let good = relay.sandbox.issue_token().unwrap();
    let (_, page) = consent_with(good, "right").await;
    assert!(!page.contains("could not be opened"), "{page}");
    let (_, page) = consent_with("EwBOfSomebodyElse".into(), "wrong").await;
    assert!(
        page.contains("could not be opened") && page.contains("is in force again"),
        "{page}"
    );
    relay.sandbox.set_fault(None);
    assert_logs_in(&relay, Imap).await;
    let config = Config::load(&relay.directory().join("proxy.yaml"), LoadMode::Run).unwrap();
    let service = authrelay::session::Service::new(&config).unwrap();
    service.refresh_unused(Duration::ZERO).await;
    assert_eq!(endpoint.asked().last().unwrap()["refresh_token"], "right");
}

/// What the test after a consent cannot find out says nothing against the consent.
#[tokio::test]
async fn an_outage_at_the_test_after_a_consent_takes_nothing_back() {
    use authrelay::sandbox::Fault;
    for fault in [Fault::AuthDrop, Fault::AuthBye, Fault::AuthThrottled] {
        let (relay, endpoint) = scripted(consenting()).await;
        let consent_with = async |token: &str, refresh_token: &str| {
            endpoint.always(Answer::json(
                200,
                &json!({"access_token": token, "refresh_token": refresh_token, "expires_in": 3599}),
            ));
            consent(&relay).await.1
        };
        relay.sandbox.set_fault(Some(Fault::TokenOpaque));
        let good = relay.sandbox.issue_token().unwrap();
        let page = consent_with(&good, "older").await;
        assert!(!page.contains("could not be opened"), "{page}");
        relay.sandbox.set_fault(Some(fault));
        let page = consent_with(&good, "newer").await;
        assert!(
            page.contains("could not be opened") && !page.contains("is in force again"),
            "{page}"
        );
        let config = Config::load(&relay.directory().join("proxy.yaml"), LoadMode::Run).unwrap();
        let service = authrelay::session::Service::new(&config).unwrap();
        service.refresh_unused(Duration::ZERO).await;
        assert_eq!(endpoint.asked().last().unwrap()["refresh_token"], "newer");
    }
}

/// d46: two relays on one state directory, and a token that lives shorter than ten minutes.
#[tokio::test]
async fn d46_a_short_token_is_adopted_by_another_process() {
    let endpoint = Endpoint::start().await;
    let relay = consenting().token_url(&endpoint.url()).start().await;
    let token = relay.sandbox.issue_token().unwrap();
    let mut json = good(&token, 1);
    json["expires_in"] = json!(599);
    endpoint.always(Answer::json(200, &json));
    assert_eq!(consent(&relay).await.0, 200);
    assert_logs_in(&relay, Imap).await;
    let config = Config::load(&relay.directory().join("proxy.yaml"), LoadMode::Run).unwrap();
    let again = authrelay::server::Server::bind(&config).unwrap();
    let address = again.addresses()[0].1;
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(again.serve(stop.clone().cancelled_owned()));
    let mut client = crate::client::Client::dial(Imap, address).await;
    crate::stage::greet(&mut client).await;
    let reply = client.log_in(LOGIN, PASSWORD).await;
    assert!(reply.starts_with("a OK "), "{reply}");
    assert_eq!(endpoint.count(), 1);
    stop.cancel();
    serving.await.unwrap().unwrap();
}

/// d42: a token with less than the margin left is given to no new session.
#[test]
fn d42_a_lifetime_under_twenty_minutes_keeps_the_margin() {
    crate::clock::still(|clock| async move {
        let options = authrelay::sandbox::Options {
            lifetime: Duration::from_secs(640),
            ..authrelay::sandbox::Options::default()
        };
        let relay = Setup::default().options(options).start().await;
        assert_logs_in(&relay, Imap).await;
        clock.advance(Duration::from_secs(345)).await;
        let mut client = relay.connect(Imap).await;
        let reply = client.log_in(LOGIN, PASSWORD).await;
        assert!(reply.starts_with("a OK "), "{reply}");
        let seen = relay.sandbox.seen();
        assert_eq!(seen.token_requests, 2, "295 s were left");
        // Exchange ends a session when its token expires: it has the new one.
        clock.advance(Duration::from_secs(320)).await;
        client.send("b NOOP\r\n").await;
        let reply = client.line().await;
        assert!(reply.starts_with("b OK "), "{reply}");
    });
}

/// d41: a date in Retry-After counts, and a refusal with one is no throttling.
#[test]
fn d41_retry_after_is_seconds_or_a_date() {
    crate::clock::still(|clock| async move {
        let endpoint = Endpoint::start().await;
        let relay = Setup::default()
            .append("admin: {bind: \"127.0.0.1:0\", token: admin-token-9Zk4}\n")
            .token_url(&endpoint.url())
            .start()
            .await;
        let date = httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(900));
        endpoint.always(Answer::text(503, "later").header("retry-after", &date));
        log_in(&relay, Imap).await;
        let asked = endpoint.count();
        clock.advance(Duration::from_secs(800)).await;
        log_in(&relay, Imap).await;
        assert_eq!(endpoint.count(), asked, "it is left alone until then");
        clock.advance(Duration::from_secs(200)).await;
        endpoint.always(
            Answer::json(401, &json!({"error": "invalid_client"})).header("retry-after", "5"),
        );
        log_in(&relay, Imap).await;
        let count = |outcome: &str, count: u8| {
            format!(
                "authrelay_token_requests_total{{registration=\"sandbox\",outcome=\"{outcome}\"}} {count}"
            )
        };
        for (outcome, expected) in [("unavailable", 1), ("refused", 1), ("throttled", 0)] {
            let line = count(outcome, expected);
            assert!(metric(&relay, &line).await, "{line}");
        }
    });
}

/// d24: a user that the identity provider does not know any more is no wrong password of a client
/// whose password is right.
#[tokio::test]
async fn d24_the_clients_right_password_is_never_called_wrong() {
    for code in [50034, 50126] {
        let (relay, endpoint) = consented(consenting()).await;
        relay.sandbox.revoke_tokens();
        endpoint.always(Answer::entra("invalid_grant", code));
        let reply = log_in(&relay, Imap).await;
        assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{code}: {reply}");
        assert_eq!(state_of(&relay).0, "attention");
        let faults = relay.log.faults();
        assert_eq!(
            faults,
            ["identity_provider: refused"],
            "fail2ban sees no credentials"
        );
    }
}

/// d27: polling goes on through what passes, and never faster than once a second.
#[test]
fn d27_a_device_code_is_polled_patiently() {
    crate::clock::still(|clock| async move {
        let (relay, endpoint) = scripted(
            registration("grant: device_code")
                .append("admin: {bind: \"127.0.0.1:0\", token: admin-token-9Zk4}\n"),
        )
        .await;
        let token = relay.sandbox.issue_token().unwrap();
        let times = Arc::new(Mutex::new(Vec::new()));
        let seen = times.clone();
        let mut answers = vec![
            Answer::json(400, &json!({"error": "authorization_pending"})),
            Answer::text(503, "<html>maintenance</html>"),
            Answer::text(429, "Too Many Requests"),
            Answer::json(400, &json!({"error": "AUTHORIZATION_PENDING"})),
            Answer::text(200, "<html>captive portal</html>"),
            Answer::json(400, &json!({"error": "slow_down"})),
            Answer::json(200, &good(&token, 1)),
        ]
        .into_iter();
        endpoint.script(move |_| {
            seen.lock().unwrap().push(tokio::time::Instant::now());
            answers.next().unwrap()
        });
        crate::begin(&relay).await;
        let given = clock.until_ready(
            Duration::from_secs(120),
            relay.log.wait_for("consent given"),
        );
        given.await;
        let times = times.lock().unwrap().clone();
        assert_eq!(times.len(), 7);
        for pair in times.windows(2) {
            assert!(pair[1] - pair[0] >= Duration::from_millis(999), "{times:?}");
        }
        assert!(times[6] - times[5] >= Duration::from_secs(5), "slow_down");
    });
}

/// An endpoint that asks for an endless pause between two polls ends the consent, and says so.
#[test]
fn a_device_code_runs_out_where_the_endpoint_asks_for_an_endless_pause() {
    crate::clock::still(|clock| async move {
        let (relay, endpoint) = scripted(
            registration("grant: device_code")
                .append("admin: {bind: \"127.0.0.1:0\", token: admin-token-9Zk4}\n"),
        )
        .await;
        let pending = json!({"error": "authorization_pending"});
        endpoint.always(Answer::json(400, &pending).header("retry-after", "18446744073709551615"));
        crate::begin(&relay).await;
        let ended = clock.until_ready(Duration::from_secs(120), relay.log.wait_for("no consent"));
        ended.await;
        let log = relay.log.text();
        assert!(log.contains("the code expired meanwhile"), "{log}");
        assert_eq!(endpoint.count(), 1);
    });
}

/// d37: three relays on one state directory, and an endpoint that hangs.
#[test]
fn d37_relays_that_wait_for_one_another_say_that_the_endpoint_is_slow() {
    crate::clock::still(|clock| async move {
        let relay = consenting()
            .append("limits: {upstream_timeout: 5s}\n")
            .start()
            .await;
        assert_eq!(consent(&relay).await.0, 200);
        relay.sandbox.revoke_tokens();
        relay
            .sandbox
            .set_fault(Some(authrelay::sandbox::Fault::TokenSlow));
        let attempts = logins_at_four_relays(&relay.directory().join("proxy.yaml"));
        let replies = clock
            .until_ready(Duration::from_secs(60), attempts.join_all())
            .await;
        for reply in replies {
            assert!(reply.starts_with("a NO [UNAVAILABLE] "), "{reply}");
        }
        assert!(!relay.log.text().contains("[cut]"), "{}", relay.log.text());
    });
}

/// d37: who waits for another relay's request waits as long as it may take, and uses what it brings.
#[test]
fn d37_relays_wait_for_the_answer_that_one_of_them_gets() {
    crate::clock::still(|clock| async move {
        let setup = consenting().append("limits: {upstream_timeout: 20s}\n");
        let (relay, endpoint) = consented(setup).await;
        relay.sandbox.revoke_tokens();
        grant(&endpoint, &relay.sandbox);
        let asked = endpoint.count();
        let held = endpoint.hold().await;
        let attempts = logins_at_four_relays(&relay.directory().join("proxy.yaml"));
        let until = async |is_there: &dyn Fn() -> bool| {
            while !is_there() {
                tokio::task::yield_now().await;
            }
        };
        let is_asked = || endpoint.count() > asked;
        crate::clock::patient("the request", until(&is_asked)).await;
        let late = clock.elapsed() + Duration::from_secs(15);
        let is_late = || clock.elapsed() >= late;
        let wait = clock.until_ready(Duration::from_secs(20), until(&is_late));
        wait.await;
        drop(held);
        let replies = clock.until_ready(Duration::from_secs(10), attempts.join_all());
        for reply in replies.await {
            assert!(reply.starts_with("a OK "), "{reply}");
        }
        assert_eq!(endpoint.count() - asked, 1);
    });
}

/// The refresh tokens that a strict endpoint was shown, one use each.
#[derive(Default)]
pub struct OneUse {
    current: usize,
    redeemed: usize,
    pub repeated: Vec<String>,
}

impl OneUse {
    pub fn redeem(&mut self, asked: &Asked, token: &str) -> Answer {
        if let Some(shown) = asked.get("refresh_token") {
            if *shown != format!("refresh-{}", self.current) {
                self.repeated.push(shown.clone());
                return Answer::json(400, &json!({"error": "invalid_grant"}));
            }
            self.redeemed += 1;
        }
        self.current += 1;
        Answer::json(200, &good(token, self.current))
    }
}

/// d21: a full disk, before and during a redemption, loses no consent whose refresh tokens are
/// good once.
#[tokio::test]
async fn d21_a_full_disk_loses_no_one_use_refresh_token() {
    let disk = SmallDisk::mount();
    let disk = Arc::new(disk);
    let state = format!("directory: {}", disk.path().display());
    let endpoint = Endpoint::start().await;
    let relay = consenting()
        .replace("directory: ./state", &state)
        .replace("ca: ca.pem", "ca: ca.pem\n    token_margin: 200s")
        .token_url(&endpoint.url())
        .start()
        .await;
    let one_use = Arc::new(Mutex::new(OneUse::default()));
    // What happens while the endpoint thinks.
    let meanwhile = Arc::new(Mutex::new(None::<fn(&SmallDisk)>));
    let (seen, happens, on) = (one_use.clone(), meanwhile.clone(), disk.clone());
    let sandbox = Arc::new(Mutex::new(Vec::new()));
    let tokens = sandbox.clone();
    let refill = || {
        let mut tokens = sandbox.lock().unwrap();
        tokens.clear();
        tokens.extend((0..10).map(|_| relay.sandbox.issue_token().unwrap()));
    };
    refill();
    endpoint.script(move |asked| {
        if let Some(happens) = happens.lock().unwrap().take() {
            happens(&on);
        }
        let token = tokens.lock().unwrap().pop().unwrap();
        seen.lock().unwrap().redeem(asked, &token)
    });
    assert_eq!(consent(&relay).await.0, 200);
    let revoke = || {
        relay.sandbox.revoke_tokens();
        refill();
    };
    let redeemed = || one_use.lock().unwrap().redeemed;
    // Full before: nothing is redeemed.
    disk.fill();
    revoke();
    for _ in 0..3 {
        assert_eq!(log_in(&relay, Imap).await, "<end>", "{}", relay.log.text());
    }
    assert_eq!(redeemed(), 0);
    disk.free();
    eventually(async || log_in(&relay, Imap).await.starts_with("a OK ")).await;
    assert_eq!(redeemed(), 1);
    // Full meanwhile: there is room.
    let expires = |relay: &Relay| accounts(relay.directory())[0]["token"]["expires"].clone();
    *meanwhile.lock().unwrap() = Some(SmallDisk::fill);
    let before = std::time::Instant::now();
    one_a_minute(&relay, &revoke).await;
    assert_eq!(redeemed(), 2, "{:?}", before.elapsed());
    assert!(expires(&relay).is_string());
    disk.free();
    // Not to be written at all: it is kept, used, and written later.
    *meanwhile.lock().unwrap() = Some(|disk| {
        std::fs::rename(disk.path().join("tokens"), disk.path().join("away")).unwrap();
    });
    one_a_minute(&relay, &revoke).await;
    assert_eq!(redeemed(), 3);
    assert!(
        relay
            .log
            .text()
            .contains("a redeemed token cannot be stored")
    );
    assert!(metric(&relay, "authrelay_unstored_tokens 1").await);
    assert_logs_in(&relay, Imap).await;
    assert_eq!(redeemed(), 3);
    std::fs::rename(disk.path().join("away"), disk.path().join("tokens")).unwrap();
    relay.log.wait_for("a redeemed token is stored now").await;
    assert!(metric(&relay, "authrelay_unstored_tokens 0").await);
    one_a_minute(&relay, &revoke).await;
    assert_eq!(redeemed(), 4);
    assert_eq!(one_use.lock().unwrap().repeated, [""; 0]);
}

/// A login that has to redeem: a refused token is replaced once a minute by one relay, so that
/// another process comes in.
pub async fn one_a_minute(relay: &Relay, revoke: &impl Fn()) {
    revoke();
    // A changed registration asks anew, and finds the stored token refused.
    let path = relay.directory().join("proxy.yaml");
    let yaml = std::fs::read_to_string(&path).unwrap();
    let margin = (200..300).find(|margin| yaml.contains(&format!("token_margin: {margin}s")));
    let margin = margin.unwrap();
    let (old, new) = (
        format!("token_margin: {margin}s"),
        format!("token_margin: {}s", margin + 1),
    );
    std::fs::write(&path, yaml.replace(&old, &new)).unwrap();
    relay.control.reload().await.unwrap();
    eventually(async || log_in(relay, Imap).await.starts_with("a OK ")).await;
}

/// Begins a login at each of four more relays with this file. Returns the replies.
fn logins_at_four_relays(file: &std::path::Path) -> tokio::task::JoinSet<String> {
    let config = Config::load(file, LoadMode::Run).unwrap();
    let begin = |_| {
        let server = authrelay::server::Server::bind(&config).unwrap();
        let address = server.addresses()[0].1;
        tokio::spawn(server.serve(std::future::pending()));
        async move {
            let mut client = crate::client::Client::dial(Imap, address).await;
            crate::stage::greet(&mut client).await;
            client.log_in(LOGIN, PASSWORD).await
        }
    };
    (0..4).map(begin).collect()
}

async fn eventually(mut done: impl AsyncFnMut() -> bool) {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while !done().await {
        assert!(std::time::Instant::now() < end, "not within 30 s");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
