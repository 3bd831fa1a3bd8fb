//! Redis is killed in the middle of a redemption, with and without persistence.

use std::sync::Arc;
use std::time::Duration;

use authrelay::wire::Protocol::Imap;

use crate::consents::{consent, consenting, eventually};
use crate::pair::Pair;
use crate::provider::{Hold, Provider};
use crate::server::Server as Redis;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The identity provider answers while Redis is away.
    WhileAway,
    /// It answers once Redis is back.
    Afterwards,
}

async fn killed(arguments: &[&str], answer: Answer) {
    let redis = Redis::with(arguments);
    let provider = Provider::start(true).await;
    let setup = consenting()
        .unlimited()
        .replace("ca: ca.pem", "ca: ca.pem\n    refresh_tokens: one_use")
        .token_url(&provider.url());
    let store = format!("url: \"redis://127.0.0.1:{}\"", redis.port);
    let mut pair = Pair::with(redis, &store, setup).await;
    provider.stock(&pair.one.sandbox);
    provider.set_lifetime(1);
    assert_eq!(consent(&pair, 0).await.0, 200);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    // The token of this redemption ends as well.
    provider.set_lifetime(8);
    let (before, arrived) = (provider.seen().redeemed, provider.arrived());
    provider.hold_next(Hold::After);
    let address = pair.address(0, Imap);
    let login = tokio::spawn(async move {
        let mut client = crate::client::Client::dial(Imap, address).await;
        crate::stage::greet(&mut client).await;
        client
            .log_in(authrelay::sandbox::LOGIN, authrelay::sandbox::PASSWORD)
            .await
    });
    provider.until_arrived(arrived + 1).await;
    pair.redis.kill();
    if answer == Answer::WhileAway {
        provider.release();
        // A token that was redeemed is used, whether or not the store has it.
        let reply = login.await.unwrap();
        assert!(reply.starts_with("a OK "), "{reply}");
        pair.redis.restart();
    } else {
        pair.redis.restart();
        provider.release();
        let reply = login.await.unwrap();
        assert!(reply.starts_with("a OK "), "{reply}");
    }
    let pair = Arc::new(pair);
    let both_log_in = async || {
        for relay in [1, 0] {
            let pair = pair.clone();
            eventually("it logs in", async || {
                let reply = pair.log_in(relay, Imap).await;
                let is_good = reply.starts_with("a OK ");
                let is_later = reply.contains("[UNAVAILABLE]");
                assert!(is_good || is_later, "{relay}: {reply}");
                is_good
            })
            .await;
        }
    };
    both_log_in().await;
    let seen = provider.seen();
    assert_eq!((seen.redeemed, seen.shown_again), (before + 1, Vec::new()));
    provider.set_lifetime(3_600);
    tokio::time::sleep(Duration::from_secs(8)).await;
    both_log_in().await;
    let seen = provider.seen();
    assert_eq!((seen.redeemed, seen.shown_again), (before + 2, Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_without_persistence_and_answered_meanwhile() {
    killed(&[], Answer::WhileAway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_without_persistence_and_answered_afterwards() {
    killed(&[], Answer::Afterwards).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_persistence_and_answered_meanwhile() {
    killed(&["--appendonly", "yes"], Answer::WhileAway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_with_persistence_and_answered_afterwards() {
    killed(&["--appendonly", "yes"], Answer::Afterwards).await;
}
