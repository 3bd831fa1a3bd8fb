//! What people are told of the store: alerts, and the status page.

use std::time::{Duration, Instant};

use authrelay::wire::Protocol::Imap;
use serde_json::Value;

use crate::consents::{consent, consenting, eventually, http};
use crate::disk::SmallDisk;
use crate::pair::Pair;
use crate::provider::Provider;

/// What hooks were told, line by line.
struct Told(tempfile::TempDir);

impl Told {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn hook(&self) -> String {
        let file = self.0.path().join("told");
        format!(
            "notify: [{{events: [store], command: [sh, -c, 'cat >>{}']}}]\n",
            file.display()
        )
    }

    /// The alerts about a subject.
    fn of(&self, subject: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.0.path().join("told")).unwrap_or_default();
        let alerts = text.lines().map(|line| serde_json::from_str(line).unwrap());
        alerts
            .filter(|it: &Value| it["subject"] == subject)
            .collect()
    }

    /// Until so many alerts have come; no more may.
    async fn wait(&self, subject: &str, count: usize) -> Vec<Value> {
        let began = Instant::now();
        while self.of(subject).len() < count {
            assert!(
                began.elapsed() < Duration::from_secs(40),
                "{:#?}",
                self.of(subject)
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let alerts = self.of(subject);
        assert_eq!(alerts.len(), count, "{alerts:#?}");
        alerts
    }
}

async fn page(pair: &Pair, relay: usize) -> String {
    let admin = pair.listener(relay, "admin");
    let request = http().get(format!("http://{admin}/"));
    let answer = request
        .bearer_auth("admin-token-9Zk4")
        .send()
        .await
        .unwrap();
    answer.text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_store_is_told_once_and_seen_on_the_page() {
    let told = Told::new();
    let mut pair = Pair::start(consenting().append(&told.hook())).await;
    for (relay, name) in [(0, None), (1, Some("relay two"))] {
        let page = page(&pair, relay).await;
        assert!(page.contains("2 relays"), "{page}");
        assert!(name.is_none_or(|name| page.contains(name)), "{page}");
        assert!(
            page.contains("shared store <span class=\"good\">there</span>"),
            "{page}"
        );
    }
    pair.redis.kill();
    let subject = "the shared store";
    // Each relay tells of it, once.
    let begun = told.wait(subject, 2).await;
    for alert in &begun {
        assert_eq!(
            (&alert["event"], &alert["state"]),
            (&"store".into(), &"begin".into())
        );
        assert!(
            alert["detail"].as_str().unwrap().contains("is away"),
            "{alert:#}"
        );
        assert!(
            alert["remedy"].as_str().unwrap().contains("check --online"),
            "{alert:#}"
        );
    }
    assert_ne!(begun[0]["relay"], begun[1]["relay"]);
    let seen = page(&pair, 1).await;
    assert!(seen.contains("<span class=\"bad\">away</span>: "), "{seen}");
    pair.redis.restart();
    let over = told.wait(subject, 4).await;
    for alert in &over[2..] {
        assert_eq!(
            (&alert["event"], &alert["state"]),
            (&"store".into(), &"end".into())
        );
    }
    eventually("the page shows it", async || {
        page(&pair, 1)
            .await
            .contains("<span class=\"good\">there</span>")
    })
    .await;
}

/// One relay's disk is full: what it redeems goes to the shared store, and is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_no_redemption_and_is_told_once() {
    let (told, disk) = (Told::new(), SmallDisk::mount());
    let provider = Provider::start(true).await;
    let setup = consenting()
        .unlimited()
        .replace("ca: ca.pem", "ca: ca.pem\n    refresh_tokens: one_use")
        .token_url(&provider.url())
        .append(&told.hook());
    let pair = Pair::with_state_in(disk.path(), setup).await;
    provider.stock(&pair.one.sandbox);
    provider.set_lifetime(2);
    assert_eq!(consent(&pair, 0).await.0, 200);
    disk.fill();
    let before = provider.seen().redeemed;
    // It redeems, twice: the second time what it could not write.
    for round in 1..=2 {
        tokio::time::sleep(Duration::from_millis(2_100)).await;
        pair.assert_logs_in(0).await;
        assert_eq!(provider.seen().redeemed, before + round);
    }
    let subject = "the state directory";
    let begun = told.wait(subject, 1).await;
    assert_eq!(
        (&begun[0]["event"], &begun[0]["state"]),
        (&"store".into(), &"begin".into())
    );
    // The other relay goes on from there, and the first one from what that has redeemed.
    provider.set_lifetime(3_600);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    for relay in [1, 0] {
        eventually("it logs in", async || {
            pair.log_in(relay, Imap).await.starts_with("a OK ")
        })
        .await;
    }
    let seen = provider.seen();
    assert_eq!((seen.redeemed, seen.shown_again), (before + 3, Vec::new()));
    disk.free();
    let over = told.wait(subject, 2).await;
    assert_eq!(over[1]["state"], "end");
    pair.assert_logs_in(0).await;
}
