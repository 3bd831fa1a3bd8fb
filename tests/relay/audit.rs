//! Requirement 42: audit records equal metrics equal what happened; a chain shows what was done to
//! it; full disks, rotation and the end lose nothing.

use std::collections::BTreeMap;
use std::path::Path;

use authrelay::audit::{ChainReport, verify};
use authrelay::config::LogFormat;
use authrelay::sandbox::{Fault, LOGIN, MAILBOX, PASSWORD};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};
use serde_json::Value;
use tracing::Level;

use crate::client::Client;
use crate::clock::{patient, still};
use crate::daemon::{Daemon, authrelay};
use crate::stage::{Setup, is_success};

/// Records of a file that the test owns.
pub fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
    text.lines().map(parse).collect()
}

fn verified(files: &[&Path]) -> ChainReport {
    let open = |path: &&Path| {
        let file = std::fs::File::open(path).unwrap();
        (path.display().to_string(), std::io::BufReader::new(file))
    };
    verify(files.iter().map(open), None, None, None).unwrap()
}

/// How often each (protocol, outcome or fault) is there.
type Counts = BTreeMap<String, u64>;

fn count(counts: &mut Counts, parts: &[&str]) {
    *counts.entry(parts.join(" ")).or_default() += 1;
}

/// What a client does; each is a session.
#[derive(Debug, Clone, Copy)]
enum Way {
    Right,
    Wrong,
    WrongThenRight,
    Leaves,
    CancelsSasl,
    UpstreamRefuses,
    UpstreamGone,
}

const WAYS: [Way; 7] = [
    Way::Right,
    Way::Wrong,
    Way::WrongThenRight,
    Way::Leaves,
    Way::CancelsSasl,
    Way::UpstreamRefuses,
    Way::UpstreamGone,
];

impl Way {
    fn fault(self) -> Option<Fault> {
        match self {
            Self::UpstreamRefuses => Some(Fault::AuthRefused),
            Self::UpstreamGone => Some(Fault::UpstreamUnreachable),
            _ => None,
        }
    }

    /// The session's outcome, each attempt's, and each fault.
    fn leaves(
        self,
    ) -> (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    ) {
        match self {
            Self::Right => ("relayed", &["accepted"], &[]),
            Self::Wrong => ("refused", &["refused"], &["client credentials"]),
            Self::WrongThenRight => ("relayed", &["refused", "accepted"], &["client credentials"]),
            Self::Leaves => ("probe", &[], &[]),
            Self::CancelsSasl => ("probe", &[], &["client sasl"]),
            Self::UpstreamRefuses => ("failed", &["failed"], &["upstream refused"]),
            Self::UpstreamGone => ("failed", &["failed"], &["upstream unreachable"]),
        }
    }

    async fn goes(self, client: &mut Client, number: usize) {
        let protocol = client.protocol;
        // Nobody's second failure, so that nobody is slowed.
        let nobody = format!("nobody{number}");
        match self {
            Self::Right => assert!(is_success(protocol, &client.log_in(LOGIN, PASSWORD).await)),
            Self::Wrong => {
                assert!(!is_success(
                    protocol,
                    &client.log_in(&nobody, "wrong").await
                ));
            }
            Self::WrongThenRight => {
                assert!(!is_success(
                    protocol,
                    &client.log_in(&nobody, "wrong").await
                ));
                assert!(is_success(protocol, &client.log_in(LOGIN, PASSWORD).await));
            }
            Self::Leaves => {}
            Self::CancelsSasl => {
                let tag = if protocol == Imap {
                    "a AUTHENTICATE"
                } else {
                    "AUTH"
                };
                client.ask(&format!("{tag} PLAIN\r\n"), "\r\n").await;
                client.ask("*\r\n", "\r\n").await;
            }
            Self::UpstreamRefuses | Self::UpstreamGone => {
                assert!(!is_success(protocol, &client.log_in(LOGIN, PASSWORD).await));
            }
        }
    }
}

/// `family{protocol=…,outcome=…}` and the like that are not 0.
fn metrics(text: &str, family: &str, labels: &[&str]) -> Counts {
    let mut counts = Counts::new();
    for line in text.lines().filter(|line| line.starts_with(family)) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let label = |name: &&str| {
            let (_, behind) = series.split_once(&format!("{name}=\"")).unwrap();
            behind.split_once('"').unwrap().0.to_owned()
        };
        if value > 0.0 {
            let key: Vec<_> = labels.iter().map(label).collect();
            counts.insert(key.join(" "), value as u64);
        }
    }
    counts
}

#[tokio::test]
async fn r42_records_equal_metrics_equal_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = format!("audit: {{path: {}}}\n", path.display());
    let setup = Setup::default().unlimited().append(&audit);
    // Probes are in the log at debug level.
    let relay = setup.log(LogFormat::Json, Level::DEBUG).start().await;
    let (mut sessions, mut logins, mut faults) = (Counts::new(), Counts::new(), Counts::new());
    for number in 0..1_001 {
        let way = WAYS[number % WAYS.len()];
        let protocol = Protocol::ALL[number % 3];
        relay.sandbox.set_fault(way.fault());
        let mut client = relay.connect(protocol).await;
        way.goes(&mut client, number).await;
        drop(client);
        let (session, attempts, failures) = way.leaves();
        // It has said EHLO, sees no STARTTLS, and leaves without a goodbye.
        let failures: &[&str] = match (way, protocol) {
            (Way::Leaves, Smtp) => &["client starttls"],
            _ => failures,
        };
        let protocol = protocol.name();
        count(&mut sessions, &[protocol, session]);
        for attempt in attempts {
            count(&mut logins, &[protocol, attempt]);
        }
        for fault in failures {
            count(&mut faults, &[protocol, fault]);
        }
    }
    relay.log.sessions(1_001).await;
    let text = relay.control.current().active().state.metrics.text();
    let counted = |family, labels: &[&str]| metrics(&text, family, labels);
    let labels = ["protocol", "outcome"];
    assert_eq!(counted("authrelay_sessions_total", &labels), sessions);
    let labels = ["protocol", "side", "kind"];
    assert_eq!(counted("authrelay_faults_total", &labels), faults);
    let accepted: Counts = counted("authrelay_login_duration_seconds_count", &["protocol"]);
    relay.end().await;

    assert_eq!(verified(&[&path]).broken, []);
    let records = records(&path);
    let [mut in_sessions, mut in_logins, mut in_faults] = [(); 3].map(|()| Counts::new());
    for record in &records {
        let text = |key: &str| record[key].as_str().unwrap_or_default();
        match text("event") {
            "session" => count(&mut in_sessions, &[text("protocol"), text("outcome")]),
            "login" => {
                count(&mut in_logins, &[text("protocol"), text("outcome")]);
                if text("outcome") != "accepted" {
                    let fault = text("fault").replace(": ", " ");
                    count(&mut in_faults, &[text("protocol"), &fault]);
                }
            }
            other => panic!("{other}: {record}"),
        }
    }
    // Probes are none of the audit's affairs.
    sessions.retain(|series, _| !series.ends_with(" probe"));
    faults.retain(|series, _| !series.ends_with("sasl") && !series.ends_with("starttls"));
    assert_eq!((in_sessions, &in_logins), (sessions, &logins));
    assert_eq!(in_faults, faults);
    for (protocol, count) in accepted {
        assert_eq!(in_logins[&format!("{protocol} accepted")], count);
    }
    let said = std::fs::read_to_string(&path).unwrap();
    assert!(!said.contains(PASSWORD) && !said.contains("wrong") && !said.contains("eyJ"));
}

/// A line's keys in their order.
fn in_order((line, record): (&str, &Value)) -> String {
    let mut keys: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
    keys.sort_by_key(|key| line.find(&format!("\"{key}\":")));
    keys.join(" ")
}

/// The keys of a relayed session, and of a refused one.
#[test]
fn r42_a_record_says_who_where_and_what() {
    still(|_| async {
        let setup = Setup::default().unlimited().tls("implicit");
        let relay = setup.append("audit: {path: audit.jsonl}\n").start().await;
        let mut client = relay.dial(Imap).await.encrypt(relay.trust.clone()).await;
        client.line().await;
        client.log_in(LOGIN, "wrong").await;
        client.log_in(LOGIN, PASSWORD).await;
        client.ask("b NOOP\r\n", "b OK").await;
        drop(client);
        relay.log.sessions(1).await;
        relay
            .control
            .current()
            .finish_audit(std::time::Duration::from_secs(20))
            .await;
        let path = relay.directory().join("audit.jsonl");
        let records = records(&path);
        let [refused, accepted, session] = &records[..] else {
            panic!("{records:#?}");
        };
        // In the contract's order, the hash last.
        let text = std::fs::read_to_string(&path).unwrap();
        let keys: Vec<_> = text.lines().zip(&records).map(in_order).collect();
        assert_eq!(
            keys[0],
            "v time event session listener protocol client client_tls login outcome fault phase login_ms prev hash"
        );
        assert_eq!(
            keys[1],
            "v time event session listener protocol client client_tls login mailbox registration upstream upstream_ip upstream_tls outcome phase login_ms prev hash"
        );
        assert_eq!(
            keys[2],
            "v time event session listener protocol client client_tls login mailbox registration upstream upstream_ip upstream_tls outcome phase bytes_up bytes_down login_ms duration_ms closed_by prev hash"
        );
        for (record, event, outcome, phase) in [
            (refused, "login", "refused", "login"),
            (accepted, "login", "accepted", "relay"),
            (session, "session", "relayed", "relay"),
        ] {
            assert_eq!(record["event"], event);
            assert_eq!(
                (&record["outcome"], &record["phase"]),
                (&outcome.into(), &phase.into())
            );
            assert_eq!(record["session"], session["session"]);
            assert!(
                record["client_tls"]
                    .as_str()
                    .unwrap()
                    .starts_with("TLSv1.3 TLS"),
                "{record}"
            );
            assert!(record["client"].as_str().unwrap().starts_with("127.0.0.1:"));
        }
        assert_eq!(refused["fault"], "client: credentials");
        assert_eq!(session["mailbox"], MAILBOX);
        assert_eq!(session["closed_by"], "client");
    });
}

/// Sessions that end badly have records too: a panic, and a shutdown in the middle of a login.
#[test]
fn r42_panicking_and_cancelled_sessions_have_records() {
    still(|clock| async move {
        let relay = Setup::default()
            .unlimited()
            .append("audit: {path: audit.jsonl}\nlimits: {drain_timeout: 1s}\n")
            .start()
            .await;
        let path = relay.directory().join("audit.jsonl");
        relay.log.panic_at("\"message\":\"fault\"");
        let mut client = relay.connect(Imap).await;
        client.send(format!("a LOGIN {LOGIN} wrong\r\n")).await;
        client.rest().await;
        relay.log.sessions(1).await;
        relay.sandbox.set_fault(Some(Fault::AuthHangs));
        let mut client = relay.connect(Smtp).await;
        let plain = crate::client::plain(LOGIN, PASSWORD);
        client.send(format!("AUTH PLAIN {plain}\r\n")).await;
        let trying = relay.sandbox.wait_for(|seen| seen.connections.smtp == 1);
        patient("an attempt under way", trying).await;
        let kept = tempfile::tempdir().unwrap();
        let copy = kept.path().join("audit.jsonl");
        std::fs::hard_link(&path, &copy).unwrap();
        relay.shut_down();
        clock
            .until_ready(std::time::Duration::from_secs(20), relay.log.sessions(2))
            .await;
        relay.end().await;
        // The clock may have passed the end, so that it did not wait for the writer.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while records(&copy).len() < 4 && std::time::Instant::now() < end {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let shown: Vec<_> = records(&copy)
            .iter()
            .map(|record| {
                let text = |key: &str| record[key].as_str().unwrap_or("-").to_owned();
                [text("event"), text("outcome"), text("fault"), text("phase")].join("|")
            })
            .collect();
        assert_eq!(
            shown,
            [
                "login|failed|authrelay: internal|login",
                "session|failed|authrelay: internal|login",
                "login|cancelled|authrelay: draining|upstream",
                "session|cancelled|authrelay: draining|upstream",
            ]
        );
    });
}

/// A disk that is full: nobody logs in whose login could not be recorded, until there is space.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r42_a_full_disk_refuses_logins_until_there_is_space() {
    let setup = Setup::default()
        .unlimited()
        .append("audit: {path: audit.jsonl, on_full: refuse}\n");
    let mut relay = Daemon::with_file_size(setup, 4096).await;
    let mut accepted = 0;
    while relay.log_in(Imap).await.1.starts_with("a OK") {
        accepted += 1;
        assert!(accepted < 100, "never refused");
    }
    // One more was let in before the write failed; its records wait.
    let (_, imap) = relay.log_in(Imap).await;
    assert!(imap.starts_with("a NO [UNAVAILABLE] "), "{imap}");
    let (_, pop3) = relay.log_in(Pop3).await;
    assert!(pop3.starts_with("-ERR [SYS/TEMP] "), "{pop3}");
    let (mut client, smtp) = relay.log_in(Smtp).await;
    assert!(smtp.starts_with("421 4.3.0 "), "{smtp}");
    assert_eq!(client.rest().await, "");
    assert_eq!(relay.prepared.sandbox.seen().logins.total(), accepted);
    // What is in the file is whole.
    assert_eq!(verified(&[&relay.audit()]).broken, []);
    relay.lift_file_size();
    // The next refusal tries; then the door is open.
    let mut tries = 0;
    while !relay.log_in(Imap).await.1.starts_with("a OK") {
        tries += 1;
        assert!(tries < 1_000, "never let in again");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    accepted += 1;
    relay.stop().await;
    let chain = verified(&[&relay.audit()]);
    assert_eq!(chain.broken, []);
    let records = records(&relay.audit());
    let of = |event: &str, outcome: &str| {
        let matching = records
            .iter()
            .filter(|record| record["event"] == event && record["outcome"] == outcome);
        matching.count()
    };
    assert_eq!(of("login", "accepted") as u64, accepted);
    assert_eq!(of("session", "relayed") as u64, accepted);
    // Every refusal is there, too: the first one, three that were looked at, and the tries.
    assert_eq!(of("login", "refused"), 4 + tries);
    assert!(
        records
            .iter()
            .any(|record| record["fault"] == "policy: audit")
    );
    assert_eq!(relay.said("audit records cannot be written").len(), 1);
    assert_eq!(relay.said("audit records are written again").len(), 1);
}

/// The default: clients go on, what fits into memory is kept, the chain has no break.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r42_a_full_disk_stops_nobody_by_default() {
    let setup = Setup::default()
        .unlimited()
        .append("audit: {path: audit.jsonl}\n");
    let mut relay = Daemon::with_file_size(setup, 4096).await;
    for _ in 0..40 {
        assert!(relay.log_in(Pop3).await.1.starts_with("+OK"));
    }
    assert_eq!(relay.said("audit records cannot be written").len(), 1);
    assert!(std::fs::metadata(relay.audit()).unwrap().len() <= 4096);
    assert_eq!(verified(&[&relay.audit()]).broken, []);
    relay.lift_file_size();
    relay
        .wait_for_count("audit records are written again", 1)
        .await;
    relay.stop().await;
    let chain = verified(&[&relay.audit()]);
    assert_eq!((chain.records, chain.broken), (80, vec![]));
}

/// logrotate's way, under load: rename, SIGHUP, even while the configuration is broken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r42_rotation_under_load_loses_nothing() {
    const ROTATIONS: usize = 5;
    let setup = Setup::default()
        .unlimited()
        .append("audit: {path: audit.jsonl}\n");
    let mut relay = Daemon::start(setup).await;
    let config = std::fs::read_to_string(relay.prepared.path()).unwrap();
    let rotated = std::sync::atomic::AtomicBool::new(false);
    let load = async {
        let mut sessions = 0;
        while !rotated.load(std::sync::atomic::Ordering::Relaxed) || sessions < 50 {
            relay.log_in(Protocol::ALL[sessions % 3]).await;
            sessions += 1;
        }
        sessions
    };
    let rotate = async {
        let mut files = Vec::new();
        for rotation in 0..ROTATIONS {
            let old = relay.audit().with_extension(format!("{rotation}"));
            std::fs::rename(relay.audit(), &old).unwrap();
            files.push(old);
            if rotation == 2 {
                std::fs::write(relay.prepared.path(), "listeners: what\n").unwrap();
            }
            relay.signal("HUP");
            relay.wait_for_count("audit", rotation + 2).await;
            // Some sessions end in this file, too.
            let length = || std::fs::metadata(relay.audit()).unwrap().len();
            let begun = length();
            while length() < begun + 4096 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            std::fs::write(relay.prepared.path(), &config).unwrap();
        }
        rotated.store(true, std::sync::atomic::Ordering::Relaxed);
        files
    };
    let (sessions, files) = tokio::join!(load, patient("rotations", rotate));
    relay.stop().await;
    let mut paths: Vec<_> = files.iter().map(|file| file.as_path()).collect();
    let last = relay.audit();
    paths.push(&last);
    let chain = verified(&paths);
    assert_eq!(chain.broken, []);
    assert_eq!(chain.records, 2 * sessions as u64);
    // One line for the start, one for each rotation, one for the end; each head is in the chain.
    let heads = relay.said("audit");
    assert_eq!(heads.len(), ROTATIONS + 2, "{heads:?}");
    let all: String = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for said in &heads[1..] {
        let head = said["head"].as_str().unwrap();
        let known = all.contains(&format!("\"hash\":\"{head}\"}}"));
        assert!(known || said["records"] == 0, "{said}");
    }
    let end = heads.last().unwrap();
    assert_eq!(end["head"].as_str(), chain.head.as_deref());
    assert_eq!(end["records"], chain.records);
}

/// SIGTERM with sessions open; then the command, on what they left and on what is done to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r42_the_end_loses_nothing_and_verify_sees_what_is_done_later() {
    let setup = Setup::default()
        .unlimited()
        .append("audit: {path: audit.jsonl}\n");
    let mut relay = Daemon::start(setup).await;
    let mut open = Vec::new();
    for number in 0..60 {
        let (client, reply) = relay.log_in(Protocol::ALL[number % 3]).await;
        assert!(is_success(client.protocol, &reply), "{reply}");
        open.push(client);
    }
    relay.stop().await;
    drop(open);
    let path = relay.audit();
    let records = records(&path);
    let sessions = records.iter().filter(|record| record["event"] == "session");
    assert_eq!((sessions.count(), records.len()), (60, 120));
    let head = relay.said("audit").last().unwrap()["head"].clone();
    let head = head.as_str().unwrap();

    let file = path.to_str().unwrap();
    let check = |arguments: &[&str], exit: i32, says: &str| {
        let done = authrelay(&[&["audit", "verify"], arguments].concat());
        assert_eq!(done.code, exit, "{arguments:?}: {done:?}");
        assert!(done.said.contains(says), "{arguments:?}: {done:?}");
    };
    check(&[file], 0, "good: 120 records, head ");
    check(&[file, "--head", head], 0, head);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let spoil = |text: String| std::fs::write(&path, text).unwrap();
    spoil(text.replacen("\"protocol\":\"pop3\"", "\"protocol\":\"imap\"", 1));
    check(&[file], 1, "was edited");
    spoil([&lines[..50], &lines[51..]].concat().concat());
    check(&[file], 1, "audit.jsonl:51: does not follow");
    spoil(
        [&lines[..50], &[lines[51], lines[50]], &lines[52..]]
            .concat()
            .concat(),
    );
    check(&[file], 1, "audit.jsonl:51: does not follow");
    spoil(lines[..119].concat());
    check(&[file], 0, "good: 119 records");
    check(
        &[file, "--head", head],
        1,
        "does not end with the given head",
    );
    // What stands before is gone, and known by its hash.
    spoil(lines[60..].concat());
    check(&[file], 1, "is not the first of its chain");
    let before: Value = serde_json::from_str(lines[59]).unwrap();
    let before = before["hash"].as_str().unwrap();
    check(
        &[file, "--after", before, "--head", head],
        0,
        "good: 60 records",
    );
    check(&[file, "--after", head], 1, "given with --after");
    check(&[file, "--after", "abc"], 64, "64 hexadecimal digits");
    check(&["/nowhere/audit.jsonl"], 74, "cannot be read");

    // A crash in the middle of a line.
    spoil(text[..text.len() - 20].to_owned());
    relay.start_again().await;
    relay.log_in(Imap).await;
    relay.stop().await;
    let torn = std::fs::read_to_string(path.with_extension("jsonl.torn")).unwrap();
    assert_eq!(torn.trim_end(), &lines[119][..lines[119].len() - 20]);
    check(&[file], 0, "good: 121 records");
}

/// `check` looks and leaves nothing behind.
#[tokio::test]
async fn r42_check_creates_nothing() {
    let setup = Setup::default()
        .unlimited()
        .append("audit: {path: logs/audit.jsonl}\n");
    let prepared = setup.prepare().await;
    let config = prepared.path();
    let done = authrelay(&["check", "--config", config.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(!config.with_file_name("logs").exists());
    // A second relay on one file is told so, not let in.
    let mut relay = Daemon::start(setup).await;
    let done = authrelay(&["run", "--config", relay.prepared.path().to_str().unwrap()]);
    assert_eq!(done.code, 74, "{done:?}");
    assert!(
        done.said.contains("another process writes to it"),
        "{done:?}"
    );
    relay.stop().await;
}

/// A reload that changes the audit says that it takes a restart.
#[test]
fn r42_changed_keys_want_a_restart() {
    still(|_| async {
        let relay = Setup::default()
            .unlimited()
            .append("audit: {path: audit.jsonl}\n")
            .start()
            .await;
        relay.rewrite(&[(
            "{path: audit.jsonl}",
            "{path: other.jsonl, on_full: refuse}",
        )]);
        let applied = relay.control.reload().await.unwrap();
        assert_eq!(applied.restart, ["audit.path", "audit.on_full"]);
        relay.session(Imap).await;
        assert!(!relay.directory().join("other.jsonl").exists());
        relay.rewrite(&[("audit: {path: other.jsonl, on_full: refuse}\n", "")]);
        let applied = relay.control.reload().await.unwrap();
        assert_eq!(applied.restart, ["audit"]);
    });
}

/// Each message's envelope is on its session's record, with the service's own words for it; where
/// nobody wants them, none is.
#[test]
fn r42_envelopes_are_on_the_record_with_the_queue_s_id() {
    for (envelope, wanted) in [("true", 2), ("false", 0)] {
        still(|_| async move {
            let relay = Setup::default()
                .unlimited()
                .append(&format!(
                    "audit: {{path: audit.jsonl, envelope: {envelope}}}\n"
                ))
                .start()
                .await;
            let path = relay.directory().join("audit.jsonl");
            let mut client = relay.session(Smtp).await;
            for body in ["secret-content", "more"] {
                let head = format!(
                    "MAIL FROM:<{LOGIN}>\r\nRCPT TO:<x@y.test>\r\nRCPT TO:<é@y.test>\r\nDATA\r\n"
                );
                client.ask(&head, "354 ").await;
                client.line().await;
                let said = client
                    .ask(&format!("From: {LOGIN}\r\n\r\n..{body}\r\n.\r\n"), "\r\n")
                    .await;
                assert!(said.starts_with("250 "), "{said}");
            }
            client.ask("QUIT\r\n", "221 ").await;
            drop(client);
            relay.log.sessions(1).await;
            let kept = tempfile::tempdir().unwrap();
            let copy = kept.path().join("audit.jsonl");
            std::fs::hard_link(&path, &copy).unwrap();
            relay.end().await;
            let records = records(&copy);
            let session = records.last().unwrap();
            assert_eq!(session["event"], "session");
            let messages = session["messages"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            assert_eq!(messages.len(), wanted, "{session}");
            if let [first, _] = messages {
                assert_eq!(first["from"], LOGIN);
                assert_eq!(first["to"][0], "x@y.test");
                // Without the dot of transparency.
                let size = format!("From: {LOGIN}\r\n\r\n.secret-content\r\n").len();
                assert_eq!(first["size"], size);
                let reply = first["reply"].as_str().unwrap();
                assert!(
                    reply.starts_with("250 2.0.0 OK <") && reply.contains("Hostname="),
                    "{reply}"
                );
            }
            assert!(
                !std::fs::read_to_string(&copy)
                    .unwrap()
                    .contains("secret-content")
            );
        });
    }
}

/// A crash tore the last record, and the disk is full: the relay starts all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d44_a_torn_record_on_a_full_disk_stops_no_start() {
    let torn = "x".repeat(5_000);
    let setup = Setup::default()
        .append("audit: {path: audit.jsonl, on_full: continue}\n")
        .file("audit.jsonl", &torn);
    let mut relay = Daemon::with_file_size(setup, 4096).await;
    let (client, reply) = relay.log_in(Imap).await;
    assert!(is_success(Imap, &reply), "{reply}");
    relay
        .wait_for_count("audit records cannot be written", 1)
        .await;
    relay.lift_file_size();
    relay
        .wait_for_count("audit records are written again", 1)
        .await;
    drop(client);
    relay.stop().await;
    let aside = std::fs::read_to_string(relay.audit().with_extension("jsonl.torn")).unwrap();
    assert_eq!(aside, torn + "\n");
    let records = records(&relay.audit());
    assert_eq!(records[0]["event"], "login");
    assert_eq!(records[0]["prev"], "0".repeat(64));
}
