//! Whatever must end has ended by its deadline, whatever peers do; what is gone holds nothing up.

use std::time::Duration;

use authrelay::sandbox::{Fault, LOGIN, MAILBOX, PASSWORD};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};

use crate::client::{Client, plain};
use crate::clock::still;
use crate::stage::{Relay, Setup, greet};

const MAIL: &str = "MAIL FROM:<tickets@contoso.test>\r\n";

/// A session whose account is removed ends at its next reply boundary, and at its deadline where
/// it never comes to one.
#[test]
fn d01_sessions_of_a_removed_password_end_in_time() {
    for (protocol, leaves) in [
        (Imap, "b NOOP\r\nx"),
        (Imap, "b APPEND INBOX {100}\r\nhalf"),
        (Pop3, "NOOP\r\nx"),
        (Smtp, "NOOP\r\nx"),
        (
            Smtp,
            "MAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<tickets@contoso.test>\r\nBDAT 9\r\nx",
        ),
        (
            Smtp,
            "MAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<tickets@contoso.test>\r\nDATA\r\n",
        ),
    ] {
        still(|clock| async move {
            let relay = Setup::limits("drain_timeout: 2s").start().await;
            let mut client = relay.session(protocol).await;
            client.send(leaves).await;
            client.line().await;
            relay.rewrite(&[(PASSWORD, "another-password")]);
            let began = clock.elapsed();
            let applied = relay.control.reload().await.unwrap();
            assert_eq!(applied.sessions_ended, 1, "{leaves:?}");
            let rest = async { while client.line().await.ends_with("\r\n") {} };
            clock.until_ready(Duration::from_secs(5), rest).await;
            let took = clock.elapsed() - began;
            assert!(took <= Duration::from_secs(3), "{leaves:?}: {took:?}");
            assert_eq!(relay.log.sessions(1).await.len(), 1, "{leaves:?}");
        });
    }
}

/// An attempt ends with its client: nothing is asked for, and nobody is connected to, for it.
#[test]
fn d06_an_attempt_ends_with_its_client() {
    still(|_| async {
        let relay = Relay::start().await;
        relay.sandbox.set_fault(Some(Fault::AuthHangs));
        for n in 1..=8 {
            let mut client = Client::dial_to_reset(Smtp, relay.address(Smtp)).await;
            greet(&mut client).await;
            client
                .send(format!("AUTH PLAIN {}\r\n", plain(LOGIN, PASSWORD)))
                .await;
            relay
                .sandbox
                .wait_for(|seen| seen.auth_attempts.smtp == n)
                .await;
            drop(client);
            // The mail service never answers: the attempt would last 20 s, and the clock stands.
            relay.log.sessions(n.try_into().unwrap()).await;
        }
        let sessions = relay.log.sessions(8).await;
        let cancelled = |session: &serde_json::Value| session["outcome"] == "cancelled";
        assert!(sessions.iter().all(cancelled), "{sessions:?}");
        assert_eq!(relay.log.faults(), [""; 0]);
    });
}

/// A client that is reset while a reply of the mail service is due gives its message's slot back.
#[test]
fn d06_a_message_ends_with_its_client() {
    still(|_| async {
        let relay = Setup::default()
            .smtp_limits("connections: 1, messages_per_minute: 100")
            .start()
            .await;
        let mut client = Client::dial_to_reset(Smtp, relay.address(Smtp)).await;
        greet(&mut client).await;
        client.log_in(LOGIN, PASSWORD).await;
        client.ask(MAIL, "\r\n").await;
        let mut next = relay.session(Smtp).await;
        next.send(MAIL).await;
        drop(client);
        assert!(next.line().await.starts_with("250 2.1.0 "));
    });
}

/// The process is gone within `drain_timeout` and a second, although a client does not close.
#[test]
fn d08_a_client_that_does_not_close_holds_up_no_shutdown() {
    for protocol in Protocol::ALL {
        still(|clock| async move {
            let relay = Setup::limits("drain_timeout: 1s").start().await;
            let mut client = relay.session(protocol).await;
            client.send("x").await;
            let mut second = relay.session(protocol).await;
            let began = clock.elapsed();
            relay.shut_down();
            let log = clock.until_ready(Duration::from_secs(9), relay.end()).await;
            let took = clock.elapsed() - began;
            assert!(took <= Duration::from_secs(2), "{protocol}: {took:?}");
            assert_eq!(log.sessions(2).await.len(), 2);
            second.rest().await;
        });
    }
}

/// A slot is given back as the message ends, not as its client closes.
#[test]
fn d09_a_client_that_does_not_close_after_quit_holds_nothing() {
    still(|_| async {
        let relay = Setup::default()
            .smtp_limits("connections: 1, messages_per_minute: 100")
            .start()
            .await;
        let mut client = relay.session(Smtp).await;
        client.ask(MAIL, "\r\n").await;
        let said = client.ask("QUIT\r\n", "\r\n").await;
        assert!(said.starts_with("221 "), "{said}");
        relay.sandbox.wait_for(|seen| seen.open.smtp == 0).await;
        let mut next = relay.session(Smtp).await;
        let said = next.ask(MAIL, "\r\n").await;
        assert!(said.starts_with("250 2.1.0 "), "{said}");
        drop(client);
    });
}

/// A session that a removed account has logged in with by now ends too while it is being opened.
#[test]
fn d01_a_login_of_a_removed_password_ends_in_time() {
    still(|clock| async move {
        let relay = Setup::limits("drain_timeout: 2s").start().await;
        relay.sandbox.set_fault(Some(Fault::AuthHangs));
        let mut client = relay.connect(Imap).await;
        client
            .send(format!("a LOGIN {LOGIN} \"{PASSWORD}\"\r\n"))
            .await;
        relay
            .sandbox
            .wait_for(|seen| seen.auth_attempts.imap == 1)
            .await;
        relay.rewrite(&[(PASSWORD, "another-password")]);
        relay.control.reload().await.unwrap();
        let began = clock.elapsed();
        let said = clock
            .until_ready(Duration::from_secs(9), client.rest())
            .await;
        let took = clock.elapsed() - began;
        assert!(took <= Duration::from_secs(3), "{took:?}: {said}");
        assert_eq!(relay.sandbox.messages(MAILBOX).len(), 3);
    });
}
