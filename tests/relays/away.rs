//! The store is away, or has lost what it had.

use std::time::{Duration, Instant};

use authrelay::sandbox::LOGIN;
use authrelay::wire::Protocol::Imap;

use crate::consents::{consent, consenting};
use crate::pair::Pair;
use crate::stage::Setup;

/// On one thread, so that both relays' log is this test's.
#[tokio::test]
async fn mail_goes_on_without_the_store_and_one_line_says_so() {
    let mut pair = Pair::start(Setup::default()).await;
    pair.assert_logs_in(0).await;
    pair.until_metric(0, "authrelay_store_up 1\n").await;
    pair.until_metric(0, "authrelay_relays 2\n").await;
    pair.redis.kill();
    pair.until_metric(0, "authrelay_store_up 0\n").await;
    // A token that is refused is fetched anew, by this relay alone, and at once.
    pair.one.sandbox.revoke_tokens();
    for relay in [0, 1] {
        let began = Instant::now();
        pair.assert_logs_in(relay).await;
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{:?}",
            began.elapsed()
        );
    }
    pair.redis.restart();
    pair.until_metric(0, "authrelay_store_up 1\n").await;
    pair.until_metric(1, "authrelay_relays 2\n").await;
    let log = pair.one.log.text();
    // Both relays log here.
    let count = |text: &str| log.matches(text).count();
    assert_eq!(count("the shared store is away"), 2, "{log}");
    assert_eq!(count("the shared store is back"), 2, "{log}");
}

async fn a_consent_outlives(loss: impl FnOnce(&mut Pair)) {
    let setup = consenting().replace("ca: ca.pem", "ca: ca.pem\n    refresh_tokens: one_use");
    let mut pair = Pair::start(setup).await;
    assert_eq!(consent(&pair, 0).await.0, 200);
    // The consent reaches the other relay before it is lost.
    let other = pair.two.control.current().active();
    let store = other.token_source.store().unwrap().clone();
    while store.read(LOGIN).unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    loss(&mut pair);
    pair.one.sandbox.revoke_tokens();
    for relay in [1, 0] {
        let mut reply = String::new();
        for _ in 0..80 {
            reply = pair.log_in(relay, Imap).await;
            if reply.starts_with("a OK ") {
                break;
            }
            assert!(reply.contains("[UNAVAILABLE]"), "{relay}: {reply}");
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        assert!(
            reply.starts_with("a OK "),
            "{relay}: {reply}\n{}",
            pair.one.log.text()
        );
    }
    let seen = pair.one.sandbox.seen();
    assert_eq!(
        seen.token_requests, 2,
        "the code, and one redemption: {:?}",
        seen.token
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_outlives_flushall() {
    a_consent_outlives(|pair| drop(pair.redis.ask(&["FLUSHALL"]))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_outlives_the_server() {
    a_consent_outlives(|pair| {
        pair.redis.kill();
        pair.redis.restart();
    })
    .await;
}
