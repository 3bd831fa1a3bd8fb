//! Consents at any relay: given, coming back, forgotten.

use std::time::Duration;

use authrelay::sandbox::LOGIN;
use authrelay::wire::Protocol::Imap;

use crate::pair::Pair;
use crate::stage::Setup;

pub fn consenting() -> Setup {
    let secret = authrelay::sandbox::CLIENT_SECRET;
    Setup::default()
        .replace(
            &format!("    grant: client_credentials\n    client_secret: \"{secret}\"\n"),
            "    grant: authorization_code\n",
        )
        .append("admin: {bind: \"127.0.0.1:0\", public_url: \"http://localhost:8025\", token: admin-token-9Zk4}\n")
}

pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

/// Begun at one relay; where the browser is sent back to.
pub async fn begin(pair: &Pair, relay: usize) -> String {
    begin_at(pair.listener(relay, "admin")).await
}

/// Begun at the relay with this administrators' listener.
pub async fn begin_at(admin: std::net::SocketAddr) -> String {
    let answer = http()
        .post(format!("http://{admin}/api/accounts/{LOGIN}/authorize"))
        .bearer_auth("admin-token-9Zk4")
        .send()
        .await
        .unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    let page = http()
        .get(answer["url"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    page.headers()["location"].to_str().unwrap().to_owned()
}

/// The browser comes back to a relay.
pub async fn come_back(pair: &Pair, relay: usize, back: &str) -> (u16, String) {
    come_back_at(pair.listener(relay, "admin"), back).await
}

/// The browser comes back to the relay with this administrators' listener.
pub async fn come_back_at(admin: std::net::SocketAddr, back: &str) -> (u16, String) {
    let back = back.replace("http://localhost:8025", &format!("http://{admin}"));
    let page = http().get(back).send().await.unwrap();
    (page.status().as_u16(), page.text().await.unwrap())
}

pub async fn consent(pair: &Pair, relay: usize) -> (u16, String) {
    let back = begin(pair, relay).await;
    come_back(pair, relay, &back).await
}

async fn forget(pair: &Pair, relay: usize) -> serde_json::Value {
    let admin = pair.listener(relay, "admin");
    let answer = http()
        .delete(format!("http://{admin}/api/accounts/{LOGIN}/token"))
        .bearer_auth("admin-token-9Zk4")
        .send()
        .await
        .unwrap();
    answer.json().await.unwrap()
}

pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_at_one_relay_serves_both_and_is_forgotten_at_both() {
    let pair = Pair::start(consenting()).await;
    let reply = pair.log_in(1, Imap).await;
    assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
    assert_eq!(consent(&pair, 0).await.0, 200);
    pair.assert_logs_in(0).await;
    eventually("the other relay logs in", async || {
        pair.log_in(1, Imap).await.starts_with("a OK ")
    })
    .await;
    assert_eq!(
        pair.one.sandbox.seen().token_requests,
        1,
        "the consent's own token serves both"
    );
    // Nothing of it is legible in the store.
    let keys = pair.redis.ask(&["KEYS", "*"]);
    assert!(!keys.contains("tickets"), "{keys}");
    assert_eq!(forget(&pair, 1).await["forgotten"], true);
    for relay in [1, 0] {
        eventually("it is forgotten", async || {
            pair.log_in(relay, Imap)
                .await
                .starts_with("a NO [CONTACTADMIN] ")
        })
        .await;
    }
    // A loss of the store brings nothing back.
    pair.redis.ask(&["FLUSHALL"]);
    for relay in [0, 1] {
        let reply = pair.log_in(relay, Imap).await;
        assert!(
            reply.starts_with("a NO [CONTACTADMIN] "),
            "{relay}: {reply}"
        );
    }
    assert_eq!(consent(&pair, 1).await.0, 200);
    eventually("a new consent serves both", async || {
        pair.log_in(0, Imap).await.starts_with("a OK ")
            && pair.log_in(1, Imap).await.starts_with("a OK ")
    })
    .await;
}

/// The load balancer sends the browser to the other relay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_may_come_back_to_another_relay_once() {
    let pair = Pair::start(consenting()).await;
    let back = begin(&pair, 0).await;
    let (status, page) = come_back(&pair, 1, &back).await;
    assert_eq!(status, 200, "{page}");
    for relay in [0, 1] {
        let (status, _) = come_back(&pair, relay, &back).await;
        assert_eq!(status, 400, "its state was used");
    }
    eventually("both log in", async || {
        pair.log_in(0, Imap).await.starts_with("a OK ")
            && pair.log_in(1, Imap).await.starts_with("a OK ")
    })
    .await;
}
