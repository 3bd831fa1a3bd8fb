//! What the shared store costs a login and a message.

use std::time::{Duration, Instant};

use authrelay::sandbox::{LOGIN, Options, PASSWORD};
use authrelay::wire::Protocol::{Imap, Smtp};

use crate::client::Client;
use crate::consents::eventually;
use crate::link::Fault;
use crate::pair::Pair;
use crate::stage::{Setup, greet, is_success};

/// Rounds of a measurement; the median counts.
const ROUNDS: usize = 41;

/// Operations of this kind that a relay has asked for.
async fn operations(pair: &Pair, relay: usize, operation: &str) -> u64 {
    let text = pair.metrics(relay).await;
    let label = format!("operation=\"{operation}\"");
    let lines = text.lines().filter(|line| {
        line.starts_with("authrelay_store_operations_total") && line.contains(&label)
    });
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// A session that may send.
async fn session(address: std::net::SocketAddr) -> Client {
    let mut client = Client::dial(Smtp, address).await;
    greet(&mut client).await;
    let reply = client.log_in(LOGIN, PASSWORD).await;
    assert!(is_success(Smtp, &reply), "{reply}");
    client
}

/// Sends a message; how long that took, from MAIL to its final reply.
async fn send(client: &mut Client) -> Duration {
    let began = Instant::now();
    for (line, reply) in [
        ("MAIL FROM:<tickets@contoso.test>\r\n", "250 "),
        ("RCPT TO:<someone@contoso.test>\r\n", "250 "),
        ("DATA\r\n", "354 "),
        ("Subject: m\r\n\r\ntext\r\n.\r\n", "250 "),
    ] {
        client.send(line).await;
        let answer = client.reply().await;
        assert!(answer.starts_with(reply), "{line}: {answer}");
    }
    began.elapsed()
}

fn limited() -> Setup {
    let options = Options {
        smtp_messages: None,
        ..Options::default()
    };
    Setup::default()
        .options(options)
        .smtp_limits("connections: 3, messages_per_minute: 100000, wait: 25s")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_under_limits_costs_two_operations() {
    let pair = Pair::start(limited()).await;
    let mut client = session(pair.address(0, Smtp)).await;
    for _ in 0..10 {
        send(&mut client).await;
    }
    eventually("each place is given back", async || {
        operations(&pair, 0, "release").await == 10
    })
    .await;
    assert_eq!(operations(&pair, 0, "acquire").await, 10);
    assert_eq!(operations(&pair, 1, "acquire").await, 0);
}

/// Distance changes no count: a login with a token asks a store that is 1 ms away for nothing, a
/// message under limits for two operations. Prints how much longer each takes than without a store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_and_messages_cost_the_same_operations_with_a_store_one_millisecond_away() {
    let (pair, link) = Pair::linked(limited()).await;
    link.set(Fault::Slow(Duration::from_millis(1)));
    let plain = limited().start().await;
    // From here on there is a token, and the store has it.
    session(pair.address(1, Smtp)).await;
    eventually("the token is in the store", async || {
        operations(&pair, 1, "put").await == 1
    })
    .await;
    let mut warm = Vec::new();
    for operation in ["get", "begin", "put"] {
        warm.push((operation, operations(&pair, 1, operation).await));
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let mut results = Vec::new();
    for (imap, smtp) in [
        (plain.address(Imap), plain.address(Smtp)),
        (pair.address(1, Imap), pair.address(1, Smtp)),
    ] {
        let mut logins = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let mut client = Client::dial(Imap, imap).await;
            greet(&mut client).await;
            let reply = client.log_in(LOGIN, PASSWORD).await;
            assert!(is_success(Imap, &reply), "{reply}");
            logins.push(began.elapsed());
        }
        let mut client = session(smtp).await;
        let mut messages = Vec::new();
        for _ in 0..ROUNDS {
            messages.push(send(&mut client).await);
        }
        results.push((median(logins), median(messages)));
    }
    for (what, without, with) in [
        ("login", results[0].0, results[1].0),
        ("message", results[0].1, results[1].1),
    ] {
        let ratio = with.as_secs_f64() / without.as_secs_f64();
        println!("{what}: {without:?} without a store, {with:?} with one: {ratio:.2}");
    }
    let sent = u64::try_from(ROUNDS).unwrap();
    eventually("each place is given back", async || {
        operations(&pair, 1, "release").await == sent
    })
    .await;
    assert_eq!(operations(&pair, 1, "acquire").await, sent);
    for (operation, before) in warm {
        assert_eq!(operations(&pair, 1, operation).await, before, "{operation}");
    }
}
