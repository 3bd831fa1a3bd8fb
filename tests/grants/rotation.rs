//! Requirement 20, d21: whatever moment a relay is killed at, and whenever its disk is full, the next
//! one has a consent that is good, although each refresh token is good once.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::Imap;
use serde_json::json;

use crate::client::Client;
use crate::disk::SmallDisk;
use crate::endpoint::{Answer, Endpoint};
use crate::stage::{Relay, greet};
use crate::{consent, consenting};

/// The relay as a process of its own, on a listener that the system picks; `None`: it does not
/// start (a full disk).
pub fn spawn(relay: &Relay) -> Option<(Child, std::net::SocketAddr)> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["run", "--config"])
        .arg(relay.directory().join("second.yaml"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = log.find_map(|line| {
        let record: serde_json::Value = serde_json::from_str(&line.ok()?).ok()?;
        (record["listener"] == "imap").then(|| record["address"].as_str().unwrap().to_owned())
    });
    std::thread::spawn(move || log.for_each(drop));
    match address {
        Some(address) => Some((child, address.parse().unwrap())),
        None => {
            child.wait().unwrap();
            None
        }
    }
}

/// Refresh tokens as they are issued: a redeemed one is taken again only as long as its successor
/// was not (a relay that is killed before it has the answer cannot know that).
#[derive(Default)]
struct Family {
    newest: usize,
    redemptions: usize,
    lost: Vec<String>,
}

impl Family {
    fn redeem(&mut self, shown: Option<&String>) -> Result<String, Answer> {
        if let Some(shown) = shown {
            let number: usize = shown.rsplit('-').next().unwrap().parse().unwrap();
            if number + 1 < self.newest {
                self.lost.push(shown.clone());
                return Err(Answer::json(400, &json!({"error": "invalid_grant"})));
            }
            self.redemptions += 1;
            self.newest = number;
        }
        self.newest += 1;
        Ok(format!("refresh-{}", self.newest))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r20_d21_kills_and_full_disks_at_any_moment_leave_a_good_consent() {
    let disk = SmallDisk::mount();
    let endpoint = Endpoint::start().await;
    let relay = consenting()
        .replace(
            "directory: ./state",
            &format!("directory: {}", disk.path().display()),
        )
        .token_url(&endpoint.url())
        .start()
        .await;
    let family = Arc::new(Mutex::new(Family::default()));
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let (seen, next) = (family.clone(), tokens.clone());
    endpoint.script(move |asked| {
        let refresh_token = match seen.lock().unwrap().redeem(asked.get("refresh_token")) {
            Ok(token) => token,
            Err(refused) => return refused,
        };
        // A round has tokens enough for all that it may ask.
        let token: String = next.lock().unwrap().pop().unwrap();
        let json = json!({
            "access_token": token, "refresh_token": refresh_token, "expires_in": 3599,
            "scope": "offline_access",
        });
        Answer::json(200, &json)
    });
    // What was stored so far is refused upstream: each login has to redeem.
    let revoke = || {
        relay.sandbox.revoke_tokens();
        let fresh = (0..4).map(|_| relay.sandbox.issue_token().unwrap());
        *tokens.lock().unwrap() = fresh.collect();
    };
    revoke();
    assert_eq!(consent(&relay).await.0, 200);
    let yaml = std::fs::read_to_string(relay.directory().join("proxy.yaml")).unwrap();
    let (without_admin, _) = yaml.split_once("admin:").unwrap();
    std::fs::write(relay.directory().join("second.yaml"), without_admin).unwrap();
    // What a login takes here and now: moments of it are hit on a slow machine, too.
    revoke();
    let (mut child, address) = spawn(&relay).expect("there is room");
    let mut client = Client::dial(Imap, address).await;
    greet(&mut client).await;
    let began = std::time::Instant::now();
    client.log_in(LOGIN, PASSWORD).await;
    let span = u64::try_from(began.elapsed().as_micros())
        .unwrap()
        .max(10_000)
        * 3
        / 2;
    child.kill().unwrap();
    child.wait().unwrap();
    let mut delay = 0;
    for round in 0..200u64 {
        revoke();
        // Full at times from the start, at times from some moment of the redemption on.
        let full_at = match round % 4 {
            1 => Some(0),
            3 => Some(delay * 3 % (span * 3 / 4)),
            _ => None,
        };
        delay = (delay * 7 + 6_131) % span;
        let started = spawn(&relay);
        if let Some((mut child, address)) = started {
            let mut client = Client::dial(Imap, address).await;
            greet(&mut client).await;
            client
                .try_send(format!("a LOGIN {LOGIN} {PASSWORD}\r\n"))
                .await
                .unwrap();
            let pause = |micros| tokio::time::sleep(Duration::from_micros(micros));
            match full_at {
                Some(at) => {
                    pause(at.min(delay)).await;
                    disk.fill();
                    pause(delay.saturating_sub(at)).await;
                }
                None => pause(delay).await,
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        disk.free();
        if round % 20 == 19 {
            revoke();
            let (mut child, address) = spawn(&relay).expect("there is room");
            let mut client = Client::dial(Imap, address).await;
            greet(&mut client).await;
            let reply = client.log_in(LOGIN, PASSWORD).await;
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(reply.starts_with("a OK "), "round {round}: {reply}");
        }
    }
    let family = family.lock().unwrap();
    assert_eq!(family.lost, [""; 0]);
    let redemptions = family.redemptions;
    assert!(redemptions > 30, "only {redemptions} redemptions");
}

/// A refresh token that may be redeemed once is lost with the answer to its redemption: a relay that
/// is told to stop waits for that answer, although no client does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_the_answer_to_a_redemption() {
    let endpoint = Endpoint::start().await;
    let relay = consenting().token_url(&endpoint.url()).start().await;
    let token = Arc::new(Mutex::new(relay.sandbox.issue_token().unwrap()));
    let (given, mut number) = (token.clone(), 0);
    endpoint.script(move |_| {
        number += 1;
        let json = json!({
            "access_token": *given.lock().unwrap(), "refresh_token": format!("refresh-{number}"),
            "expires_in": 3599, "scope": "offline_access",
        });
        Answer::json(200, &json)
    });
    assert_eq!(consent(&relay).await.0, 200);
    // What was stored is refused upstream: the next login redeems.
    relay.sandbox.revoke_tokens();
    *token.lock().unwrap() = relay.sandbox.issue_token().unwrap();
    let yaml = std::fs::read_to_string(relay.directory().join("proxy.yaml")).unwrap();
    let (without_admin, _) = yaml.split_once("admin:").unwrap();
    std::fs::write(relay.directory().join("second.yaml"), without_admin).unwrap();
    let (mut child, address) = spawn(&relay).unwrap();
    let held = endpoint.hold().await;
    let asked = endpoint.count();
    let mut client = Client::dial_to_reset(Imap, address).await;
    greet(&mut client).await;
    client.send(format!("a LOGIN {LOGIN} {PASSWORD}\r\n")).await;
    let pause = || tokio::time::sleep(Duration::from_millis(20));
    while endpoint.count() == asked {
        pause().await;
    }
    // A client that is gone ends its attempt, and with it the last session.
    drop(client);
    let stopped = Command::new("kill").arg(child.id().to_string()).status();
    assert!(stopped.unwrap().success());
    for _ in 0..50 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it waits for no answer"
        );
        pause().await;
    }
    drop(held);
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap());
    assert!(status.await.unwrap().success());
    let (mut child, address) = spawn(&relay).unwrap();
    let mut client = Client::dial(Imap, address).await;
    greet(&mut client).await;
    client.log_in(LOGIN, PASSWORD).await;
    child.kill().unwrap();
    child.wait().unwrap();
    let asked = endpoint.asked();
    let shown = asked.iter().filter_map(|form| form.get("refresh_token"));
    assert_eq!(shown.collect::<Vec<_>>(), ["refresh-1"]);
}
