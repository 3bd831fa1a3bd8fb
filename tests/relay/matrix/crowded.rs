//! More clients than the limits allow: each is told so, and those inside notice nothing.

use authrelay::config::LogFormat;
use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol;
use tracing::Level;

use super::of;
use crate::client::END;
use crate::clock::{patient, still};
use crate::stage::{Setup, is_success};

const TOLD: [&str; 3] = ["* BYE ", "-ERR [IN-USE] ", "421 4.7.0 "];

async fn one_too_many(setup: Setup, encrypted: bool, protocol: Protocol) {
    let relay = setup.log(LogFormat::Json, Level::DEBUG).start().await;
    let dial = async || {
        let client = relay.dial(protocol).await;
        if encrypted {
            client.encrypt(relay.trust.clone()).await
        } else {
            client
        }
    };
    let mut inside = dial().await;
    inside.line().await;
    let mut outside = dial().await;
    let said = outside.until("never").await;
    assert!(said.starts_with(of(protocol, TOLD)), "{said}");
    assert!(said.ends_with(&format!("\r\n{END}")), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    drop(outside);
    assert_eq!(
        relay.log.faults(),
        ["policy: sessions"],
        "{}",
        relay.log.text()
    );
    let session = relay.log.sessions(1).await.remove(0);
    assert_eq!(session["outcome"], "refused");
    relay.assert_untouched("sessions");
    // Those inside go on, and their seat is free when they leave.
    inside.assert_goes_on().await;
    drop(inside);
    relay.log.sessions(2).await;
    let mut next = dial().await;
    next.line().await;
    if protocol == Protocol::Smtp {
        next.send("EHLO x\r\n").await;
        next.reply().await;
    }
    let reply = next.log_in(LOGIN, PASSWORD).await;
    assert!(is_success(protocol, &reply), "{reply}");
}

/// Requirement 33: limits hold for each address and in all.
#[test]
fn r33_nobody_beyond_the_limits() {
    for protocol in Protocol::ALL {
        for limit in ["sessions: 1", "sessions_per_client: 1"] {
            still(|_| one_too_many(Setup::limits(limit), false, protocol));
            let setup = Setup::limits(limit).tls("implicit");
            still(|_| one_too_many(setup, true, protocol));
        }
    }
}

/// A crowd at the door does not lock it: 32 are told at a time, the rest wait for their turn.
#[test]
fn a_crowd_is_told_one_by_one() {
    still(|_| async {
        let relay = Setup::limits("sessions: 1").start().await;
        let mut inside = relay.connect(Protocol::Imap).await;
        let mut crowd = Vec::new();
        for _ in 0..100 {
            crowd.push(relay.dial(Protocol::Imap).await);
        }
        for mut client in crowd {
            let said = patient("being told", client.rest()).await;
            assert!(said.starts_with("* BYE "), "{said}");
        }
        inside.assert_goes_on().await;
        // All are counted; the log tells of the first.
        let metrics = relay.control.current().active().state.metrics.text();
        let series =
            "authrelay_faults_total{protocol=\"imap\",side=\"policy\",kind=\"sessions\"} 100";
        assert!(metrics.contains(series), "{metrics}");
        assert_eq!(relay.log.faults(), ["policy: sessions"; 5]);
    });
}
