//! What a mailbox may send, for whom, and how much at once.

use std::time::Duration;

use authrelay::sandbox::{Fault, MAILBOX, PASSWORD};
use authrelay::wire::Protocol::Smtp;

use crate::client::{Client, plain};
use crate::clock::{patient, still};
use crate::doors::nothing_arrives_that_is_cut;
use crate::stage::{Relay, Setup, greet};

/// A policy that lets the tests' messages through.
const POLICY: &str = "senders: [\"*@contoso.test\"], recipients: [\"*@contoso.test\"]";

const DEVICES: &str = "  - {name: devices, protocol: smtp, bind: \"127.0.0.1:0\", provider: microsoft365, \
    allow: [\"127.0.0.0/8\"], unauthenticated: tickets@contoso.test}\n\nproviders:";

/// With a listener for devices, and `smtp` for the account.
fn devices(smtp: &str) -> Setup {
    Setup::default()
        .replace("\nproviders:", DEVICES)
        .append(&format!("    smtp: {{{smtp}}}\n"))
}

/// Sends a whole transaction and gives the four replies.
async fn send(client: &mut Client, from: &str, to: &str, message: &str) -> Vec<String> {
    let mut replies = Vec::new();
    for command in [
        format!("MAIL FROM:<{from}>\r\n"),
        format!("RCPT TO:<{to}>\r\n"),
        "DATA\r\n".to_owned(),
        format!("{message}.\r\n"),
    ] {
        client.send(command).await;
        replies.push(client.reply().await);
    }
    replies
}

#[test]
fn devices_send_by_helo_alone_as_the_mailbox() {
    still(|_| async {
        let relay =
            devices("senders: [root@localhost], recipients: [\"*@contoso.test\"], from: mailbox")
                .start()
                .await;
        let mut client = Client::dial(Smtp, relay.listener("devices")).await;
        client.line().await;
        assert!(
            client
                .ask("HELO scanner\r\n", "\r\n")
                .await
                .starts_with("250 ")
        );
        relay.assert_untouched("before MAIL");
        let message = "From: Scanner <root@localhost>\r\n\r\nx\r\n";
        let replies = send(&mut client, "root@localhost", MAILBOX, message).await;
        assert!(replies[3].starts_with("250 2.0.0 OK <"), "{replies:?}");
        let stored = relay.sandbox.messages(MAILBOX).remove(3);
        assert_eq!(
            String::from_utf8_lossy(&stored),
            format!("From: Scanner <{MAILBOX}>\r\nReply-To: Scanner <root@localhost>\r\n\r\nx\r\n")
        );
        let refused = client.ask("MAIL FROM:<evil@x.test>\r\n", "\r\n").await;
        assert!(refused.starts_with("550 5.7.1 "), "{refused}");
        client.ask("MAIL FROM:<root@localhost>\r\n", "\r\n").await;
        let refused = client.ask("RCPT TO:<a@elsewhere.test>\r\n", "\r\n").await;
        assert!(refused.starts_with("550 5.7.1 "), "{refused}");
        assert_eq!(relay.log.faults(), ["policy: message"; 2]);
        // The listener takes AUTH too.
        let mut client = Client::dial(Smtp, relay.listener("devices")).await;
        greet(&mut client).await;
        let auth = format!("AUTH PLAIN {}\r\n", plain(MAILBOX, PASSWORD));
        assert!(client.ask(&auth, "\r\n").await.starts_with("235 "));
    });
}

/// In the middle of DATA: nothing is completed upstream, and the client hears why at its end.
#[test]
fn r13_a_message_over_the_size_never_arrives() {
    still(|_| async {
        let relay = devices("senders: [\"*\"], recipients: [\"*@contoso.test\"], max_size: 1kB")
            .start()
            .await;
        let mut client = relay.session(Smtp).await;
        let large = "x".repeat(78) + "\r\n";
        let replies = send(&mut client, MAILBOX, MAILBOX, &large.repeat(20)).await;
        assert!(replies[3].starts_with("552 5.3.4 "), "{replies:?}");
        assert!(client.rest().await.starts_with("421 "));
        relay.sandbox.wait_for(|seen| seen.open.smtp == 0).await;
        assert_eq!(relay.sandbox.messages(MAILBOX).len(), 3);
        let mut client = relay.session(Smtp).await;
        let said = client
            .ask(&format!("MAIL FROM:<{MAILBOX}> SIZE=1001\r\n"), "\r\n")
            .await;
        assert!(said.starts_with("552 5.3.4 "), "{said}");
        // Both are told of, the one that ended its session as well.
        assert_eq!(relay.log.faults(), ["policy: message"; 2]);
        let accounts = relay
            .control
            .current()
            .active()
            .state
            .history
            .entry(MAILBOX);
        let (_, fault) = accounts.last_fault.unwrap();
        assert!(fault.remedy().unwrap().contains("smtp section"), "{fault}");
    });
}

/// Ten senders on one mailbox: never more than three messages in flight, and all of them succeed.
#[test]
fn r39_ten_senders_have_three_messages_in_flight() {
    still(|_| async {
        let relay = Setup::default()
            .append("admin: {bind: \"127.0.0.1:0\"}\n")
            .start()
            .await;
        let sender = async |_n: usize| {
            let mut client = relay.session(Smtp).await;
            let replies = send(&mut client, MAILBOX, MAILBOX, "x\r\n").await;
            assert!(replies[3].starts_with("250 2.0.0 OK <"), "{replies:?}");
            client.ask("QUIT\r\n", "\r\n").await;
        };
        let all = futures_util::future::join_all((0..10).map(sender));
        patient("ten senders", all).await;
        let seen = relay.sandbox.seen();
        assert_eq!(seen.logins.smtp, 10);
        assert!(seen.peak_in_flight <= 3, "{}", seen.peak_in_flight);
        assert_eq!(relay.sandbox.messages(MAILBOX).len(), 13);
        let waits = |metrics: &str, outcome: &str| -> u64 {
            let series = format!("authrelay_smtp_waits_total{{outcome=\"{outcome}\"}} ");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
            line.unwrap().parse().unwrap()
        };
        let metrics = metrics(&relay).await;
        assert!(waits(&metrics, "waited") >= 1, "{metrics}");
        let total = waits(&metrics, "immediate") + waits(&metrics, "waited");
        assert_eq!((total, waits(&metrics, "timeout")), (10, 0));
    });
}

async fn metrics(relay: &Relay) -> String {
    let mut client = Client::dial(Smtp, relay.listener("admin")).await;
    client
        .send("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        .await;
    client.rest().await
}

/// Begins a message on each of `sessions` sessions and leaves it there.
async fn begin(relay: &Relay, sessions: usize) -> Vec<Client> {
    let mut begun = Vec::new();
    for _ in 0..sessions {
        let mut client = relay.session(Smtp).await;
        let said = client
            .ask(&format!("MAIL FROM:<{MAILBOX}>\r\n"), "\r\n")
            .await;
        assert!(said.starts_with("250 2.1.0 "), "{said}");
        begun.push(client);
    }
    begun
}

/// What is limited is messages in flight: sessions that are logged in and send nothing (SQL Server,
/// PowerShell, ASP.NET keep one for 100 s without QUIT) keep no one else from sending.
#[test]
fn f10_idle_sessions_hold_up_no_message() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut idle = Vec::new();
        for _ in 0..6 {
            let mut client = relay.session(Smtp).await;
            let replies = send(&mut client, MAILBOX, MAILBOX, "x\r\n").await;
            assert!(replies[3].starts_with("250 2.0.0 OK <"), "{replies:?}");
            idle.push(client);
        }
        assert_eq!(relay.log.faults(), [""; 0]);
    });
}

/// A fourth message waits at MAIL, and is told to try again later.
#[test]
fn a_message_beyond_those_in_flight_is_told_in_time() {
    still(|clock| async move {
        let relay = Relay::start().await;
        let mut held = begin(&relay, 3).await;
        let mut client = relay.session(Smtp).await;
        let mail = format!("MAIL FROM:<{MAILBOX}>\r\n");
        let began = clock.elapsed();
        let said = client.ask(&mail, "\r\n");
        let said = clock.until_ready(Duration::from_secs(30), said).await;
        assert!(said.starts_with("451 4.3.2 "), "{said}");
        let took = (clock.elapsed() - began).as_secs();
        assert!((25..27).contains(&took), "{took} s");
        assert_eq!(relay.log.faults(), ["upstream: full"]);
        // RSET, EHLO and the end of a session give a message's slot back; the session goes on.
        for (end, reply) in [
            ("RSET\r\n", "Resetting\r\n"),
            ("EHLO x\r\n", "SMTPUTF8\r\n"),
        ] {
            let mut other = held.pop().unwrap();
            other.ask(end, reply).await;
            let said = client.ask(&mail, "\r\n").await;
            assert!(said.starts_with("250 2.1.0 "), "after {end}: {said}");
            client.ask("RSET\r\n", "\r\n").await;
            let refilled = begin(&relay, 1).await;
            drop(other);
            held.splice(0..0, refilled);
        }
        drop(held);
        let said = client.ask(&mail, "\r\n").await;
        assert!(said.starts_with("250 2.1.0 "), "{said}");
    });
}

/// A client that goes while its message waits leaves the queue at once.
#[test]
fn f11_a_client_that_hangs_up_leaves_the_queue() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut held = begin(&relay, 3).await;
        let mail = format!("MAIL FROM:<{MAILBOX}>\r\n");
        let mut gone = relay.session(Smtp).await;
        gone.send(&mail).await;
        gone.half_close().await;
        // It is not served as half-closed: it has sent nothing after MAIL.
        assert_eq!(gone.rest().await, "");
        let session = relay.log.sessions(1).await.remove(0);
        assert_eq!(session["closed_by"], "client", "{session}");
        let mut waiting = relay.session(Smtp).await;
        // One that has sent more is there to hear the answers.
        waiting.send(format!("{mail}RSET\r\nQUIT\r\n")).await;
        waiting.half_close().await;
        drop(held.pop());
        let said = waiting.rest().await;
        assert!(said.starts_with("250 2.1.0 "), "{said}");
        assert_eq!(relay.sandbox.seen().peak_in_flight, 3);
    });
}

/// A client that vanishes in the middle of a message, at whatever octet, under a policy that
/// rewrites its header: none arrives, and nothing is said that could pass for an acceptance.
#[test]
fn r13_truncated_messages_never_arrive_under_a_policy() {
    let message = "Subject: x\r\nFrom: A\r\n <tickets@contoso.test>\r\n\r\n..\r\n.x\r\n.\r\n";
    still(|_| async {
        let relay = devices(&format!("{POLICY}, max_size: 1kB, from: mailbox"))
            .smtp_limits("messages_per_minute: 1000")
            .start()
            .await;
        let transaction = format!("MAIL FROM:<{MAILBOX}>\r\nRCPT TO:<{MAILBOX}>\r\n");
        let data = format!("{transaction}DATA\r\n");
        nothing_arrives_that_is_cut(&relay, &data, message).await;
        // The same by BDAT, in its second chunk.
        for cut in 0..20 {
            let mut client = relay.session(Smtp).await;
            let chunk = format!("{transaction}BDAT 12\r\nSubject: x\r\nBDAT 20 LAST\r\n");
            client.send(format!("{chunk}{}", &message[..cut])).await;
            client.until("Recipient OK\r\n").await;
            client.half_close().await;
            let said = client.rest().await;
            assert!(!said.contains("250 2.0.0 OK <"), "cut at {cut}: {said}");
            relay.sandbox.wait_for(|seen| seen.open.smtp == 0).await;
            assert_eq!(relay.sandbox.messages(MAILBOX).len(), 3, "cut at {cut}");
        }
    });
}

/// Only CRLF.CRLF ends a message under a policy too, nothing in it is taken for a command, and
/// every octet arrives as it was.
#[test]
fn r14_messages_go_through_octet_by_octet_under_a_policy() {
    let body = b"Subject: smuggling\r\n\r\nA\n.\nMAIL FROM:<tickets@contoso.test>\nB\r\n ..\nC\n.\r\nD\r.\rE\n\r\n ..\r\n\
        F\x00\xff\xfe\r\r\n .x\r\nMAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n";
    for size in 1..=body.len() + 3 {
        // Every length of the pieces near the ends, some between.
        if size > 12 && size < body.len() - 4 && size % 17 != 0 {
            continue;
        }
        still(|_| async {
            let relay = devices(&format!("{POLICY}, max_size: 1kB")).start().await;
            let mut client = relay.session(Smtp).await;
            let data = format!("MAIL FROM:<{MAILBOX}>\r\nRCPT TO:<{MAILBOX}>\r\nDATA\r\n");
            client.ask(&data, "<CRLF>.<CRLF>\r\n").await;
            let whole = [body.as_slice(), b".\r\n"].concat();
            for piece in whole.chunks(size) {
                client.send(piece).await;
            }
            assert!(client.line().await.starts_with("250 2.0.0 OK <"));
            assert_eq!(client.ask("NOOP\r\n", "\r\n").await, "250 2.0.0 OK\r\n");
            let stored = relay.sandbox.messages(MAILBOX);
            assert_eq!(stored.len(), 4);
            assert_eq!(stored[3], body.as_slice(), "in pieces of {size}");
            let seen = relay.sandbox.seen();
            let transactions = seen.smtp.iter().filter(|line| line.starts_with("MAIL"));
            assert_eq!(transactions.count(), 1);
        });
    }
}

#[test]
fn replies_keep_their_order_where_the_policy_answers_some() {
    still(|_| async {
        let relay = devices(POLICY).start().await;
        let mut client = relay.session(Smtp).await;
        client
            .send(format!(
                "MAIL FROM:<evil@x.test>\r\nRCPT TO:<{MAILBOX}>\r\nBDAT 6 LAST\r\nQUIT\r\n\
                 MAIL FROM:<{MAILBOX}>\r\nRCPT TO:<a@x.test>\r\nRCPT TO:<{MAILBOX}>\r\n\
                 AUTH PLAIN x\r\nBURL imap://x LAST\r\nNOOP\r\nDATA\r\n"
            ))
            .await;
        let said = client.until("<CRLF>.<CRLF>\r\n").await;
        let codes: Vec<_> = said.lines().map(|line| &line[..9]).collect();
        assert_eq!(
            codes,
            [
                "550 5.7.1",
                "503 5.5.1",
                "503 5.5.1",
                "250 2.1.0",
                "550 5.7.1",
                "250 2.1.5",
                "503 5.5.1",
                "500 5.5.1",
                "250 2.0.0",
                "354 Start"
            ]
        );
        client.send("x\r\n.\r\nQUIT\r\n").await;
        let last = client.rest().await;
        assert!(last.starts_with("250 2.0.0 OK <"), "{last}");
        assert!(last.ends_with("221 2.0.0 Service closing transmission channel\r\n"));
        assert_eq!(relay.log.faults(), ["policy: message"; 2]);
    });
}

/// The account's own rate refuses at once, whoever of its sessions sends.
#[test]
fn an_account_s_own_rate_refuses_at_once() {
    still(|clock| async move {
        let own = "    smtp: {messages_per_minute: 2}\n";
        let relay = Setup::default().append(own).start().await;
        let mut one = relay.session(Smtp).await;
        let mut other = relay.session(Smtp).await;
        for client in [&mut one, &mut other] {
            let replies = send(client, MAILBOX, MAILBOX, "x\r\n").await;
            assert!(replies[3].starts_with("250 2.0.0 OK <"), "{replies:?}");
        }
        let mail = format!("MAIL FROM:<{MAILBOX}>\r\n");
        for client in [&mut one, &mut other] {
            let said = client.ask(&mail, "\r\n").await;
            assert!(said.starts_with("451 4.7.1 "), "{said}");
        }
        clock.advance(Duration::from_secs(61)).await;
        let said = one.ask(&mail, "\r\n").await;
        assert!(said.starts_with("250 "), "{said}");
        assert_eq!(relay.log.faults(), ["policy: message"; 2]);
    });
}

/// A message beyond the mail service's rate waits for its turn, if that comes within `wait`; a
/// reload forgets none.
#[test]
fn messages_wait_for_the_mail_service_s_rate() {
    for (wait, expected, waited) in [("90s", "250 2.1.0 ", 60), ("25s", "451 4.7.1 ", 0)] {
        still(|clock| async move {
            let limits = format!("messages_per_minute: 2, wait: {wait}");
            let relay = Setup::default().smtp_limits(&limits).start().await;
            let mut client = relay.session(Smtp).await;
            for _ in 0..2 {
                let replies = send(&mut client, MAILBOX, MAILBOX, "x\r\n").await;
                assert!(replies[3].starts_with("250 2.0.0 OK <"), "{replies:?}");
            }
            relay.control.reload().await.unwrap();
            let mut client = relay.session(Smtp).await;
            let began = clock.elapsed();
            let mail = format!("MAIL FROM:<{MAILBOX}>\r\n");
            let said = client.ask(&mail, "\r\n");
            let said = clock.until_ready(Duration::from_secs(100), said).await;
            assert!(said.starts_with(expected), "{said}");
            let took = (clock.elapsed() - began).as_secs();
            assert!((waited..waited + 5).contains(&took), "{took} s");
        });
    }
}

/// Messages in flight are the mailbox's, whatever the configuration that they began under.
#[test]
fn r39_messages_in_flight_outlive_reloads() {
    still(|clock| async move {
        let relay = Relay::start().await;
        let mut held = begin(&relay, 3).await;
        relay.control.reload().await.unwrap();
        let mut client = relay.session(Smtp).await;
        let mail = format!("MAIL FROM:<{MAILBOX}>\r\n");
        let said = client.ask(&mail, "\r\n");
        let said = clock.until_ready(Duration::from_secs(30), said).await;
        assert!(said.starts_with("451 4.3.2 "), "{said}");
        assert_eq!(relay.log.faults(), ["upstream: full"]);
        // One ends, and the next has its slot.
        drop(held.pop());
        let said = client.ask(&mail, "\r\n").await;
        assert!(said.starts_with("250 2.1.0 "), "{said}");
        assert_eq!(relay.sandbox.seen().peak_in_flight, 3);
    });
}

/// The service says that too many send at once: the mailbox's next message waits.
#[test]
fn a_mail_service_that_says_432_is_left_alone() {
    still(|clock| async move {
        let relay = Relay::start().await;
        let mut client = relay.session(Smtp).await;
        relay.sandbox.set_fault(Some(Fault::SmtpConcurrency));
        let data = format!("MAIL FROM:<{MAILBOX}>\r\nRCPT TO:<{MAILBOX}>\r\nDATA\r\n");
        client.ask(&data, "432 4.3.2 ").await;
        client.line().await;
        relay.sandbox.set_fault(None);
        let began = clock.elapsed();
        let mail = format!("RSET\r\nMAIL FROM:<{MAILBOX}>\r\n");
        let said = client.ask(&mail, "Sender OK\r\n");
        clock.until_ready(Duration::from_secs(30), said).await;
        let took = (clock.elapsed() - began).as_secs();
        assert!((9..14).contains(&took), "{took} s");
    });
}

/// A message that trickles holds one of the mailbox's few places: it ends.
#[test]
fn a_message_that_trickles_is_ended() {
    still(|clock| async move {
        let relay = Relay::start().await;
        let mut client = relay.session(Smtp).await;
        let data = format!("MAIL FROM:<{MAILBOX}>\r\nRCPT TO:<{MAILBOX}>\r\nDATA\r\n");
        client.ask(&data, "<CRLF>.<CRLF>\r\n").await;
        client.send("Subject: slow\r\n").await;
        let began = clock.elapsed();
        let rest = client.rest();
        let rest = clock.until_ready(Duration::from_secs(200), rest).await;
        assert!(rest.starts_with("421 4.4.2 "), "{rest}");
        let took = (clock.elapsed() - began).as_secs();
        assert!((118..130).contains(&took), "{took} s");
        relay.sandbox.wait_for(|seen| seen.open.smtp == 0).await;
        assert_eq!(relay.sandbox.messages(MAILBOX).len(), 3);
    });
}

/// What fails behind a device's MAIL is the answer to it, and the device may try again.
#[test]
fn devices_hear_at_mail_what_fails() {
    still(|_| async {
        let relay = devices(POLICY).start().await;
        relay.sandbox.set_fault(Some(Fault::SecretWrong));
        let mut client = Client::dial(Smtp, relay.listener("devices")).await;
        client.line().await;
        let mail = format!("MAIL FROM:<{MAILBOX}>\r\n");
        let said = client.ask(&mail, "\r\n").await;
        assert!(said.starts_with("454 4.7.0 "), "{said}");
        let said = client.ask("RCPT TO:<a@b.test>\r\n", "\r\n").await;
        assert!(said.starts_with("503 5.5.1 "), "{said}");
        // Elsewhere nothing goes without a login.
        let mut client = relay.connect(Smtp).await;
        let said = client.ask(&mail, "\r\n").await;
        assert!(said.starts_with("530 5.7.0 "), "{said}");
        assert_eq!(
            relay.log.faults().first().unwrap(),
            "identity_provider: refused"
        );
    });
}

/// A chunk over the size is swallowed, and what the upstream has of the message forgotten.
#[test]
fn chunks_over_the_size_never_arrive() {
    still(|_| async {
        let relay = devices(&format!("{POLICY}, max_size: 20B")).start().await;
        let mut client = relay.session(Smtp).await;
        client
            .send(format!(
                "MAIL FROM:<{MAILBOX}>\r\nRCPT TO:<{MAILBOX}>\r\nBDAT 12\r\nSubject: x\r\n\
                 BDAT 13 LAST\r\n\r\nQUIT\r\n.\r\n\r\nNOOP\r\n"
            ))
            .await;
        let said = client.until("250 2.0.0 OK\r\n").await;
        let codes: Vec<_> = said.lines().map(|line| &line[..9]).collect();
        assert_eq!(
            codes,
            [
                "250 2.1.0",
                "250 2.1.5",
                "250 2.6.0",
                "552 5.3.4",
                "250 2.0.0"
            ]
        );
        assert_eq!(relay.sandbox.messages(MAILBOX).len(), 3);
    });
}

/// A client that does not wait for the replies sends its chunk behind a MAIL that was refused for
/// now: nothing in the chunk is a command.
#[test]
fn d05_the_chunk_of_a_refused_mail_is_not_read_as_commands() {
    still(|_| async {
        let relay = devices(POLICY).start().await;
        relay.sandbox.set_fault(Some(Fault::TokenUnreachable));
        let mut client = Client::dial(Smtp, relay.listener("devices")).await;
        greet(&mut client).await;
        let chunk =
            format!("x\r\nMAIL FROM:<{MAILBOX}>\r\nRCPT TO:<{MAILBOX}>\r\nDATA\r\nforged\r\n.\r\n");
        let mail = format!("MAIL FROM:<{MAILBOX}>\r\nRCPT TO:<{MAILBOX}>\r\n");
        let octets = chunk.len();
        client.send(format!("{mail}BDAT {octets} LAST\r\n")).await;
        let said = client.reply().await;
        assert!(said.starts_with("454 "), "{said}");
        relay.sandbox.set_fault(None);
        for piece in chunk.as_bytes().chunks(7) {
            client.send(piece).await;
        }
        for _ in 0..2 {
            let said = client.reply().await;
            assert!(said.starts_with("503 "), "{said}");
        }
        assert!(client.ask("NOOP\r\n", "\r\n").await.starts_with("250 "));
        // Without a size, nobody knows where the chunk ends.
        let said = client.ask("BDAT x\r\nNOOP\r\n", "\r\n").await;
        assert!(said.starts_with("501 "), "{said}");
        assert_eq!(client.rest().await, "");
        assert_eq!(relay.sandbox.messages(MAILBOX).len(), 3);
    });
}

/// A reload that takes the listener's account away ends what came by it, and nothing else.
#[test]
fn r37_sessions_of_devices_follow_their_listener() {
    still(|_| async {
        let relay = devices(POLICY).start().await;
        let open = async || {
            let mut client = Client::dial(Smtp, relay.listener("devices")).await;
            greet(&mut client).await;
            let said = client
                .ask(&format!("MAIL FROM:<{MAILBOX}>\r\n"), "\r\n")
                .await;
            assert!(said.starts_with("250 "), "{said}");
            client.ask("RSET\r\n", "250 ").await;
            client.line().await;
            client
        };
        let mut device = open().await;
        let mut beside = relay.session(Smtp).await;
        assert_eq!(relay.control.reload().await.unwrap().sessions_ended, 0);
        let said = device.ask("NOOP\r\n", "\r\n").await;
        assert!(said.starts_with("250 "), "{said}");
        relay.rewrite(&[(", unauthenticated: tickets@contoso.test", "")]);
        assert_eq!(relay.control.reload().await.unwrap().sessions_ended, 1);
        assert!(device.rest().await.starts_with("421 4.3.2 "));
        let said = beside.ask("NOOP\r\n", "\r\n").await;
        assert!(said.starts_with("250 "), "{said}");
        // Who comes now has to log in.
        let mut client = Client::dial(Smtp, relay.listener("devices")).await;
        greet(&mut client).await;
        let said = client.ask("MAIL FROM:<a@b.test>\r\n", "\r\n").await;
        assert!(said.starts_with("530 "), "{said}");
    });
}

/// A client that leaves its replies unread holds one of its mailbox's places: for five minutes.
#[test]
fn clients_that_leave_their_replies_unread_are_given_five_minutes() {
    still(|clock| async move {
        let relay = Setup::default().start().await;
        let client = relay.session(Smtp).await;
        // More replies than the sockets between take.
        let commands = "HELP\r\n".repeat(400_000);
        let sending = tokio::spawn(client.sends_unread(commands));
        let ended = clock
            .until_ready(Duration::from_secs(400), relay.log.sessions(1))
            .await;
        assert!(
            clock.elapsed() >= Duration::from_secs(300),
            "{:?}",
            clock.elapsed()
        );
        assert_eq!(ended[0]["fault"], "client: idle");
        assert_eq!(ended[0]["closed_by"], "authrelay");
        let fault = &relay.log.named("fault")[0];
        let detail = "the client left its replies unread for 300 s";
        assert_eq!(fault["detail"], detail);
        sending.abort();
    });
}
