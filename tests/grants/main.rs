//! Every way to a token, black-box: the relay and the `authrelay` command against the emulated
//! Entra, people's browsers played by an HTTP client. The number in a test's name is the one under
//! which the requirement is known (`r23_…`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[allow(dead_code)]
#[path = "../relay/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../relay/clock.rs"]
mod clock;
#[allow(dead_code)]
#[path = "../relay/log.rs"]
mod log;
#[allow(dead_code)]
#[path = "../relay/stage.rs"]
mod stage;

mod admin;
mod alerts;
mod applications;
mod checks;
mod command;
mod consent;
mod direct;
mod disk;
mod doctor;
mod endpoint;
mod listener;
mod memory;
mod offline;
mod password;
mod pending_write;
mod remedies;
mod rotation;
mod setup;
mod sign_in;
mod sign_in_keys;
mod store;
mod token_life;

use std::net::TcpListener;
use std::path::Path;

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol;

use stage::{Relay, Setup, is_success};

/// The program, where another user can run it. Not copied by this process: a child that another
/// test starts meanwhile would inherit the open file, and what is open for writing cannot be run.
fn copy_authrelay(to: &Path) {
    let from = Path::new(env!("CARGO_BIN_EXE_authrelay"));
    let copied = std::process::Command::new("cp").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// The sandbox's registration with other keys than grant and secret.
fn registration(keys: &str) -> Setup {
    let secret = authrelay::sandbox::CLIENT_SECRET;
    Setup::default().replace(
        &format!("    grant: client_credentials\n    client_secret: \"{secret}\"\n"),
        &format!("    {}\n", keys.replace('\n', "\n    ")),
    )
}

/// A consent's registration, with the administrators' listener.
fn consenting() -> Setup {
    registration("grant: authorization_code").append(
        "admin: {bind: \"127.0.0.1:0\", public_url: \"http://localhost:8025\", token: admin-token-9Zk4}\n",
    )
}

/// Logs in and gives the reply.
async fn log_in(relay: &Relay, protocol: Protocol) -> String {
    relay.connect(protocol).await.log_in(LOGIN, PASSWORD).await
}

async fn assert_logs_in(relay: &Relay, protocol: Protocol) {
    let reply = log_in(relay, protocol).await;
    assert!(
        is_success(protocol, &reply),
        "{reply}\n{}",
        relay.log.text()
    );
}

/// A browser that does what the test says.
fn http() -> reqwest::Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap()
}

/// A person at a browser: goes where the identity provider sends them, and stops at the relay.
async fn consent_at(url: &str) -> String {
    let client = http();
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.status(), 302, "{}", answer.text().await.unwrap());
    answer.headers()["location"].to_str().unwrap().to_owned()
}

/// What the relay's own listener answers to the wish to authorize the sandbox's account.
async fn begin(relay: &Relay) -> serde_json::Value {
    let admin = relay.listener("admin");
    let answer = http()
        .post(format!("http://{admin}/api/accounts/{LOGIN}/authorize"))
        .bearer_auth("admin-token-9Zk4")
        .send()
        .await
        .unwrap();
    answer.json().await.unwrap()
}

/// A consent for the sandbox's account, from beginning to end.
async fn consent(relay: &Relay) -> (u16, String) {
    let answer = begin(relay).await;
    let back = consent_at(answer["url"].as_str().unwrap()).await;
    come_back(relay, &back).await
}

/// The browser follows the redirect to `public_url`, which is where the listener really is.
async fn come_back(relay: &Relay, back: &str) -> (u16, String) {
    let admin = relay.listener("admin");
    let back = back.replace("http://localhost:8025", &format!("http://{admin}"));
    let client = http();
    let page = client.get(back).send().await.unwrap();
    (page.status().as_u16(), page.text().await.unwrap())
}

/// A port that nobody listens on at the moment.
fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}
