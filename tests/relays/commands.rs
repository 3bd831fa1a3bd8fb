//! Commands on a host where no relay runs: they reach the shared store themselves.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use authrelay::sandbox::LOGIN;
use authrelay::wire::Protocol::Imap;

use crate::consents::{consent, consenting, eventually, http};
use crate::pair::{Pair, Second};

/// A configuration with a state directory of its own, by which no relay runs.
fn elsewhere(pair: &Pair) -> PathBuf {
    let directory = pair.one.directory();
    let yaml = std::fs::read_to_string(directory.join("proxy.yaml")).unwrap();
    let yaml = yaml.replace("directory: ./state", "directory: ./state-elsewhere");
    let path = directory.join("elsewhere.yaml");
    std::fs::write(&path, yaml).unwrap();
    path
}

fn spawn(file: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(arguments)
        .arg("--config")
        .arg(file)
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_DISPLAY")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn run(file: &Path, arguments: &[&str]) -> (Output, String) {
    let child = spawn(file, arguments);
    let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap());
    let output = output.await.unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output, said)
}

/// The consent of the account as `accounts --json` shows it.
async fn shown(file: &Path) -> (String, String) {
    let (output, said) = run(file, &["accounts", "--json"]).await;
    assert!(output.status.success(), "{said}");
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["login"] == LOGIN);
    let consent = row.unwrap()["consent"].as_str().unwrap().to_owned();
    (consent, said)
}

/// Authorizes by a pasted address; what the command said.
async fn authorize(file: &Path) -> String {
    let mut child = spawn(file, &["authorize", LOGIN, "--method", "paste"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let (stdout, url) = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        while !line.starts_with("http") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "no address");
        }
        (stdout, line.trim().to_owned())
    })
    .await
    .unwrap();
    let page = http().get(url).send().await.unwrap();
    let back = page.headers()["location"].to_str().unwrap().to_owned();
    writeln!(child.stdin.take().unwrap(), "{back}").unwrap();
    tokio::task::spawn_blocking(move || {
        let (mut output, mut stdout) = (String::new(), stdout);
        stdout.read_to_string(&mut output).unwrap();
        let mut stderr = child.stderr.take().unwrap();
        stderr.read_to_string(&mut output).unwrap();
        assert!(child.wait().unwrap().success(), "{output}");
        output
    })
    .await
    .unwrap()
}

async fn until_reply(pair: &Pair, relay: usize, begins: &str) {
    eventually(begins, async || {
        pair.log_in(relay, Imap).await.starts_with(begins)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_where_no_relay_runs_reach_every_relay() {
    let pair = Pair::start(consenting()).await;
    let file = elsewhere(&pair);
    assert_eq!(shown(&file).await.0, "needed");
    // A consent that was given at a relay is shown everywhere.
    assert_eq!(consent(&pair, 0).await.0, 200);
    let (consent, said) = shown(&file).await;
    assert_eq!(consent, "given", "{said}");
    assert!(!said.contains("warning"), "{said}");
    for relay in [0, 1] {
        until_reply(&pair, relay, "a OK ").await;
    }
    let (output, said) = run(&file, &["forget", LOGIN]).await;
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("are deleted") && !said.contains("warning"),
        "{said}"
    );
    for relay in [1, 0] {
        until_reply(&pair, relay, "a NO [CONTACTADMIN] ").await;
    }
    assert_eq!(shown(&file).await.0, "needed");
    // One that is given where no relay runs serves all.
    let said = authorize(&file).await;
    assert!(
        said.contains("authorized: ") && !said.contains("warning"),
        "{said}"
    );
    for relay in [0, 1] {
        until_reply(&pair, relay, "a OK ").await;
    }
    // None of these processes is a relay.
    for relay in [0, 1] {
        pair.until_metric(relay, "authrelay_relays 2\n").await;
    }
    assert!(pair.redis.ask(&["ZCARD", "authrelay:roster"]).contains('2'));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_without_the_store_hold_where_they_were_given_and_say_so() {
    let mut pair = Pair::start(consenting()).await;
    let file = elsewhere(&pair);
    assert_eq!(consent(&pair, 0).await.0, 200);
    assert_eq!(shown(&file).await.0, "given");
    pair.redis.kill();
    let (consent, said) = shown(&file).await;
    assert_eq!(consent, "given");
    assert!(said.contains("the shared store is away"), "{said}");
    let (output, said) = run(&file, &["forget", LOGIN]).await;
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("are deleted") && said.contains("warning: the shared store is away"),
        "{said}"
    );
    assert_eq!(shown(&file).await.0, "needed");
    pair.assert_logs_in(0).await;
    pair.redis.restart();
    for relay in [0, 1] {
        pair.until_metric(relay, "authrelay_store_up 1\n").await;
    }
    pair.assert_logs_in(0).await;
    // A relay that starts with that state directory tells the others.
    let third = Second::start(&pair.one, "elsewhere").await;
    for relay in [1, 0] {
        until_reply(&pair, relay, "a NO [CONTACTADMIN] ").await;
    }
    third.end().await;
}

/// A relay with an empty directory has every consent soon, not only those that somebody logs in with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_new_gets_every_consent() {
    let pair = Pair::start(consenting()).await;
    assert_eq!(consent(&pair, 0).await.0, 200);
    let third = Second::start(&pair.one, "third").await;
    let admin = third.listener("admin");
    eventually("the consent is shown", async || {
        let rows = http()
            .get(format!("http://{admin}/api/accounts"))
            .bearer_auth("admin-token-9Zk4")
            .send()
            .await
            .unwrap();
        let rows: serde_json::Value = rows.json().await.unwrap();
        rows[0]["consent"] == "given"
    })
    .await;
    third.end().await;
}
