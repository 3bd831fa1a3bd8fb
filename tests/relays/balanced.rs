//! Two relays behind HAProxy: a mailbox's limits, and a rolling restart under load.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use authrelay::sandbox::{LOGIN, MAILBOX, Options, PASSWORD, Sandbox};
use authrelay::wire::Protocol::{Imap, Smtp};

use crate::balancer::{Balancer, Ports};
use crate::client::{Client, END, plain};
use crate::pair::Pair;
use crate::process::{Process, file_of};
use crate::server::{Server as Redis, free_port};
use crate::stage::Setup;

/// Listeners that believe HAProxy, and the administrators' one with TLS, as in `deploy/compose-ha.yaml`.
fn balanced(setup: Setup) -> Setup {
    setup
        .replace(
            "provider: microsoft365}",
            "provider: microsoft365, proxy_protocol: [127.0.0.0/8], allow: [127.0.0.0/8], allow_cleartext: true}",
        )
        .append("admin: {bind: \"127.0.0.1:0\", tls: {certificate: server.pem, key: server.key}, public_url: https://localhost, token: admin-token-9Zk4}\n")
}

/// Why a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// No connection, or one that ended before a word.
    NoConnection,
    /// The session is over before the message was begun to be sent: it may be sent again.
    Again,
    /// A limit.
    Limit,
    /// It ended where it is not known whether the message has arrived.
    Unknown,
}

/// A client's session, and how it goes.
struct Session {
    client: Client,
}

impl Session {
    async fn open(address: SocketAddr) -> Result<Self, Refused> {
        let mut client = Client::dial(Smtp, address).await;
        let greeting = client.reply().await;
        if greeting == END {
            return Err(Refused::NoConnection);
        }
        let mut session = Self { client };
        if !greeting.starts_with("220 ") {
            return Err(Refused::Again);
        }
        session.say("EHLO client.test", "250").await?;
        let auth = format!("AUTH PLAIN {}", plain(LOGIN, PASSWORD));
        session.say(&auth, "235").await?;
        Ok(session)
    }

    async fn say(&mut self, line: &str, expected: &str) -> Result<(), Refused> {
        if self.client.try_send(format!("{line}\r\n")).await.is_err() {
            return Err(Refused::Again);
        }
        let reply = self.client.reply().await;
        match reply {
            reply if reply.starts_with(expected) => Ok(()),
            reply if reply.starts_with("451 ") => Err(Refused::Limit),
            _ => Err(Refused::Again),
        }
    }

    async fn send(&mut self, subject: &str) -> Result<(), Refused> {
        self.say("MAIL FROM:<tickets@contoso.test>", "250").await?;
        self.say("RCPT TO:<someone@contoso.test>", "250").await?;
        self.say("DATA", "354").await?;
        let text = format!("Subject: {subject}\r\n\r\ntext\r\n.\r\n");
        if self.client.try_send(text).await.is_err() {
            return Err(Refused::Unknown);
        }
        match self.client.reply().await {
            reply if reply.starts_with("250 ") => Ok(()),
            _ => Err(Refused::Unknown),
        }
    }
}

/// The subjects that have arrived, each as often as it has.
fn arrived(sandbox: &Sandbox) -> Vec<String> {
    let messages = sandbox.messages(MAILBOX);
    let subject = |message: &[u8]| {
        let text = String::from_utf8_lossy(message).into_owned();
        let line = text.lines().find(|line| line.starts_with("Subject: m-"));
        line.map(|line| line.trim_start_matches("Subject: ").to_owned())
    };
    let mut subjects: Vec<_> = messages.iter().filter_map(|it| subject(it)).collect();
    subjects.sort();
    subjects
}

/// A pair behind HAProxy.
async fn pair(limits: &str) -> (Pair, Balancer) {
    let pair = Pair::start(balanced(Setup::default()).smtp_limits(limits)).await;
    let ports = |relay: usize| Ports {
        imap: pair.address(relay, Imap).port(),
        smtp: pair.address(relay, Smtp).port(),
        admin: pair.listener(relay, "admin").port(),
    };
    let balancer = Balancer::start([ports(0), ports(1)]).await;
    (pair, balancer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_senders_behind_haproxy_have_three_messages_in_flight_and_all_arrive_once() {
    let (pair, balancer) = pair("connections: 3, messages_per_minute: 100, wait: 25s").await;
    let mut senders = Vec::new();
    for sender in 0..10 {
        let address = balancer.smtp;
        senders.push(tokio::spawn(async move {
            for message in 0..2 {
                let mut session = Session::open(address).await.unwrap();
                let subject = format!("m-{sender}-{message}");
                session.send(&subject).await.unwrap();
            }
        }));
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let seen = pair.one.sandbox.seen();
    assert!(seen.peak_in_flight <= 3, "{}", seen.peak_in_flight);
    let mut expected: Vec<_> = (0..20).map(|n| format!("m-{}-{}", n / 2, n % 2)).collect();
    expected.sort();
    assert_eq!(arrived(&pair.one.sandbox), expected);
    // Both relays had a part in it.
    for relay in [0, 1] {
        let metrics = pair.metrics(relay).await;
        assert!(
            !metrics.contains("authrelay_messages_total{outcome=\"accepted\"} 0\n"),
            "{relay}: {metrics}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_minute_of_a_mailbox_is_one_behind_haproxy() {
    let (pair, balancer) = pair("connections: 3, messages_per_minute: 5, wait: 1s").await;
    let mut accepted = 0;
    for message in 0..10 {
        let mut session = Session::open(balancer.smtp).await.unwrap();
        match session.send(&format!("m-{message}")).await {
            Ok(()) => accepted += 1,
            Err(refused) => assert_eq!(refused, Refused::Limit),
        }
    }
    assert_eq!((accepted, arrived(&pair.one.sandbox).len()), (5, 5));
}

/// What senders have done so far.
#[derive(Default)]
struct Tally {
    accepted: std::sync::Mutex<Vec<String>>,
    unknown: AtomicUsize,
    no_connection: AtomicUsize,
    over: AtomicBool,
}

/// Sends messages one after the other, a new session every few, until it is over.
async fn sends(sender: usize, address: SocketAddr, tally: Arc<Tally>) {
    let mut number = 0;
    while !tally.over.load(Ordering::Relaxed) {
        let mut session = match Session::open(address).await {
            Ok(session) => session,
            Err(refused) => {
                if refused == Refused::NoConnection {
                    tally.no_connection.fetch_add(1, Ordering::Relaxed);
                }
                continue;
            }
        };
        for _ in 0..3 {
            let subject = format!("m-{sender}-{number}");
            match session.send(&subject).await {
                Ok(()) => {
                    tally.accepted.lock().unwrap().push(subject);
                    number += 1;
                }
                Err(Refused::Unknown) => {
                    tally.unknown.fetch_add(1, Ordering::Relaxed);
                    number += 1;
                    break;
                }
                Err(_) => break,
            }
        }
    }
}

/// Accepted messages in the audit records of a relay, whose chain is whole.
fn audited(prepared: &crate::stage::Prepared, name: &str) -> usize {
    let path = prepared
        .path()
        .with_file_name(format!("audit-{name}.jsonl"));
    let verified = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["audit", "verify"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(verified.status.success(), "{verified:?}");
    let text = std::fs::read_to_string(&path).unwrap();
    let records = text
        .lines()
        .map(|line| -> serde_json::Value { serde_json::from_str(line).unwrap() });
    let accepted = |record: serde_json::Value| {
        let messages = record["messages"].as_array().cloned().unwrap_or_default();
        let good = |message: &&serde_json::Value| {
            message["reply"]
                .as_str()
                .is_some_and(|it| it.starts_with("250"))
        };
        messages.iter().filter(good).count()
    };
    records.map(accepted).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_loses_and_doubles_nothing() {
    let redis = Redis::start();
    let state = format!(
        "directory: ./state\n  key: a key that both relays have\n  store: {{url: \"redis://127.0.0.1:{}\"}}",
        redis.port
    );
    let options = Options {
        smtp_messages: None,
        ..Options::default()
    };
    let limits = "connections: 3, messages_per_minute: 10000, wait: 25s";
    let prepared = balanced(Setup::default().options(options).smtp_limits(limits))
        .replace("directory: ./state", &state)
        .append("audit: {path: ./audit.jsonl}\n")
        .prepare()
        .await;
    let mut relays = Vec::new();
    let mut ports = Vec::new();
    for name in ["a", "b"] {
        let own = Ports {
            imap: free_port(),
            smtp: free_port(),
            admin: free_port(),
        };
        let bind = |what: &str| format!("{what} bind: \"127.0.0.1:0\"");
        let bound = |what: &str, port: u16| format!("{what} bind: \"127.0.0.1:{port}\"");
        let file = file_of(
            &prepared,
            name,
            &[
                (
                    &bind("protocol: imap,"),
                    &bound("protocol: imap,", own.imap),
                ),
                (
                    &bind("protocol: smtp,"),
                    &bound("protocol: smtp,", own.smtp),
                ),
                (
                    "admin: {bind: \"127.0.0.1:0\"",
                    &format!("admin: {{bind: \"127.0.0.1:{}\"", own.admin),
                ),
            ],
        );
        relays.push(Process::start(name, &file).await);
        ports.push(own);
    }
    let balancer = Balancer::start([ports[0], ports[1]]).await;
    let tally = Arc::new(Tally::default());
    let senders: Vec<_> = (0..6)
        .map(|sender| tokio::spawn(sends(sender, balancer.smtp, tally.clone())))
        .collect();
    let accepted = async |more: usize| {
        let known = tally.accepted.lock().unwrap().len();
        for _ in 0..1_200 {
            if tally.accepted.lock().unwrap().len() >= known + more {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("no messages go through");
    };
    accepted(40).await;
    for relay in &mut relays {
        assert_eq!(relay.stop().await, Some(0), "{:#?}", relay.log());
        // The other one serves alone.
        accepted(40).await;
        relay.start_again().await;
        accepted(40).await;
        // HAProxy has seen that it is back.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    tally.over.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    for relay in &mut relays {
        assert_eq!(relay.stop().await, Some(0));
    }
    assert_eq!(tally.no_connection.load(Ordering::Relaxed), 0);
    assert_eq!(tally.unknown.load(Ordering::Relaxed), 0);
    let mut sent = tally.accepted.lock().unwrap().clone();
    sent.sort();
    let unique: BTreeSet<_> = sent.iter().collect();
    assert_eq!(unique.len(), sent.len());
    assert_eq!(arrived(&prepared.sandbox), sent);
    let audited = audited(&prepared, "a") + audited(&prepared, "b");
    assert_eq!(audited, sent.len());
    // Nothing is left of relays that have stopped cleanly.
    assert!(redis.ask(&["ZCARD", "authrelay:roster"]).contains('0'));
}
