//! What `check --online` and `doctor` find in a store.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use authrelay::certs::Authority;

use crate::link::{Fault, Link};
use crate::server::{Server as Redis, free_port};
use crate::stage::{Prepared, Setup};

/// A configuration with a store, by which no relay runs.
pub async fn prepared(store: &str) -> Prepared {
    let state =
        format!("directory: ./state\n  key: a key that both relays have\n  store: {{{store}}}");
    Setup::default()
        .replace("directory: ./state", &state)
        .prepare()
        .await
}

fn url(port: u16) -> String {
    format!("url: \"redis://127.0.0.1:{port}\"")
}

pub async fn run(file: PathBuf, arguments: &'static [&'static str]) -> Output {
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_authrelay"))
            .args(arguments)
            .arg("--config")
            .arg(file)
            .output()
            .unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// `check --online` is good and warns of this; `doctor` fails its step `store` with it as the cause.
async fn finds(file: &Path, what: &str) {
    let output = run(file.to_owned(), &["check", "--online"]).await;
    let said = text(&output.stderr);
    assert!(output.status.success(), "a warning: {said}");
    let warning = said
        .lines()
        .find(|line| line.starts_with("warning: state.store: "));
    assert!(
        warning.is_some_and(|it| it.contains(what)),
        "{what}: {said}"
    );
    let output = run(file.to_owned(), &["doctor", "--protocol", "imap", "--json"]).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let step = &report["steps"][0];
    assert_eq!(
        (&step["name"], &step["ok"]),
        (&"store".into(), &false.into()),
        "{report:#}"
    );
    let cause = step["cause"].as_str().unwrap();
    assert!(cause.contains(what), "{what}: {cause}");
    assert!(!step["remedy"].as_str().unwrap().is_empty());
    // Mail goes on without it: so do the other steps.
    assert!(report["steps"].as_array().unwrap().len() > 4, "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_fit_is_good() {
    let redis = Redis::with(&[]);
    let stage = prepared(&url(redis.port)).await;
    let output = run(stage.path(), &["check", "--online"]).await;
    let said = text(&output.stderr);
    assert!(
        output.status.success() && !said.contains("warning: state.store"),
        "{said}"
    );
    assert!(
        said.contains("version ") && said.contains("noeviction") && said.contains("clock, key"),
        "{said}"
    );
    let output = run(stage.path(), &["doctor", "--protocol", "imap", "--json"]).await;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(report["steps"][0]["name"], "store");
}

/// It lets the check in and then says nothing more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_falls_silent_during_the_check_is_named() {
    let redis = Redis::with(&[]);
    for command in ["EVALSHA", "memory", "TIME"] {
        let link = Link::to(redis.port, Fault::LostFrom(command)).await;
        let stage = prepared(&url(link.port)).await;
        let check = run(stage.path(), &["check", "--online"]);
        let output = tokio::time::timeout(Duration::from_secs(20), check).await;
        let said = text(&output.expect("an end").stderr);
        assert!(said.contains("no answer within 3 s"), "{command}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_not_fit_is_named() {
    let redis = Redis::with(&[]);
    let stage = prepared(&url(redis.port)).await;
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    finds(&stage.path(), "its eviction policy is allkeys-lru").await;
    redis.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    // Records of another key, and of a later version, are left alone.
    redis.ask(&["SET", "authrelay:key", "2 of-another-key"]);
    finds(&stage.path(), "another state.key").await;
    redis.ask(&["SET", "authrelay:key", "9 of-a-later-one"]);
    finds(&stage.path(), "a later version of authrelay").await;
    assert!(
        redis
            .ask(&["GET", "authrelay:key"])
            .contains("9 of-a-later-one")
    );
    redis.ask(&["DEL", "authrelay:key"]);
    redis.ask(&["CONFIG", "SET", "requirepass", "p@ss"]);
    finds(&stage.path(), "NOAUTH").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_is_wrong_is_named_and_not_shown() {
    let redis = Redis::with(&[]);
    redis.ask(&["CONFIG", "SET", "requirepass", "p@ss"]);
    let store = format!("url: \"redis://:another-one@127.0.0.1:{}\"", redis.port);
    let stage = prepared(&store).await;
    finds(&stage.path(), "WRONGPASS").await;
    let output = run(stage.path(), &["check", "--online"]).await;
    assert!(!text(&output.stderr).contains("another-one"));
}

/// A server may let a user in, and not let it run what the relays need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_that_may_not_do_what_relays_do_is_named() {
    let redis = Redis::with(&[]);
    let store = format!("url: \"redis://relays:pw@127.0.0.1:{}\"", redis.port);
    let stage = prepared(&store).await;
    let allow = |rules: &[&str]| {
        let user = ["ACL", "SETUSER", "relays", "reset", "on", ">pw"];
        redis.ask(&[&user, rules].concat());
    };
    let enough = [
        "~authrelay:*",
        "&authrelay:*",
        "+@all",
        "-@dangerous",
        "+info",
    ];
    for missing in [
        "-@scripting",
        "-publish",
        "-zadd",
        "-hset",
        "-subscribe",
        "-info",
    ] {
        allow(&[&enough[..], &[missing]].concat());
        let output = run(stage.path(), &["check", "--online"]).await;
        let said = text(&output.stderr);
        assert!(output.status.success(), "{missing}: {said}");
        assert!(
            said.contains("warning: state.store: ") && said.contains(" cannot be used: "),
            "{missing}: {said}"
        );
    }
    allow(&enough);
    let output = run(stage.path(), &["check", "--online"]).await;
    let said = text(&output.stderr);
    assert!(
        said.contains("clock, key") && !said.contains("warning: state.store"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_version_and_a_clock_that_is_off_are_named() {
    let redis = Redis::with(&[]);
    let info = redis.ask(&["INFO", "server"]);
    let version = info
        .lines()
        .find_map(|line| line.trim().strip_prefix("redis_version:"));
    // As long as the real one: replies say how long they are.
    let version = version.unwrap();
    let old = format!("5.{}", "9".repeat(version.len() - 2));
    let link = Link::to(redis.port, Fault::None).await;
    let stage = prepared(&url(link.port)).await;
    let named = |version: &str| format!("redis_version:{version}");
    link.set(Fault::Instead(named(version), named(&old)));
    finds(&stage.path(), &format!("its version is {old}")).await;
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs()
        .to_string();
    let (begin, digit) = (&now[..3], now.as_bytes()[2]);
    let other = format!("{}{}", &now[..2], char::from(digit ^ 1));
    let time = |begin: &str| format!("$10\r\n{begin}");
    link.set(Fault::Instead(time(begin), time(&other)));
    finds(&stage.path(), "its clock and this machine's are ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (right, wrong) = (
        Authority::new("right").unwrap(),
        Authority::new("wrong").unwrap(),
    );
    let issued = right.issue(&["localhost".into()]).unwrap();
    let (chain, key) = (
        write("redis.pem", &issued.chain),
        write("redis.key", &issued.key),
    );
    let (ca, other) = (
        write("ca.pem", &right.pem()),
        write("other.pem", &wrong.pem()),
    );
    let port = free_port();
    let tls = port.to_string();
    let arguments = [
        "--tls-port",
        &tls,
        "--tls-cert-file",
        &chain,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ];
    let _redis = Redis::with(&arguments);
    let store = format!("url: \"rediss://localhost:{port}\", ca: \"{other}\"");
    let stage = prepared(&store).await;
    finds(&stage.path(), "TLS: ").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_nobody_serves_is_named() {
    let stage = prepared(&url(free_port())).await;
    finds(&stage.path(), "refused").await;
}
