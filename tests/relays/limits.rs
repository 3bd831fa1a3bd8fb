//! Limits of a mailbox, and the lockout, over two relays.

use std::sync::Arc;
use std::time::Duration;

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::{Imap, Smtp};

use crate::client::Client;
use crate::pair::Pair;
use crate::stage::{Setup, greet, is_success};

/// Sends one message, slowly; whether it was accepted.
async fn send(address: std::net::SocketAddr, number: usize) -> bool {
    let mut client = Client::dial(Smtp, address).await;
    greet(&mut client).await;
    let reply = client.log_in(LOGIN, PASSWORD).await;
    assert!(is_success(Smtp, &reply), "{reply}");
    client.send("MAIL FROM:<tickets@contoso.test>\r\n").await;
    if !client.reply().await.starts_with("250 ") {
        return false;
    }
    client.send("RCPT TO:<someone@contoso.test>\r\n").await;
    client.reply().await;
    client.send("DATA\r\n").await;
    client.reply().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    client
        .send(&format!("Subject: {number}\r\n\r\ntext\r\n.\r\n"))
        .await;
    client.reply().await.starts_with("250 ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_senders_at_two_relays_have_three_messages_in_flight_and_all_arrive() {
    let setup = Setup::default().smtp_limits("connections: 3, messages_per_minute: 100, wait: 25s");
    let pair = Pair::start(setup).await;
    let pair = Arc::new(pair);
    let mut senders = Vec::new();
    for number in 0..10 {
        let pair = pair.clone();
        senders.push(tokio::spawn(async move {
            let mut accepted = 0;
            for message in 0..3 {
                let address = pair.address((number + message) % 2, Smtp);
                accepted += usize::from(send(address, number).await);
            }
            accepted
        }));
    }
    let mut accepted = 0;
    for sender in senders {
        accepted += sender.await.unwrap();
    }
    assert_eq!(accepted, 30, "{}", pair.one.log.text());
    let seen = pair.one.sandbox.seen();
    assert!(seen.peak_in_flight <= 3, "{}", seen.peak_in_flight);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minute_is_one_for_both_relays() {
    let setup = Setup::default().smtp_limits("connections: 3, messages_per_minute: 4, wait: 1s");
    let pair = Pair::start(setup).await;
    let mut accepted = 0;
    for number in 0..8 {
        accepted += usize::from(send(pair.address(number % 2, Smtp), number).await);
    }
    assert_eq!(accepted, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_one_relay_lock_at_the_other() {
    let limits = "limits: {lockout: {failures: 4, window: 10m, duration: 5m}}\n";
    let pair = Pair::start(Setup::default().append(limits)).await;
    for number in 0..4 {
        let mut client = pair.connect(number % 2, Imap).await;
        let reply = client.log_in(LOGIN, &format!("wrong-{number}")).await;
        assert!(reply.contains("[AUTHENTICATIONFAILED]"), "{reply}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for relay in [0, 1] {
        let reply = pair.log_in(relay, Imap).await;
        assert!(reply.contains("[AUTHENTICATIONFAILED]"), "{relay}: {reply}");
    }
}
