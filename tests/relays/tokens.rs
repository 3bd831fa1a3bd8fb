//! One request for all relays.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::Imap;
use serde_json::json;

use crate::client::Client;
use crate::endpoint::{Answer, Endpoint};
use crate::pair::Pair;
use crate::stage::{Setup, greet, is_success};

/// As many logins at once, half of them at each relay; how many succeeded.
pub async fn crowd(pair: &Pair, count: usize) -> usize {
    let mut logins = Vec::new();
    for number in 0..count {
        let address = pair.address(number % 2, Imap);
        logins.push(tokio::spawn(async move {
            let mut client = Client::dial(Imap, address).await;
            greet(&mut client).await;
            let reply = client.log_in(LOGIN, PASSWORD).await;
            is_success(Imap, &reply)
        }));
    }
    let mut good = 0;
    for login in logins {
        good += usize::from(login.await.unwrap());
    }
    good
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_logins_at_two_relays_cost_one_request() {
    let pair = Pair::start(Setup::default().unlimited()).await;
    assert_eq!(crowd(&pair, 500).await, 500, "{}", pair.one.log.text());
    let seen = pair.one.sandbox.seen();
    assert_eq!(seen.token_requests, 1, "{:?}", seen.token);
}

/// Once a token is there a login asks nothing of the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_with_a_warm_token_costs_no_operation() {
    let pair = Pair::start(Setup::default()).await;
    for relay in [0, 1] {
        pair.assert_logs_in(relay).await;
        // A beat may compare a record meanwhile: then once more.
        let mut costs = Vec::new();
        while costs.last() != Some(&0) && costs.len() < 5 {
            let before = pair.operations(relay).await;
            for _ in 0..10 {
                pair.assert_logs_in(relay).await;
            }
            costs.push(pair.operations(relay).await - before);
        }
        assert_eq!(costs.last(), Some(&0), "{relay}: {costs:?}");
    }
    assert_eq!(pair.one.sandbox.seen().token_requests, 1);
}

/// What throttles one relay is respected by the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_one_relay_was_told_holds_for_the_other() {
    let endpoint = Endpoint::start().await;
    endpoint.script(|_| {
        Answer::json(429, &json!({"error": "temporarily_unavailable"})).header("retry-after", "60")
    });
    let pair = Pair::start(Setup::default().token_url(&endpoint.url())).await;
    let reply = pair.log_in(0, Imap).await;
    assert!(reply.starts_with("a NO [UNAVAILABLE] "), "{reply}");
    let asked = endpoint.count();
    // The word takes its way.
    let service = pair.two.control.current().active();
    let mut heard = service.state.sharing.as_ref().unwrap().member().up();
    assert!(heard.borrow_and_update().is_ok());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let reply = pair.log_in(1, Imap).await;
    assert!(reply.starts_with("a NO [UNAVAILABLE] "), "{reply}");
    assert_eq!(
        endpoint.count(),
        asked,
        "the endpoint is left alone by both"
    );
}

/// Refresh tokens that are good once: each is redeemed once, whoever asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refresh_tokens_that_are_good_once_are_redeemed_once() {
    let endpoint = Endpoint::start().await;
    let setup = crate::consents::consenting()
        .unlimited()
        .replace("ca: ca.pem", "ca: ca.pem\n    refresh_tokens: one_use")
        .token_url(&endpoint.url());
    let pair = Pair::start(setup).await;
    let issued = Arc::new(AtomicUsize::new(0));
    let refused = Arc::new(Mutex::new(Vec::new()));
    let tokens: Vec<String> = (0..40)
        .map(|_| pair.one.sandbox.issue_token().unwrap())
        .collect();
    let (count, bad) = (issued.clone(), refused.clone());
    endpoint.script(move |asked| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        if let Some(shown) = asked.get("refresh_token")
            && *shown != format!("refresh-{}", number - 1)
        {
            bad.lock().unwrap().push(shown.clone());
            return Answer::json(400, &json!({"error": "invalid_grant"}));
        }
        // So short that each round has to redeem.
        let json = json!({
            "access_token": tokens[number], "refresh_token": format!("refresh-{number}"),
            "expires_in": 4, "scope": "offline_access",
        });
        Answer::json(200, &json)
    });
    let (status, page) = crate::consents::consent(&pair, 0).await;
    assert_eq!(status, 200, "{page}");
    for round in 1..=3 {
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(
            crowd(&pair, 60).await,
            60,
            "{round}: {}",
            pair.one.log.text()
        );
        assert_eq!(*refused.lock().unwrap(), Vec::<String>::new(), "{round}");
    }
    let issued = issued.load(Ordering::SeqCst);
    assert!((4..=12).contains(&issued), "{issued}");
}
