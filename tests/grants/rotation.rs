//! Requirement 20: whatever moment a relay is killed at, the next one has a token that is good.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use authrelay::sandbox::{LOGIN, Options, PASSWORD};
use authrelay::wire::Protocol::Imap;

use crate::client::Client;
use crate::stage::{Relay, greet};
use crate::{consent, consenting};

/// The relay as a process of its own, on a listener that the system picks.
fn spawn(relay: &Relay) -> (Child, std::net::SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["run", "--config"])
        .arg(relay.directory().join("second.yaml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = log
        .find_map(|line| {
            let record: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
            (record["listener"] == "imap").then(|| record["address"].as_str().unwrap().to_owned())
        })
        .unwrap();
    std::thread::spawn(move || log.for_each(drop));
    (child, address.parse().unwrap())
}

#[tokio::test]
async fn r20_a_kill_at_any_moment_of_a_rotation_leaves_a_good_token() {
    let options = Options {
        // Each login refreshes: the token is too short-lived to be used from disk.
        lifetime: Duration::from_secs(600),
        ..Options::default()
    };
    let relay = consenting().options(options).start().await;
    assert_eq!(consent(&relay).await.0, 200);
    let yaml = std::fs::read_to_string(relay.directory().join("proxy.yaml")).unwrap();
    let (without_admin, _) = yaml.split_once("admin:").unwrap();
    std::fs::write(relay.directory().join("second.yaml"), without_admin).unwrap();
    let before = relay.sandbox.seen().token_requests;
    let mut delay = 0;
    for round in 0..200u64 {
        let (mut child, address) = spawn(&relay);
        let mut client = Client::dial(Imap, address).await;
        greet(&mut client).await;
        client
            .try_send(format!("a LOGIN {LOGIN} {PASSWORD}\r\n"))
            .await
            .unwrap();
        // Spread over the time that a refresh and its writing take.
        delay = (delay * 7 + 613) % 6_000;
        tokio::time::sleep(Duration::from_micros(delay)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 20 == 19 {
            let (mut child, address) = spawn(&relay);
            let mut client = Client::dial(Imap, address).await;
            greet(&mut client).await;
            let reply = client.log_in(LOGIN, PASSWORD).await;
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(reply.starts_with("a OK "), "round {round}: {reply}");
        }
    }
    let rotations = relay.sandbox.seen().token_requests - before;
    assert!(rotations > 50, "only {rotations} refreshes were under way");
}
