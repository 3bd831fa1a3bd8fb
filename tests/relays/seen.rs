//! What people and machines see of several relays, and stores in trouble.

use std::process::Command;
use std::time::{Duration, Instant};

use authrelay::wire::Protocol::Imap;

use crate::consents::{consent, consenting};
use crate::pair::Pair;
use crate::stage::Setup;

#[tokio::test]
async fn a_reload_with_another_store_is_refused_and_says_so() {
    let pair = Pair::start(Setup::default()).await;
    pair.one.control.reload().await.unwrap();
    let url = format!("redis://127.0.0.1:{}", pair.redis.port);
    pair.one.rewrite(&[(&url, "redis://127.0.0.1:1")]);
    let problems = pair.one.control.reload().await.unwrap_err();
    assert!(problems[0].contains("takes a restart"), "{problems:?}");
    pair.one.rewrite(&[
        ("redis://127.0.0.1:1", &url),
        ("a key that both relays have", "a key that only one has"),
    ]);
    assert!(pair.one.control.reload().await.is_err());
    pair.assert_logs_in(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audit_records_carry_the_relays_name() {
    let setup = Setup::default().append("audit: {path: ./audit.jsonl}\n");
    let pair = Pair::start(setup).await;
    drop(pair.log_in(0, Imap).await);
    let path = pair.one.directory().join("audit.jsonl");
    for _ in 0..100 {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.contains("\"event\":\"login\"") {
            let first: serde_json::Value =
                serde_json::from_str(text.lines().next().unwrap()).unwrap();
            assert!(
                first["relay"].as_str().is_some_and(|name| !name.is_empty()),
                "{first:#}"
            );
            let keys: Vec<_> = first.as_object().unwrap().keys().rev().take(3).collect();
            assert_eq!(keys, ["hash", "prev", "relay"]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no record");
}

/// A store that takes half a second an answer is as good as none, and costs a login less than one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_costs_a_login_less_than_a_second() {
    let pair = Pair::start(Setup::default()).await;
    let stop = |signal: &str| {
        let id = pair.redis.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
    };
    stop("-STOP");
    let began = Instant::now();
    pair.assert_logs_in(0).await;
    let took = began.elapsed();
    stop("-CONT");
    assert!(took < Duration::from_secs(4), "{took:?}");
    pair.assert_logs_in(1).await;
}

/// `authorize` at one relay while the store is away; the other has it afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_does_without_the_store_reaches_the_others_when_it_is_back() {
    let mut pair = Pair::start(consenting()).await;
    pair.redis.kill();
    assert_eq!(consent(&pair, 0).await.0, 200);
    pair.assert_logs_in(0).await;
    assert!(pair.log_in(1, Imap).await.starts_with("a NO "));
    pair.redis.restart();
    for _ in 0..300 {
        if pair.log_in(1, Imap).await.starts_with("a OK ") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{}", pair.one.log.text());
}
