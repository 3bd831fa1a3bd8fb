//! A redemption that cannot be stored yet, and what happens to it meanwhile.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::Imap;

use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::rotation::spawn;
use crate::stage::greet;
use crate::token_life::{OneUse, metric, one_a_minute};
use crate::{assert_logs_in, consent, consenting, http};

fn rename(from: &Path, to: &str) {
    std::fs::rename(from, from.with_file_name(to)).unwrap();
}

/// d47: `forget` that cannot write loses no redeemed refresh token: it stays in use, and is written
/// when that is possible.
#[tokio::test]
async fn d47_a_forget_that_fails_loses_no_redeemed_token() {
    let endpoint = Endpoint::start().await;
    let relay = consenting()
        .replace("ca: ca.pem", "ca: ca.pem\n    token_margin: 200s")
        .token_url(&endpoint.url())
        .start()
        .await;
    let one_use = Arc::new(Mutex::new(OneUse::default()));
    // The folder that is away when the endpoint answers.
    let away = Arc::new(Mutex::new(None::<PathBuf>));
    let sandbox = Arc::new(Mutex::new(Vec::new()));
    let refill = || {
        let mut tokens = sandbox.lock().unwrap();
        tokens.clear();
        tokens.extend((0..10).map(|_| relay.sandbox.issue_token().unwrap()));
    };
    refill();
    let (seen, goes, tokens) = (one_use.clone(), away.clone(), sandbox.clone());
    endpoint.script(move |asked| {
        if let Some(folder) = goes.lock().unwrap().take() {
            rename(&folder, "away");
        }
        let token = tokens.lock().unwrap().pop().unwrap();
        seen.lock().unwrap().redeem(asked, &token)
    });
    assert_eq!(consent(&relay).await.0, 200);
    let revoke = || {
        relay.sandbox.revoke_tokens();
        refill();
    };
    let folder = relay.directory().join("state/tokens");
    *away.lock().unwrap() = Some(folder.clone());
    one_a_minute(&relay, &revoke).await;
    assert!(metric(&relay, "authrelay_unstored_tokens 1").await);
    let admin = relay.listener("admin");
    let url = format!("http://{admin}/api/accounts/{LOGIN}/token");
    let request = http().delete(url).bearer_auth("admin-token-9Zk4");
    assert_eq!(request.send().await.unwrap().status(), 500);
    assert!(metric(&relay, "authrelay_unstored_tokens 1").await);
    assert_logs_in(&relay, Imap).await;
    rename(&folder.with_file_name("away"), "tokens");
    relay.log.wait_for("a redeemed token is stored now").await;
    one_a_minute(&relay, &revoke).await;
    assert_eq!(one_use.lock().unwrap().repeated, [""; 0]);
}

/// d21: a relay that is told to stop writes what is pending: its memory is the only place that has
/// the refresh token which is still good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d21_a_stop_writes_a_redeemed_token_that_is_pending() {
    let endpoint = Endpoint::start().await;
    let relay = consenting().token_url(&endpoint.url()).start().await;
    let one_use = Arc::new(Mutex::new(OneUse::default()));
    let away = Arc::new(Mutex::new(None::<PathBuf>));
    let token = Arc::new(Mutex::new(relay.sandbox.issue_token().unwrap()));
    let (seen, goes, given) = (one_use.clone(), away.clone(), token.clone());
    endpoint.script(move |asked| {
        if let Some(folder) = goes.lock().unwrap().take() {
            rename(&folder, "away");
        }
        let token = given.lock().unwrap().clone();
        seen.lock().unwrap().redeem(asked, &token)
    });
    assert_eq!(consent(&relay).await.0, 200);
    let yaml = std::fs::read_to_string(relay.directory().join("proxy.yaml")).unwrap();
    let (without_admin, _) = yaml.split_once("admin:").unwrap();
    std::fs::write(relay.directory().join("second.yaml"), without_admin).unwrap();
    let folder = relay.directory().join("state/tokens");
    // What is stored is refused upstream: each process has to redeem.
    for is_away in [true, false] {
        relay.sandbox.revoke_tokens();
        *token.lock().unwrap() = relay.sandbox.issue_token().unwrap();
        *away.lock().unwrap() = is_away.then(|| folder.clone());
        let (mut child, address) = spawn(&relay).unwrap();
        let mut client = Client::dial(Imap, address).await;
        greet(&mut client).await;
        let reply = client.log_in(LOGIN, PASSWORD).await;
        if is_away {
            rename(&folder.with_file_name("away"), "tokens");
        }
        drop(client);
        let stopped = Command::new("kill").arg(child.id().to_string()).status();
        assert!(stopped.unwrap().success());
        let status = tokio::task::spawn_blocking(move || child.wait().unwrap());
        assert!(status.await.unwrap().success());
        // Last: a process that is left behind would outlive the test.
        assert!(reply.starts_with("a OK "), "{reply}");
    }
    assert_eq!(one_use.lock().unwrap().repeated, [""; 0]);
}
