//! Faults of the mail service after login, between commands and in the middle of things; and what
//! it says itself, which goes through untouched.

use std::time::Duration;

use authrelay::sandbox::{Fault, LOGIN, MAILBOX, Sandbox};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};

use crate::client::Client;
use crate::clock::still;
use crate::stage::Relay;

const LOST: &str = "upstream: lost";
const IMAP_LOST: &str = "* BYE The mail service closed the connection.\r\n";
const SMTP_LOST: &str = "421 4.4.2 The mail service closed the connection.\r\n";
const ENVELOPE: &str = "MAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<x@fabrikam.test>\r\nDATA\r\n";

struct Row {
    phase: &'static str,
    protocol: Protocol,
    /// Before the fault: what is sent, and the end of what is awaited.
    before: &'static [(&'static str, &'static str)],
    happens: fn(&Sandbox),
    /// Sent when it has happened.
    after: &'static str,
    /// All that the client gets from then on.
    says: &'static str,
    fault: Option<&'static str>,
    closed_by: &'static str,
}

const fn row(
    phase: &'static str,
    protocol: Protocol,
    before: &'static [(&'static str, &'static str)],
    happens: fn(&Sandbox),
    after: &'static str,
    says: &'static str,
) -> Row {
    Row {
        phase,
        protocol,
        before,
        happens,
        after,
        says,
        fault: Some(LOST),
        closed_by: "upstream",
    }
}

fn disconnect(sandbox: &Sandbox) {
    sandbox.disconnect();
}

fn lost_idle(sandbox: &Sandbox) {
    sandbox.set_fault(Some(Fault::LostIdle));
}

fn lost_literal(sandbox: &Sandbox) {
    sandbox.set_fault(Some(Fault::LostLiteral));
}

const SELECT: &[(&str, &str)] = &[(
    "b SELECT INBOX\r\n",
    "b OK [READ-WRITE] SELECT completed.\r\n",
)];
const IDLE: &[(&str, &str)] = &[
    (
        "b SELECT INBOX\r\n",
        "b OK [READ-WRITE] SELECT completed.\r\n",
    ),
    ("c IDLE\r\n", "+ IDLE accepted, awaiting DONE command.\r\n"),
];
const DATA: &[(&str, &str)] = &[(ENVELOPE, "354 Start mail input; end with <CRLF>.<CRLF>\r\n")];

fn lost() -> Vec<Row> {
    vec![
        // Between commands.
        row("at rest", Imap, &[], disconnect, "", IMAP_LOST),
        row("at rest", Pop3, &[], disconnect, "", ""),
        row("at rest", Smtp, &[], disconnect, "", SMTP_LOST),
        row("in a folder", Imap, SELECT, disconnect, "", IMAP_LOST),
        row("in IDLE", Imap, IDLE, disconnect, "", IMAP_LOST),
        row(
            "behind an answer",
            Imap,
            &[],
            lost_idle,
            "b NOOP\r\n",
            "b OK NOOP completed.\r\n* BYE The mail service closed the connection.\r\n",
        ),
        row(
            "behind an answer",
            Pop3,
            &[],
            lost_idle,
            "NOOP\r\n",
            "+OK\r\n",
        ),
        row(
            "behind an answer",
            Smtp,
            &[],
            lost_idle,
            "NOOP\r\n",
            "250 2.0.0 OK\r\n421 4.4.2 The mail service closed the connection.\r\n",
        ),
        // In the middle of things: nothing is invented.
        row("in DATA", Smtp, DATA, disconnect, "", SMTP_LOST),
        row(
            "in a line of DATA",
            Smtp,
            &[(ENVELOPE, "<CRLF>.<CRLF>\r\n"), ("Subject: ha", "")],
            disconnect,
            "",
            SMTP_LOST,
        ),
        row(
            "in a chunk",
            Smtp,
            &[
                (
                    "MAIL FROM:<a@b.test>\r\nRCPT TO:<x@y.test>\r\n",
                    "Recipient OK\r\n",
                ),
                ("BDAT 100 LAST\r\nhalf", ""),
            ],
            disconnect,
            "",
            SMTP_LOST,
        ),
        row(
            "in an APPEND",
            Imap,
            &[
                (
                    "b APPEND INBOX {100}\r\n",
                    "+ Ready for additional command text.\r\n",
                ),
                ("half", ""),
            ],
            disconnect,
            "",
            IMAP_LOST,
        ),
        row(
            "in DATA, at the first octets",
            Smtp,
            &[],
            lost_literal,
            "MAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<x@fabrikam.test>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n",
            "250 2.1.0 Sender OK\r\n250 2.1.5 Recipient OK\r\n354 Start mail input; end with <CRLF>.<CRLF>\r\n421 4.4.2 The mail service closed the connection.\r\n",
        ),
    ]
}

/// What the mail service says before it ends the session is all there is to say.
fn said_itself() -> Vec<Row> {
    let own = |row: Row| Row { fault: None, ..row };
    let expire: fn(&Sandbox) = |sandbox| sandbox.set_fault(Some(Fault::ExpiredSession));
    let not_connected: fn(&Sandbox) = |sandbox| sandbox.set_fault(Some(Fault::NotConnected));
    let expired = "* BYE Session invalidated - AccessTokenExpired\r\n";
    vec![
        own(row("at rest", Imap, &[], expire, "", expired)),
        own(row("in IDLE", Imap, IDLE, expire, "", expired)),
        Row {
            fault: Some("upstream: mailbox"),
            ..own(row(
                "authenticated but not connected",
                Imap,
                &[],
                not_connected,
                "b SELECT INBOX\r\n",
                "b BAD User is authenticated but not connected.\r\n* BYE Connection closed. 14\r\n",
            ))
        },
        Row {
            fault: Some("upstream: mailbox"),
            ..own(row(
                "authenticated but not connected",
                Pop3,
                &[],
                not_connected,
                "STAT\r\n",
                "-ERR User is authenticated but not connected.\r\n",
            ))
        },
        own(row(
            "farewell",
            Imap,
            &[],
            |_| {},
            "b LOGOUT\r\n",
            "* BYE Microsoft Exchange Server IMAP4 server signing off.\r\nb OK LOGOUT completed.\r\n",
        )),
        own(row(
            "farewell",
            Pop3,
            &[],
            |_| {},
            "QUIT\r\n",
            "+OK Microsoft Exchange Server 2016 POP3 server signing off.\r\n",
        )),
        own(row(
            "farewell",
            Smtp,
            &[],
            |_| {},
            "QUIT\r\n",
            "221 2.0.0 Service closing transmission channel\r\n",
        )),
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
    (row.happens)(&relay.sandbox);
    client.send(row.after).await;
    assert_eq!(client.rest().await, row.says, "{name}");
    drop(client);
    let session = relay.log.sessions(1).await.remove(0);
    assert_eq!(session["outcome"], "relayed", "{name}: {session}");
    assert_eq!(session["closed_by"], row.closed_by, "{name}: {session}");
    let faults: Vec<_> = row.fault.into_iter().collect();
    assert_eq!(relay.log.faults(), faults, "{name}");
    // Not one message came of a message that was cut.
    assert_eq!(relay.sandbox.messages(MAILBOX).len(), 3, "{name}");
}

#[test]
fn upstreams_that_vanish() {
    for row in lost() {
        still(|_| play(row));
    }
}

#[test]
fn upstreams_that_say_why() {
    for row in said_itself() {
        still(|_| play(row));
    }
}

/// Inside a literal or a RETR body the client gets what there was, then the end: no line that it
/// could take for part of the message, no dot that would complete it.
#[test]
fn answers_that_break_off() {
    for (protocol, command) in [(Imap, "c FETCH 1 BODY.PEEK[]\r\n"), (Pop3, "RETR 1\r\n")] {
        still(|_| async move {
            let relay = Relay::start().await;
            let message = relay.sandbox.messages(MAILBOX).remove(0);
            let text = std::str::from_utf8(&message).unwrap();
            let mut client = relay.session(protocol).await;
            if protocol == Imap {
                client.ask(SELECT[0].0, SELECT[0].1).await;
            }
            relay.sandbox.set_fault(Some(Fault::LostLiteral));
            client.send(command).await;
            let said = client.rest().await;
            let (_, body) = said.split_once("\r\n").unwrap();
            assert!(!body.is_empty() && body.len() < text.len());
            assert!(text.starts_with(body), "{body:?}");
            drop(client);
            relay.log.sessions(1).await;
            assert_eq!(relay.log.faults(), [LOST]);
        });
    }
}

/// Refusals in the middle of a session are the mail service's own, to the octet.
#[test]
fn the_upstream_s_own_refusals_go_through() {
    for (fault, says) in [
        (
            Fault::SmtpConcurrency,
            "432 4.3.2 Concurrent connections limit exceeded. ",
        ),
        (
            Fault::SmtpQuota,
            "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; ",
        ),
        (
            Fault::SendAsDenied,
            "554 5.2.252 SendAsDenied; tickets@contoso.test not allowed to send as ",
        ),
        (
            Fault::RecipientRefused,
            "550 5.1.10 RESOLVER.ADR.RecipientNotFound; ",
        ),
    ] {
        still(|clock| async move {
            let relay = Relay::start().await;
            let mut client = relay.session(Smtp).await;
            relay.sandbox.set_fault(Some(fault));
            let refusal = submit(&mut client).await;
            assert!(refusal.starts_with(says), "{fault}: {refusal}");
            // The session goes on; nothing was a fault of it.
            relay.sandbox.set_fault(None);
            client.send("RSET\r\n").await;
            assert_eq!(client.reply().await, "250 2.0.0 Resetting\r\n");
            let began = clock.elapsed();
            let accepted = clock
                .until_ready(Duration::from_secs(30), submit(&mut client))
                .await;
            let crowded = fault == Fault::SmtpConcurrency;
            let waited = clock.elapsed() - began >= Duration::from_secs(10);
            assert_eq!(
                waited, crowded,
                "{fault}: a crowded mailbox is left alone for a while"
            );
            assert!(accepted.starts_with("250 2.0.0 OK <"), "{accepted}");
            // A refusal for good has its fault, with both addresses and the remedy.
            let faults = match refusal.starts_with('5') {
                true => vec!["upstream: message"],
                false => Vec::new(),
            };
            assert_eq!(relay.log.faults(), faults, "{refusal}");
        });
    }
}

/// Sends a message step by step; gives the first reply that is not 2xx or 3xx, or the last.
async fn submit(client: &mut Client) -> String {
    let mut reply = String::new();
    for step in [
        &format!("MAIL FROM:<{LOGIN}>\r\n"),
        "RCPT TO:<x@fabrikam.test>\r\n",
        "DATA\r\n",
        "Subject: x\r\n\r\nx\r\n.\r\n",
    ] {
        client.send(step).await;
        reply = client.reply().await;
        if !reply.starts_with(['2', '3']) {
            break;
        }
    }
    reply
}
