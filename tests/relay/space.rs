//! A disk that is full, as whoever is alerted hears of it.

use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authrelay::wire::Protocol::Imap;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::siem::key_pair;
use crate::stage::Setup;

/// Once when records cannot be written, once when they can; both name what it is about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_until_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let (sign, _) = key_pair(folder.path());
    let setup = Setup::default()
        .unlimited()
        .file("sign.pem", &sign)
        .append("audit: {path: audit.jsonl, on_full: refuse, sign: {key: {file: sign.pem}}}\n")
        .append("admin: {bind: '127.0.0.1:0'}\n")
        .append(&format!(
            "notify: [{{events: [audit], command: [sh, -c, 'cat >>{}']}}]\n",
            told.display()
        ));
    let mut relay = Daemon::with_file_size(setup, 4096).await;
    let alerts = || {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let alert = |line| serde_json::from_str::<Value>(line).unwrap();
        text.lines().map(alert).collect::<Vec<_>>()
    };
    for (count, state) in [(1, "begin"), (2, "end")] {
        let mut tries = 0;
        // Each login tries to write a record.
        while alerts().len() < count {
            tries += 1;
            assert!(tries < 3_000, "no {state}: {:?}", alerts());
            relay.log_in(Imap).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let alert = alerts().pop().unwrap();
        assert_eq!(
            (&alert["event"], &alert["state"], &alert["subject"]),
            (&"audit".into(), &state.into(), &"audit records".into()),
            "{alert:#}"
        );
        assert_eq!(alert["remedy"] == "", state == "end", "{alert:#}");
        let up = format!("authrelay_audit_up {}", u8::from(state == "end"));
        let metrics = relay.metrics().await;
        assert!(metrics.lines().any(|line| line == up), "{metrics}");
        assert!(head_signed(&metrics) > 0.0, "{metrics}");
        relay.lift_file_size();
    }
    relay.stop().await;
    assert_eq!(alerts().len(), 2);
}

/// When the last head was signed, in seconds since 1970.
fn head_signed(metrics: &str) -> f64 {
    let name = "authrelay_audit_head_timestamp_seconds ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap().parse().unwrap()
}

/// What the file does not have yet goes to no syslog server: lost there, it would fork the chain.
/// Once there is space both have all of it, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_written_reaches_syslog_after_the_file() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let received: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = received.clone();
    std::thread::spawn(move || {
        let mut datagram = [0; 65_536];
        while let Ok(octets) = server.recv(&mut datagram) {
            let text = String::from_utf8_lossy(&datagram[..octets]).into_owned();
            let (_, record) = text.split_once(" {").unwrap();
            kept.lock()
                .unwrap()
                .push(format!("{{{}", record.trim_end()));
        }
    });
    let setup = Setup::default().unlimited().append(&format!(
        "audit: {{path: audit.jsonl, syslog: {{address: \"{address}\", transport: udp}}}}\n"
    ));
    let mut relay = Daemon::with_file_size(setup, 4096).await;
    for _ in 0..20 {
        assert!(relay.log_in(Imap).await.1.starts_with("a OK"));
    }
    relay
        .wait_for_count("audit records cannot be written", 1)
        .await;
    let sent = received.lock().unwrap().clone();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let written = lines(&std::fs::read_to_string(relay.audit()).unwrap());
    assert!(
        sent.len() < 40 && written.starts_with(&sent),
        "{} sent, {} written",
        sent.len(),
        written.len()
    );
    relay.lift_file_size();
    relay
        .wait_for_count("audit records are written again", 1)
        .await;
    relay.stop().await;
    let written = lines(&std::fs::read_to_string(relay.audit()).unwrap());
    assert_eq!(written.len(), 40);
    let end = Instant::now() + Duration::from_secs(30);
    while received.lock().unwrap().len() < written.len() {
        assert!(Instant::now() < end, "{:#?}", received.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*received.lock().unwrap(), written);
}
