//! A shutdown: sessions end at their next clean boundary, and at the deadline those that reached
//! none.

use std::time::Duration;

use authrelay::sandbox::MAILBOX;
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};

use super::of;
use crate::client::END;
use crate::clock::{patient, still};
use crate::stage::Relay;

const GOODBYE: [&str; 3] = [
    "* BYE Shutting down, try again later.\r\n",
    "",
    "421 4.3.2 Shutting down, try again later.\r\n",
];
const ENVELOPE: &str = "MAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<x@fabrikam.test>\r\nDATA\r\n";

struct Row {
    phase: &'static str,
    protocol: Protocol,
    /// Before the shutdown: what is sent, and the end of what is awaited.
    before: &'static [(&'static str, &'static str)],
    /// Sent after it, and all that comes of it before the goodbye.
    after: (&'static str, &'static str),
}

const fn row(
    phase: &'static str,
    protocol: Protocol,
    before: &'static [(&'static str, &'static str)],
    after: (&'static str, &'static str),
) -> Row {
    Row {
        phase,
        protocol,
        before,
        after,
    }
}

const NOTHING: (&str, &str) = ("", "");

fn rows() -> Vec<Row> {
    vec![
        row("at rest", Imap, &[], NOTHING),
        row("at rest", Pop3, &[], NOTHING),
        row("at rest", Smtp, &[], NOTHING),
        row(
            "in IDLE",
            Imap,
            &[
                (
                    "b SELECT INBOX\r\n",
                    "b OK [READ-WRITE] SELECT completed.\r\n",
                ),
                ("c IDLE\r\n", "+ IDLE accepted, awaiting DONE command.\r\n"),
            ],
            NOTHING,
        ),
        row(
            "in a transaction",
            Smtp,
            &[("MAIL FROM:<a@b.test>\r\n", "Sender OK\r\n")],
            NOTHING,
        ),
        row(
            "in a command",
            Imap,
            &[("a NOOP\r\nb NO", "a OK NOOP completed.\r\n")],
            ("OP\r\n", "b OK NOOP completed.\r\n"),
        ),
        row(
            "in a command",
            Pop3,
            &[("NOOP\r\nNO", "+OK\r\n")],
            ("OP\r\n", "+OK\r\n"),
        ),
        row(
            "in a command",
            Smtp,
            &[("NOOP\r\nNO", "250 2.0.0 OK\r\n")],
            ("OP\r\n", "250 2.0.0 OK\r\n"),
        ),
        row(
            "in an APPEND",
            Imap,
            &[("b APPEND INBOX {5}\r\n", "command text.\r\n")],
            ("hello\r\n", "b OK [APPENDUID 14 4] APPEND completed.\r\n"),
        ),
    ]
}

async fn play(row: Row) {
    let name = format!("{} over {}", row.phase, row.protocol);
    let relay = Relay::start().await;
    let mut client = relay.session(row.protocol).await;
    for (text, awaited) in row.before {
        client.send(text).await;
        let said = client.until(awaited).await;
        assert!(said.ends_with(awaited), "{name}: {said}");
    }
    relay.shut_down();
    if row.after != NOTHING {
        relay.log.wait_for("draining").await;
        client.send(row.after.0).await;
    }
    let goodbye = format!("{}{}", row.after.1, of(row.protocol, GOODBYE));
    assert_eq!(client.rest().await, goodbye, "{name}");
    drop(client);
    let session = relay.log.sessions(1).await.remove(0);
    assert_eq!(session["fault"], "authrelay: draining", "{name}: {session}");
    assert_eq!(session["outcome"], "relayed", "{name}: {session}");
    assert_eq!(session["closed_by"], "authrelay", "{name}: {session}");
    // A shutdown is nobody's fault.
    assert_eq!(relay.end().await.faults(), [""; 0], "{name}");
}

#[test]
fn sessions_end_at_their_next_boundary() {
    for row in rows() {
        still(|_| play(row));
    }
}

/// Before login, in each state of the dialogue, the client is told.
#[test]
fn logins_under_way_are_turned_away() {
    for protocol in Protocol::ALL {
        for sent in [
            ["", "", ""],
            ["a LOG", "USE", "EHL"],
            [
                "a AUTHENTICATE PLAIN\r\n",
                "AUTH PLAIN\r\n",
                "AUTH PLAIN\r\n",
            ],
        ] {
            still(|_| async move {
                let relay = Relay::start().await;
                let mut client = relay.connect(protocol).await;
                let sent = of(protocol, sent);
                client.send(sent).await;
                if sent.ends_with("\r\n") {
                    client.reply().await;
                }
                relay.shut_down();
                assert_eq!(client.rest().await, of(protocol, GOODBYE), "{sent:?}");
                relay.assert_untouched("draining");
                drop(client);
                patient("the end", relay.end()).await;
            });
        }
    }
}

/// A message under way is finished, answered, and only then is the client sent away.
#[test]
fn data_in_flight_is_finished() {
    still(|clock| async move {
        let relay = Relay::start().await;
        let mut client = relay.session(Smtp).await;
        client.ask(ENVELOPE, "354 ").await;
        client.line().await;
        client.send("Subject: in flight\r\n\r\n").await;
        relay.shut_down();
        relay.log.wait_for("draining").await;
        clock.advance(Duration::from_secs(10)).await;
        client.send("It arrives.\r\n.\r\n").await;
        assert!(client.line().await.starts_with("250 2.0.0 OK <"));
        assert_eq!(client.rest().await, GOODBYE[2]);
        let sent = relay.sandbox.messages(MAILBOX).remove(3);
        assert_eq!(sent, "Subject: in flight\r\n\r\nIt arrives.\r\n");
        drop(client);
        relay.end().await;
    });
}

/// After `drain_timeout` the rest is ended, and no message looks complete.
#[test]
fn what_reaches_no_boundary_is_ended_at_the_deadline() {
    for (protocol, before, awaited, last) in [
        (Smtp, ENVELOPE, "<CRLF>.<CRLF>\r\n", GOODBYE[2]),
        (Imap, "b APPEND INBOX {50}\r\n", "text.\r\n", GOODBYE[0]),
    ] {
        still(|clock| async move {
            let relay = Relay::start().await;
            let mut client = relay.session(protocol).await;
            client.ask(before, awaited).await;
            client.send("Subject: never").await;
            relay.shut_down();
            relay.log.wait_for("draining").await;
            let said = clock
                .until_ready(Duration::from_secs(32), client.rest())
                .await;
            assert_eq!(said, last);
            assert!(
                clock.elapsed() >= Duration::from_secs(30),
                "{:?}",
                clock.elapsed()
            );
            drop(client);
            let log = relay.log.clone();
            let stored = relay.sandbox.messages(MAILBOX).len();
            relay.end().await;
            assert_eq!(stored, 3);
            assert_eq!(log.sessions(1).await[0]["fault"], "authrelay: draining");
        });
    }
}

/// Nobody is accepted any more, and those who come are refused by the kernel, not left hanging.
#[test]
fn the_door_is_shut_at_once() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut client = relay.session(Smtp).await;
        client.ask(ENVELOPE, "354 ").await;
        relay.shut_down();
        relay.log.wait_for("draining").await;
        let address = relay.address(Pop3);
        let refused = async {
            // The listeners close one after another.
            while tokio::net::TcpStream::connect(address).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        patient("the listener's end", refused).await;
        assert!(client.ask("x\r\n.\r\n", "never").await.ends_with(END));
    });
}
