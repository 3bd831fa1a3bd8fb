//! One transaction, moved by replies: what is recorded is what happened, and nothing passes that
//! is not counted.

use std::time::Duration;

use authrelay::sandbox::{Fault, LOGIN, MAILBOX, Options, PASSWORD};
use authrelay::wire::Protocol::Smtp;
use serde_json::Value;

use crate::audit::records;
use crate::client::Client;
use crate::clock::still;
use crate::stage::{Relay, Setup, greet};

const MAIL: &str = "MAIL FROM:<tickets@contoso.test>\r\n";
const RCPT: &str = "RCPT TO:<tickets@contoso.test>\r\n";

fn audited() -> Setup {
    Setup::default().append("audit: {path: audit.jsonl}\n")
}

fn policed(policy: &str) -> Setup {
    audited().replace(
        "registration: sandbox",
        &format!("registration: sandbox\n    smtp: {{{policy}}}"),
    )
}

/// Every message of the audit, of all sessions, once the relay has ended.
async fn messages(relay: Relay, client: Client) -> Vec<Value> {
    drop(client);
    let path = relay.directory().join("audit.jsonl");
    let kept = relay.directory().join("kept.jsonl");
    relay.shut_down();
    relay.log.wait_for("stopped").await;
    std::fs::copy(&path, &kept).unwrap();
    let mut messages = Vec::new();
    for record in records(&kept) {
        messages.extend(record["messages"].as_array().into_iter().flatten().cloned());
    }
    messages
}

/// What a refused command would have changed stays as it was: sizes add up.
#[test]
fn d04_refused_commands_change_nothing() {
    for refused in [MAIL, "EHLO\r\n", "RSET x\r\n"] {
        still(|_| async {
            let relay = policed("max_size: 1kB").start().await;
            let mut client = relay.session(Smtp).await;
            client.ask(MAIL, "\r\n").await;
            client.ask(RCPT, "\r\n").await;
            let chunk = format!("BDAT 900\r\n{}", "x".repeat(900));
            let said = client.ask(&chunk, "\r\n").await;
            assert!(said.starts_with("250 "), "{said}");
            client.send(refused).await;
            client.reply().await;
            client.ask(RCPT, "\r\n").await;
            let said = client.ask(&chunk, "\r\n").await;
            let forgotten = relay
                .sandbox
                .seen()
                .smtp
                .iter()
                .any(|line| line.starts_with("RSET") || line == "EHLO");
            assert!(
                said.starts_with("552 5.3.4 ") || forgotten,
                "{refused:?}: {said}"
            );
            client.send("BDAT 0 LAST\r\n").await;
            client.line().await;
            let delivered = relay.sandbox.messages(MAILBOX);
            assert!(
                delivered
                    .iter()
                    .skip(3)
                    .all(|message| message.len() <= 1000),
                "{refused:?}: a message over the size was delivered"
            );
        });
    }
}

/// A second address where parameters belong is no parameter, and a size may have 20 digits.
#[test]
fn d05_parameters_that_are_none_do_not_pass_a_policy() {
    still(|_| async {
        let relay = Setup::default()
            .append("    smtp: {senders: [\"*@contoso.test\"], recipients: [\"*@contoso.test\"], max_size: 1kB}\n")
            .start()
            .await;
        let mut client = relay.session(Smtp).await;
        for (odd, expected) in [
            ("MAIL FROM:<tickets@contoso.test> <boss@x.test>\r\n", "501 "),
            (
                "MAIL FROM:<tickets@contoso.test> SIZE=1 ,<b@x.test>\r\n",
                "501 ",
            ),
            (
                "MAIL FROM:<tickets@contoso.test> SIZE=99999999999999999999\r\n",
                "552 5.3.4 ",
            ),
            ("MAIL FROM:<tickets@contoso.test> SIZE=9x\r\n", "501 "),
            (
                "MAIL FROM:<tickets@contoso.test> BODY=8BITMIME AUTH=<>\r\n",
                "250 ",
            ),
            ("RCPT TO:<tickets@contoso.test> <boss@x.test>\r\n", "501 "),
            (
                "RCPT TO:<tickets@contoso.test> NOTIFY=NEVER ORCPT=rfc822;a@b.test\r\n",
                "250 ",
            ),
        ] {
            let said = client.ask(odd, "\r\n").await;
            assert!(said.starts_with(expected), "{odd}: {said}");
        }
        let seen = relay.sandbox.seen();
        assert!(!seen.smtp.iter().any(|line| line.contains("x.test")));
    });
}

/// Where messages are counted, what is not understood does not pass.
#[test]
fn d05_nothing_passes_a_rate_uncounted() {
    for odd in [
        "BDAT x\r\n",
        "BDAT\r\n",
        "BDAT 99999999999999999999\r\n",
        "BDAT 9223372036854775807\r\n",
        "BDAT 3 LAST x\r\n",
        " MAIL FROM:<tickets@contoso.test>\r\n",
        "\tMAIL FROM:<tickets@contoso.test>\r\n",
        "MAIL\rFROM:<tickets@contoso.test>\r\n",
        "NOOP\rMAIL FROM:<tickets@contoso.test>\r\n",
        "XMAIL FROM:<tickets@contoso.test>\r\n",
        "BURL imap://x LAST\r\n",
        "SAML FROM:<tickets@contoso.test>\r\n",
        "STARTTLS\r\n",
    ] {
        still(|_| async {
            let relay = audited()
                .smtp_limits("messages_per_minute: 2, wait: 1s")
                .start()
                .await;
            let mut client = relay.session(Smtp).await;
            client.send(odd).await;
            let said = client.line().await;
            assert!(said.starts_with("50"), "{odd:?}: {said}");
            let mut accepted = 0;
            for _ in 0..4 {
                let _ = client.try_send(format!("{MAIL}{RCPT}DATA\r\n")).await;
                let said = client.until("\r\n").await;
                if !said.starts_with("250 ") {
                    continue;
                }
                client.until("354 ").await;
                client.line().await;
                let said = client.ask("x\r\n.\r\n", "\r\n").await;
                accepted += u64::from(said.starts_with("250 "));
            }
            assert!(accepted <= 2, "{odd:?}: {accepted} messages at 2 a minute");
            let delivered = relay.sandbox.messages(MAILBOX).len() - 3;
            assert_eq!(delivered as u64, accepted, "{odd:?}");
            let recorded = messages(relay, client).await;
            let good = recorded.iter().filter(|message| {
                message["reply"]
                    .as_str()
                    .is_some_and(|reply| reply.starts_with("250"))
            });
            assert_eq!(good.count() as u64, accepted, "{odd:?}: {recorded:?}");
        });
    }
}

/// A MAIL that is padded over what is looked at is counted, or does not pass.
#[test]
fn d05_a_long_mail_is_not_overlooked() {
    still(|_| async {
        let relay = Setup::default()
            .smtp_limits("messages_per_minute: 1, wait: 1s")
            .start()
            .await;
        let mut client = relay.session(Smtp).await;
        let long = format!("MAIL FROM:<{MAILBOX}>{}\r\n", " ".repeat(5000));
        let said = client.ask(&long, "\r\n").await;
        assert!(said.starts_with("500 "), "{said}");
        let mails = relay
            .sandbox
            .seen()
            .smtp
            .iter()
            .filter(|line| line.starts_with("MAIL"))
            .count();
        assert_eq!(mails, 0);
    });
}

/// Without rules, too, the record is what happened: DATA and its text in one write, and more
/// commands at once than anybody keeps in mind.
#[test]
fn d05_the_record_follows_the_replies_without_rules() {
    still(|_| async {
        let relay = audited()
            .options(Options {
                smtp_messages: None,
                ..Options::default()
            })
            .replace("provider: microsoft365\n", "provider: plain\n")
            .replace("provider: microsoft365}", "provider: plain}")
            .replace("providers:\n  microsoft365:", "providers:\n  plain:")
            .replace(
                "grant: client_credentials",
                "grant: client_credentials\n    scope: [\"https://outlook.office365.com/.default\"]",
            )
            .start()
            .await;
        let mut client = relay.session(Smtp).await;
        client.send("NOOP\r\n".repeat(12_000)).await;
        for _ in 0..12_000 {
            client.line().await;
        }
        for _ in 0..5 {
            client
                .send(format!(
                    "{MAIL}{RCPT}DATA\r\nSubject: x\r\n\r\ntext\r\n.\r\n"
                ))
                .await;
            client.until("250 2.0.0 OK <").await;
            client.line().await;
        }
        client.ask("QUIT\r\n", "\r\n").await;
        assert_eq!(relay.sandbox.messages(MAILBOX).len(), 8);
        let recorded = messages(relay, client).await;
        assert_eq!(recorded.len(), 5, "{recorded:?}");
        for message in recorded {
            assert_eq!(message["size"], 20, "{message}");
            assert!(
                message["reply"]
                    .as_str()
                    .unwrap()
                    .starts_with("250 2.0.0 OK <")
            );
        }
    });
}

/// A refusal of DATA is the message's final reply, but for 503.
#[test]
fn a_refusal_of_data_is_the_final_reply() {
    still(|_| async {
        let relay = audited()
            .smtp_limits("connections: 1, messages_per_minute: 100")
            .start()
            .await;
        let mut client = relay.session(Smtp).await;
        client.ask(MAIL, "\r\n").await;
        client.ask(RCPT, "\r\n").await;
        relay.sandbox.set_fault(Some(Fault::SmtpConcurrency));
        let said = client.ask("DATA\r\n", "\r\n").await;
        assert!(said.starts_with("432 "), "{said}");
        relay.sandbox.set_fault(None);
        let recorded = messages(relay, client).await;
        assert_eq!(recorded.len(), 1, "{recorded:?}");
        assert!(recorded[0]["reply"].as_str().unwrap().starts_with("432 "));
    });
}

/// A chunk that came before any recipient is no beginning of a message: the header of the next one
/// is rewritten all the same, and the record has one message.
#[test]
fn f64_a_chunk_out_of_sequence_does_not_pass_a_policy() {
    still(|_| async {
        let relay = policed("from: mailbox").start().await;
        let mut client = relay.session(Smtp).await;
        let text = "From: <evil@x.test>\r\nSubject: x\r\n\r\ntext\r\n";
        let chunk = format!("BDAT {} LAST\r\n{text}", text.len());
        relay.sandbox.set_fault(Some(Fault::RecipientRefused));
        client.send(format!("{MAIL}{RCPT}{chunk}")).await;
        for code in ["250 ", "550 ", "503 "] {
            let said = client.line().await;
            assert!(said.starts_with(code), "{said}");
        }
        relay.sandbox.set_fault(None);
        client.send(format!("{RCPT}{chunk}")).await;
        for _ in 0..2 {
            client.line().await;
        }
        client
            .send(format!("RSET\r\n{MAIL}{RCPT}{chunk}NOOP\r\n"))
            .await;
        client.until("250 2.0.0 OK\r\n").await;
        let delivered = relay.sandbox.messages(MAILBOX).split_off(3);
        for message in &delivered {
            let message = String::from_utf8_lossy(message);
            assert!(!message.contains("\nFrom: <evil"), "{message}");
            assert!(!message.starts_with("From: <evil"), "{message}");
        }
        assert_eq!(delivered.len(), 1);
        // The client leaves in the middle of a transaction that has no message.
        relay.sandbox.set_fault(Some(Fault::RecipientRefused));
        client.send(format!("{MAIL}{RCPT}{chunk}")).await;
        client.until("503 ").await;
        let recorded = messages(relay, client).await;
        assert_eq!(recorded.len(), 1, "{recorded:?}");
    });
}

/// What follows a chunk that was refused is taken to its end, also in the middle of the header.
#[test]
fn f65_a_session_goes_on_after_a_chunk_that_was_refused() {
    still(|_| async {
        let relay = policed("from: mailbox").start().await;
        let mut client = relay.session(Smtp).await;
        client.ask(MAIL, "\r\n").await;
        client.ask(RCPT, "\r\n").await;
        relay.sandbox.set_fault(Some(Fault::SmtpConcurrency));
        client
            .send("BDAT 12\r\nSubject: x\r\nBDAT 29 LAST\r\nFrom: <e")
            .await;
        let said = client.line().await;
        assert!(said.starts_with("432 "), "{said}");
        client.send("vil@x.test>\r\n\r\nNOOP\r\n").await;
        let said = client.ask("RSET\r\n", "\r\n").await;
        assert!(said.starts_with("503 "), "{said}");
        let said = client.line().await;
        assert!(said.starts_with("250 "), "{said}");
        assert_eq!(relay.sandbox.messages(MAILBOX).len(), 3);
    });
}

/// Devices end lines with LF alone: commands are sent with CRLF, bodies stay as they are.
#[test]
fn f22_commands_are_sent_with_crlf() {
    for policy in ["", "    smtp: {recipients: [\"*@contoso.test\"]}\n"] {
        still(|_| async {
            let relay = Setup::default().append(policy).start().await;
            let mut client = relay.session(Smtp).await;
            for command in [MAIL, RCPT, "DATA\r\n"] {
                client.ask(&command.replace("\r\n", "\n"), "\r\n").await;
            }
            let said = client.ask("Subject: x\n\nA\nB\r\n.\r\n", "\r\n").await;
            assert!(said.starts_with("250 "), "{said}");
            let stored = relay.sandbox.messages(MAILBOX).remove(3);
            assert_eq!(&*stored, b"Subject: x\n\nA\nB\r\n");
        });
    }
}

/// A device that ends its message with LF.LF is told after five minutes, and its operator why.
#[test]
fn f22_a_message_that_waits_behind_a_bare_line_end_is_ended() {
    for end in ["\n.\n", "\r\n.\n", "\n.\r\n", "\n.\nQUIT\n"] {
        still(|clock| async move {
            let relay = Relay::start().await;
            let mut client = relay.session(Smtp).await;
            for command in [MAIL, RCPT, "DATA\r\n"] {
                client.ask(command, "\r\n").await;
            }
            client.send(format!("Subject: x\n\ntext{end}")).await;
            let began = clock.elapsed();
            let said = client.rest();
            let said = clock.until_ready(Duration::from_secs(400), said).await;
            assert!(said.starts_with("421 4.4.2 "), "{end:?}: {said}");
            let took = (clock.elapsed() - began).as_secs();
            assert!((300..303).contains(&took), "{took} s");
            assert_eq!(relay.log.faults(), ["client: line_ends"]);
            assert_eq!(relay.sandbox.messages(MAILBOX).len(), 3);
        });
    }
}

/// Most devices wait for less than five minutes, then leave.
#[test]
fn f22_a_client_that_leaves_behind_a_bare_line_end_is_explained() {
    for end in [
        "\n.\n",
        "\r\n.\n",
        "\n.\r\n",
        "\n.\nQUIT\n",
        "\n.\nQUIT\r\n",
    ] {
        for resets in [false, true] {
            still(|_| async move {
                let relay = Relay::start().await;
                let mut client = match resets {
                    true => Client::dial_to_reset(Smtp, relay.address(Smtp)).await,
                    false => relay.dial(Smtp).await,
                };
                greet(&mut client).await;
                client.log_in(LOGIN, PASSWORD).await;
                for command in [MAIL, RCPT, "DATA\r\n"] {
                    client.ask(command, "\r\n").await;
                }
                client.send(format!("Subject: x\n\ntext{end}")).await;
                drop(client);
                let session = relay.log.sessions(1).await.remove(0);
                assert_eq!(session["closed_by"], "client", "{session}");
                assert_eq!(relay.log.faults(), ["client: line_ends"], "{end:?}");
            });
        }
    }
}

/// One that leaves in the middle of a text has another reason.
#[test]
fn f22_a_client_that_leaves_within_its_text_has_no_fault() {
    for text in [
        "Subject: x\r\n\r\nhalf a li".to_owned(),
        format!("Subject: x\n\n.\n{}", "another line\n".repeat(20)),
    ] {
        still(|_| async move {
            let relay = Relay::start().await;
            let mut client = relay.session(Smtp).await;
            for command in [MAIL, RCPT, "DATA\r\n"] {
                client.ask(command, "\r\n").await;
            }
            client.send(text).await;
            drop(client);
            relay.log.sessions(1).await;
            assert_eq!(relay.log.faults(), [""; 0]);
        });
    }
}

/// Where the operator asks for it, bodies are repaired, and LF.LF is their end.
#[test]
fn f22_line_ends_are_repaired_where_the_account_says_so() {
    for policy in [
        "line_ends: crlf",
        "line_ends: crlf, from: mailbox, max_size: 1kB",
    ] {
        still(|_| async {
            let relay = policed(policy).start().await;
            let mut client = relay.session(Smtp).await;
            for command in [MAIL, RCPT, "DATA\r\n"] {
                client.ask(&command.replace("\r\n", "\n"), "\r\n").await;
            }
            let text = "From: <tickets@contoso.test>\nSubject: x\n\nA\r\nB\n..\nC\n.\n";
            client.dribble(text).await;
            let said = client.line().await;
            assert!(said.starts_with("250 "), "{policy}: {said}");
            let stored = relay.sandbox.messages(MAILBOX).remove(3);
            let stored = String::from_utf8_lossy(&stored).into_owned();
            assert_eq!(
                stored.matches('\n').count(),
                stored.matches("\r\n").count(),
                "{stored:?}"
            );
            assert!(stored.ends_with("A\r\nB\r\n.\r\nC\r\n"), "{stored:?}");
        });
    }
}

/// A refusal of the mail service for good: bytes unchanged, and one fault with both addresses and
/// what to do.
#[test]
fn f21_refused_messages_have_a_fault_with_both_addresses() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut client = relay.session(Smtp).await;
        relay.sandbox.set_fault(Some(Fault::SendAsDenied));
        for command in [MAIL, RCPT, "DATA\r\n"] {
            client.ask(command, "\r\n").await;
        }
        let said = client.ask("x\r\n.\r\n", "\r\n").await;
        assert!(said.starts_with("554 5.2.252 SendAsDenied"), "{said}");
        let fault = relay.log.named("fault").remove(0);
        assert_eq!(fault["fault"], "upstream: message");
        let detail = fault["detail"].as_str().unwrap();
        assert!(
            detail.contains("from <tickets@contoso.test> to <tickets@contoso.test>"),
            "{detail}"
        );
        let remedy = fault["remedy"].as_str().unwrap();
        assert!(
            remedy.contains("-AccessRights SendAs") && remedy.contains("from: mailbox"),
            "{remedy}"
        );
    });
}

/// A login that is good into a mailbox that is closed: one fault with the remedy.
#[test]
fn f20_a_mailbox_that_is_closed_has_a_fault_with_the_remedy() {
    still(|_| async {
        let relay = Relay::start().await;
        relay.sandbox.set_fault(Some(Fault::NotConnected));
        let mut client = relay.session(authrelay::wire::Protocol::Imap).await;
        let said = client.ask("b SELECT INBOX\r\n", "\r\n").await;
        assert!(said.starts_with("b BAD User is authenticated"), "{said}");
        client.rest().await;
        drop(client);
        relay.log.sessions(1).await;
        assert_eq!(relay.log.faults(), ["upstream: mailbox"]);
        let fault = relay.log.named("fault").remove(0);
        let remedy = fault["remedy"].as_str().unwrap();
        assert!(
            remedy.contains("Add-MailboxPermission -Identity tickets@contoso.test"),
            "{remedy}"
        );
        assert!(remedy.contains("-ImapEnabled $true"), "{remedy}");
    });
}

/// `mailbox: {smtp: sender}`: each sender has an upstream that is logged in as him.
#[test]
fn f62_the_upstream_is_logged_in_to_as_the_sender() {
    still(|_| async {
        let relay = Setup::default()
            .replace("mailbox: tickets@contoso.test", "mailbox: {smtp: sender}")
            .append("    smtp: {senders: [\"*@contoso.test\"], recipients: [\"*\"]}\n")
            .start()
            .await;
        let mut client = relay.connect(Smtp).await;
        let said = client.log_in("tickets@contoso.test", PASSWORD).await;
        assert!(said.starts_with("235 2.7.0 "), "{said}");
        relay.assert_untouched("before MAIL");
        client.send("EHLO scanner\r\n").await;
        assert!(client.reply().await.contains("CHUNKING"));
        for sender in [MAILBOX, "helpdesk@contoso.test", "helpdesk@contoso.test"] {
            let mail = format!("MAIL FROM:<{sender}>\r\n");
            for command in [&mail, RCPT, "DATA\r\n"] {
                let said = client.ask(command, "\r\n").await;
                assert!(said.starts_with(['2', '3']), "{sender}: {said}");
            }
            let said = client.ask("x\r\n.\r\n", "\r\n").await;
            assert!(said.starts_with("250 2.0.0 OK <"), "{sender}: {said}");
        }
        let seen = relay.sandbox.seen();
        assert_eq!(
            seen.logins.smtp, 2,
            "one for each sender, not for each message"
        );
        assert_eq!(seen.token_requests, 1, "one token for all of them");
        assert_eq!(seen.mailbox_users, [MAILBOX, "helpdesk@contoso.test"]);
        // One that is not allowed, and one that the mail service refuses: the session goes on.
        let said = client.ask("MAIL FROM:<a@elsewhere.test>\r\n", "\r\n").await;
        assert!(said.starts_with("550 5.7.1 "), "{said}");
        // Nor does the mail service get what only a quoted string makes an address.
        let quoted = "MAIL FROM:<\"a@elsewhere.test \"@contoso.test>\r\n";
        let said = client.ask(quoted, "\r\n").await;
        assert!(said.starts_with("550 5.7.1 "), "{said}");
        relay.sandbox.set_fault(Some(Fault::SmtpDisabled));
        let refused = "MAIL FROM:<Scanner@contoso.test>\r\n";
        let said = client.ask(refused, "\r\n").await;
        assert!(said.starts_with("535 5.7.139 "), "{said}");
        relay.sandbox.set_fault(None);
        let said = client.ask(MAIL, "\r\n").await;
        assert!(said.starts_with("250 2.1.0 "), "{said}");
        assert!(client.ask("QUIT\r\n", "\r\n").await.starts_with("221 "));
        client.rest().await;
        let refused = "policy: message";
        assert_eq!(relay.log.faults(), [refused, refused, "upstream: refused"]);
        let fault = relay.log.named("fault").remove(2);
        assert_eq!(fault["mailbox"], "scanner@contoso.test", "{fault}");
    });
}

/// An upstream that goes between two messages is no end of a session that opens one for each
/// sender.
#[test]
fn f62_a_session_outlives_the_upstreams_of_its_senders() {
    still(|_| async {
        let relay = Setup::default()
            .replace("mailbox: tickets@contoso.test", "mailbox: {smtp: sender}")
            .append("    smtp: {senders: [\"*@contoso.test\"], recipients: [\"*\"]}\n")
            .start()
            .await;
        let mut client = Client::dial(Smtp, relay.address(Smtp)).await;
        greet(&mut client).await;
        client.log_in("tickets@contoso.test", PASSWORD).await;
        for _ in 0..2 {
            let said = client.ask(MAIL, "\r\n").await;
            assert!(said.starts_with("250 2.1.0 "), "{said}");
            relay.sandbox.set_fault(Some(Fault::LostIdle));
            assert!(client.ask("RSET\r\n", "\r\n").await.starts_with("250 "));
            relay.sandbox.wait_for(|seen| seen.open.smtp == 0).await;
            relay.sandbox.set_fault(None);
        }
        assert_eq!(relay.sandbox.seen().logins.smtp, 2);
        assert_eq!(relay.log.faults(), [""; 0]);
    });
}
