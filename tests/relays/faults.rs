//! What may happen on the way between one relay and the store: that relay goes on by itself.

use std::time::{Duration, Instant};

use authrelay::wire::Protocol::Smtp;

use crate::client::Client;
use crate::link::{Fault, Link};
use crate::pair::Pair;
use crate::provider::Provider;
use crate::stage::{Setup, greet, is_success};

/// Logs in at the second relay when its token has expired; how long that took.
async fn takes(pair: &Pair) -> Duration {
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let began = Instant::now();
    pair.assert_logs_in(1).await;
    began.elapsed()
}

/// On one thread, so that both relays' log is this test's.
async fn goes_on_under(fault: Fault) {
    let provider = Provider::start(false).await;
    let setup = Setup::default().unlimited().token_url(&provider.url());
    let (pair, link) = Pair::linked(setup).await;
    provider.stock(&pair.one.sandbox);
    provider.set_lifetime(1);
    pair.assert_logs_in(1).await;
    let plain = takes(&pair).await.max(takes(&pair).await);
    pair.until_metric(1, "authrelay_store_up 1\n").await;
    link.set(fault);
    let most = plain + Duration::from_secs(1);
    let troubled = takes(&pair).await;
    assert!(troubled < most, "{troubled:?}, not {plain:?}");
    pair.until_metric(1, "authrelay_store_up 0\n").await;
    let troubled = takes(&pair).await;
    assert!(troubled < most, "{troubled:?}, not {plain:?}");
    pair.assert_logs_in(0).await;
    assert!(pair.metrics(0).await.contains("authrelay_store_up 1\n"));
    // Probes in between say nothing.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(logged(&pair, &link), (1, 0), "{}", pair.one.log.text());
    link.set(Fault::None);
    pair.until_metric(1, "authrelay_store_up 1\n").await;
    pair.until_metric(1, "authrelay_relays 2\n").await;
    takes(&pair).await;
    assert_eq!(logged(&pair, &link), (1, 1), "{}", pair.one.log.text());
}

/// Warnings and recoveries of the relay behind the link.
fn logged(pair: &Pair, link: &Link) -> (usize, usize) {
    let port = format!(":{}", link.port);
    let count = |message: &str| {
        let records = pair.one.log.named(message);
        let of_link = records.iter().filter(|record| {
            let store = record["store"].as_str();
            store.is_some_and(|store| store.ends_with(&port))
        });
        of_link.count()
    };
    (
        count("the shared store is away"),
        count("the shared store is back"),
    )
}

#[tokio::test]
async fn a_relay_goes_on_when_the_store_refuses_it() {
    goes_on_under(Fault::Refused).await;
}

#[tokio::test]
async fn a_relay_goes_on_in_a_partition() {
    goes_on_under(Fault::Silent).await;
}

#[tokio::test]
async fn a_relay_goes_on_when_the_store_is_slow() {
    goes_on_under(Fault::Slow(Duration::from_millis(500))).await;
}

#[tokio::test]
async fn a_relay_goes_on_when_the_store_answers_garbage() {
    goes_on_under(Fault::Garbage).await;
}

#[tokio::test]
async fn a_relay_goes_on_when_the_store_is_cut_off_in_mid_reply() {
    goes_on_under(Fault::MidReply).await;
}

/// Logs in and says MAIL; whether the message may begin.
async fn begins(pair: &Pair, relay: usize) -> (Client, bool) {
    let mut client = Client::dial(Smtp, pair.address(relay, Smtp)).await;
    greet(&mut client).await;
    let reply = client
        .log_in(authrelay::sandbox::LOGIN, authrelay::sandbox::PASSWORD)
        .await;
    assert!(is_success(Smtp, &reply), "{reply}");
    client.send("MAIL FROM:<tickets@contoso.test>\r\n").await;
    let reply = client.reply().await;
    assert!(
        reply.starts_with("250 ") || reply.starts_with("451 4.3.2"),
        "{reply}"
    );
    (client, reply.starts_with("250 "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_places_of_a_relay_that_is_cut_off_are_free_after_its_lease() {
    let setup = Setup::default().smtp_limits("connections: 2, messages_per_minute: 100, wait: 1s");
    let (pair, link) = Pair::linked(setup).await;
    let (one, two) = (begins(&pair, 1).await, begins(&pair, 1).await);
    assert!(one.1 && two.1);
    assert!(!begins(&pair, 0).await.1, "both places are in use");
    let began = Instant::now();
    link.set(Fault::Silent);
    while !begins(&pair, 0).await.1 {
        let took = began.elapsed();
        assert!(took < Duration::from_secs(36), "{took:?}");
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(15), "{took:?}");
    // Back again, it says what it has in flight.
    link.set(Fault::None);
    pair.until_metric(1, "authrelay_store_up 1\n").await;
}
