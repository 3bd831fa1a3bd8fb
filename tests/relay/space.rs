//! A disk that is full, as whoever is alerted hears of it.

use std::time::Duration;

use authrelay::wire::Protocol::Imap;
use serde_json::Value;

use crate::daemon::Daemon;
use crate::stage::Setup;

/// Once when records cannot be written, once when they can; both name what it is about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_until_there_is_space() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let setup = Setup::default()
        .unlimited()
        .append("audit: {path: audit.jsonl, on_full: refuse}\n")
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
        assert_eq!(alert["remedy"].is_string(), state == "begin", "{alert:#}");
        relay.lift_file_size();
    }
    relay.stop().await;
    assert_eq!(alerts().len(), 2);
}
