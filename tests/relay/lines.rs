//! Lines of the log: what is left out of repeated ones, and whose they are.

use authrelay::sandbox::{Fault, LOGIN, PASSWORD};
use authrelay::wire::Protocol::{Imap, Pop3};

use crate::audit::records;
use crate::clock::still;
use crate::stage::{Relay, Setup};

/// What a client repeats is told a few times and counted; the audit has all of it.
#[test]
fn equal_faults_are_left_out_of_the_log_and_not_of_the_audit() {
    still(|clock| async move {
        let relay = Setup::default()
            .append("audit: {path: audit.jsonl}\n")
            .start()
            .await;
        let cancel = async |relay: &Relay| {
            let mut client = relay.connect(Imap).await;
            // A NUL too many: refused without asking anybody.
            let response = crate::client::base64("\0nobody\0pass\0");
            let command = format!("a AUTHENTICATE PLAIN {response}\r\n");
            client.ask(&command, "\r\n").await;
        };
        for _ in 0..20 {
            cancel(&relay).await;
        }
        relay.log.sessions(20).await;
        assert_eq!(relay.log.faults(), ["client: credentials"; 5]);
        clock.advance(std::time::Duration::from_secs(60)).await;
        cancel(&relay).await;
        relay.log.sessions(21).await;
        assert_eq!(relay.log.faults().len(), 6);
        let again = relay.log.named("the same fault again");
        assert_eq!((again.len(), &again[0]["left_out"]), (1, &15.into()));
        relay
            .control
            .current()
            .finish_audit(std::time::Duration::from_secs(20))
            .await;
        let records = records(&relay.directory().join("audit.jsonl"));
        let logins = records.iter().filter(|record| record["event"] == "login");
        assert_eq!(logins.count(), 21);
    });
}

/// Whoever looks for a session in the log finds all of it.
#[test]
fn every_line_of_a_session_bears_its_id() {
    still(|_| async {
        let level = tracing::Level::TRACE;
        let setup = Setup::default().log(authrelay::config::LogFormat::Json, level);
        let relay = setup.start().await;
        relay.sandbox.set_fault(Some(Fault::TokenStale));
        let mut client = relay.connect(Imap).await;
        client.log_in(LOGIN, "wrong").await;
        relay.session(Pop3).await;
        relay.sandbox.set_fault(Some(Fault::AuthRefused));
        client.log_in(LOGIN, PASSWORD).await;
        drop(client);
        relay.log.sessions(2).await;
        let ours = [
            "fault",
            "session",
            "logged in",
            "still",
            "again",
            "the token was refused; trying once more with another",
            "the client's connection broke",
        ];
        let mut seen = 0;
        for record in relay.log.records() {
            let message = record["message"].as_str().unwrap_or_default();
            if record.get("client").is_some() || ours.contains(&message) {
                seen += 1;
                let id = record["session"]
                    .as_str()
                    .or(record["span"]["session"].as_str());
                assert_eq!(id.map(str::len), Some(16), "{record}");
            }
        }
        assert!(seen >= 5, "{seen}");
    });
}
