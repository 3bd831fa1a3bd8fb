//! Audit records beyond the file: signed heads, a collector over HTTP, other formats, and what people
//! do by the administrators' listener.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::{Imap, Pop3, Smtp};
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::audit::records;
use crate::daemon::{Daemon, authrelay};
use crate::stage::{Setup, is_success};

/// An Ed25519 key pair as openssl makes it: the private key's and the public key's text.
pub fn key_pair(folder: &Path) -> (String, String) {
    let (private, public) = (folder.join("sign.pem"), folder.join("sign.pub"));
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).status().unwrap();
        assert!(done.success(), "{arguments:?}");
    };
    let (private_path, public_path) = (private.to_str().unwrap(), public.to_str().unwrap());
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", private_path]);
    openssl(&["pkey", "-in", private_path, "-pubout", "-out", public_path]);
    let read = |path| std::fs::read_to_string(path).unwrap();
    (read(&private), read(&public))
}

/// The same records as a chain of their own, as somebody would make it who can write the file.
fn chained_anew(records: &[Value]) -> String {
    let mut prev = "0".repeat(64);
    let mut text = String::new();
    for record in records {
        let mut record = record.as_object().unwrap().clone();
        record.remove("hash");
        record.insert("prev".into(), json!(prev));
        let line = serde_json::to_string(&record).unwrap();
        prev = digest(&SHA256, line.as_bytes())
            .as_ref()
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        text.push_str(&format!(
            "{},\"hash\":\"{prev}\"}}\n",
            &line[..line.len() - 1]
        ));
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_head_shows_a_chain_that_was_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (private, public) = key_pair(folder.path());
    let setup = Setup::default()
        .file("sign.pem", &private)
        .append("audit: {path: audit.jsonl, sign: {key: {file: sign.pem}}}\n");
    let mut relay = Daemon::start(setup).await;
    relay.log_in(Imap).await;
    relay.stop().await;
    let path = relay.audit();
    let good = records(&path);
    assert_eq!(good.last().unwrap()["event"], "head");
    assert!(good.last().unwrap()["signature"].is_string());

    let key = folder.path().join("sign.pub");
    let (file, key_file) = (path.to_str().unwrap(), key.to_str().unwrap());
    let check = |key: Option<&str>, exit: i32, says: &str| {
        let mut arguments = vec!["audit", "verify", file];
        arguments.extend(key.iter().flat_map(|key| ["--public-key", key]));
        let done = authrelay(&arguments);
        assert_eq!(done.code, exit, "{done:?}");
        assert!(done.said.contains(says), "{done:?}");
    };
    check(Some(key_file), 0, "0 records behind it");
    check(None, 0, "good: ");
    // Editors put a byte order mark before it.
    std::fs::write(&key, format!("\u{feff}{public}")).unwrap();
    check(Some(key_file), 0, "0 records behind it");

    // Somebody who can write the file lets another have logged in.
    let mut forged = good.clone();
    forged[0]["login"] = json!("somebody@else.test");
    std::fs::write(&path, chained_anew(&forged)).unwrap();
    check(None, 0, "good: ");
    check(Some(key_file), 1, "not signed by the holder of the key");
    // Without the head.
    forged.pop();
    std::fs::write(&path, chained_anew(&forged)).unwrap();
    check(None, 0, "good: ");
    check(Some(key_file), 1, "has no signed head");
    // The head's time belongs to what is signed.
    let mut later = good.clone();
    later.last_mut().unwrap()["time"] = json!("2030-01-01T00:00:00.000Z");
    std::fs::write(&path, chained_anew(&later)).unwrap();
    check(Some(key_file), 1, "not signed by the holder of the key");
    // Another's key, and what is none.
    std::fs::write(&path, chained_anew(&good)).unwrap();
    let others = tempfile::tempdir().unwrap();
    key_pair(others.path());
    let other = others.path().join("sign.pub");
    check(Some(other.to_str().unwrap()), 1, "not signed by the holder");
    std::fs::write(&key, public.replace("PUBLIC", "PRIVATE")).unwrap();
    check(Some(key_file), 64, "is not a public key in PEM");
    check(Some("/nowhere/key.pem"), 74, "cannot be read");
}

#[test]
fn a_key_that_cannot_sign_is_found_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.yaml");
    std::fs::write(
        &path,
        "audit: {path: audit.jsonl, sign: {key: secret}}\nlisteners: []\nregistrations: {}\naccounts: []\n",
    )
    .unwrap();
    let done = authrelay(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(done.code, 78, "{done:?}");
    let says = "audit.sign.key: is not an Ed25519 private key in PEM; make one with `openssl genpkey -algorithm ed25519`";
    assert!(done.said.contains(says), "{done:?}");
}

/// What a collector got.
#[derive(Debug, Default)]
struct Collected {
    lines: Vec<String>,
    requests: usize,
    headers: Vec<HeaderMap>,
}

/// A collector that refuses the first requests.
async fn collector(refuses: usize) -> (String, Arc<Mutex<Collected>>) {
    let collected = Arc::new(Mutex::new(Collected::default()));
    let taken = collected.clone();
    let take = move |headers: HeaderMap, body: String| async move {
        let mut collected = taken.lock().unwrap();
        collected.requests += 1;
        collected.headers.push(headers);
        if collected.requests <= refuses {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        collected.lines.extend(body.lines().map(str::to_owned));
        StatusCode::ACCEPTED
    };
    let router = axum::Router::new().route("/in/path-token", axum::routing::post(take));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, router).await });
    (format!("http://{address}/in/path-token"), collected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_every_record_in_order_although_it_was_away() {
    let (url, collected) = collector(2).await;
    let setup = Setup::default().unlimited().append(&format!(
        "audit: {{path: audit.jsonl, http: {{url: '{url}', headers: {{Authorization: 'Splunk token-of-the-collector'}}}}}}\n"
    ));
    let mut relay = Daemon::start(setup).await;
    for protocol in [Imap, Pop3, Smtp, Imap] {
        let (client, reply) = relay.log_in(protocol).await;
        assert!(is_success(client.protocol, &reply), "{reply}");
    }
    relay
        .wait_for_count("the audit collector takes records again", 1)
        .await;
    relay.stop().await;
    let file = std::fs::read_to_string(relay.audit()).unwrap();
    let collected = collected.lock().unwrap();
    assert_eq!(collected.lines, file.lines().collect::<Vec<_>>());
    for headers in &collected.headers {
        assert_eq!(headers["authorization"], "Splunk token-of-the-collector");
        assert_eq!(headers["content-type"], "application/x-ndjson");
    }
    let said = relay.said("the audit collector does not take records");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0]["error"].as_str().unwrap().contains("503"),
        "{said:?}"
    );
    for line in relay.log() {
        let line = line.to_string();
        assert!(!line.contains("token-of-the-collector"), "{line}");
        assert!(!line.contains("path-token"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_of_administrators_are_on_the_record() {
    let setup = Setup::default().append(
        "audit: {path: audit.jsonl}\nadmin: {bind: '127.0.0.1:0', token: an-admin-token-of-enough-length}\n",
    );
    let mut relay = Daemon::start(setup).await;
    let admin = relay.admin().await;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let http = reqwest::Client::new();
    let ask = async |method: &str, path: &str, token: &str| {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = http.request(method, format!("http://{admin}{path}"));
        request.bearer_auth(token).send().await.unwrap().status()
    };
    let token = "an-admin-token-of-enough-length";
    let login = LOGIN.replace('@', "%40");
    assert!(
        ask(
            "POST",
            &format!("/api/accounts/{login}/test?protocol=imap"),
            token
        )
        .await
        .is_success()
    );
    assert_eq!(
        ask("DELETE", "/api/accounts/nobody/token", token).await,
        404
    );
    assert!(ask("POST", "/api/reload", token).await.is_success());
    // Looking is no action, and who is not let in does none.
    assert!(ask("GET", "/api/accounts", token).await.is_success());
    assert_eq!(ask("POST", "/api/reload", PASSWORD).await, 401);
    relay.stop().await;
    let records = records(&relay.audit());
    let actions: Vec<_> = records
        .iter()
        .filter(|record| record["event"] == "action")
        .map(|record| {
            [
                &record["person"],
                &record["action"],
                &record["login"],
                &record["outcome"],
            ]
            .map(|value| value.as_str().unwrap_or("-"))
        })
        .collect();
    assert_eq!(
        actions,
        [
            ["token", "test", LOGIN, "accepted"],
            ["token", "forget", "nobody", "failed"],
            ["token", "reload", "-", "accepted"],
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_exported_for_other_systems() {
    let setup = Setup::default().append("audit: {path: audit.jsonl}\n");
    let mut relay = Daemon::start(setup).await;
    relay.log_in(Imap).await;
    relay.stop().await;
    let path = relay.audit();
    let file = path.to_str().unwrap();
    let ocsf = authrelay(&["audit", "export", "--format", "ocsf", file]);
    assert_eq!(ocsf.code, 0, "{ocsf:?}");
    let events: Vec<Value> = ocsf
        .said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = events.iter().map(|event| &event["activity_name"]).collect();
    assert_eq!(kinds, ["Logon", "Logoff"]);
    for event in &events {
        assert_eq!(event["class_uid"], 3002);
        assert_eq!(event["status"], "Success");
        assert_eq!(event["user"]["name"], LOGIN);
        assert_eq!(event["src_endpoint"]["ip"], "127.0.0.1");
    }
    // From stdin, as in a pipe.
    let mut command = Command::new(env!("CARGO_BIN_EXE_authrelay"));
    command.args(["audit", "export", "--format", "cef", "-"]);
    command.stdin(std::fs::File::open(&path).unwrap());
    let output = command.output().unwrap();
    let cef = String::from_utf8(output.stdout).unwrap();
    assert_eq!(cef.lines().count(), 2, "{cef}");
    for line in cef.lines() {
        assert!(line.starts_with("CEF:0|authrelay|authrelay|"), "{line}");
        assert!(line.contains(&format!(" suser={LOGIN} ")), "{line}");
    }
    // One line is none: the others are printed, and it is said.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("garbage\n{text}")).unwrap();
    let done = authrelay(&["audit", "export", "--format", "cef", file]);
    assert_eq!(done.code, 1);
    assert!(
        done.said.contains("audit.jsonl:1: is not an audit record"),
        "{done:?}"
    );
    assert_eq!(done.said.lines().count(), 3, "{done:?}");
    assert_eq!(
        authrelay(&["audit", "export", "--format", "xml", file]).code,
        64
    );
}
