//! The deadline of a login, in every phase in which a client can stop; and that of an idle
//! session.

use std::time::Duration;

use authrelay::config::LogFormat;
use authrelay::sandbox::{LOGIN, MAILBOX, Options, PASSWORD};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};
use tracing::Level;

use super::of;
use crate::client::{Client, base64};
use crate::clock::{Clock, still};
use crate::stage::{Relay, Setup};

const LATE: [&str; 3] = ["* BYE ", "-ERR ", "421 4.4.2 "];

/// Sends these, reading a reply to each but the last, and then nothing more.
struct Stop {
    phase: &'static str,
    protocol: Protocol,
    sends: Vec<String>,
}

fn stops() -> Vec<Stop> {
    let stop = |phase, protocol, sends: &[&str]| Stop {
        phase,
        protocol,
        sends: sends.iter().map(|text| (*text).to_owned()).collect(),
    };
    let name = format!("{}\r\n", base64(LOGIN));
    let mut stops = vec![
        stop("command", Imap, &["a LOG"]),
        stop("literal", Imap, &["a LOGIN {5}\r\n", "abc"]),
        stop("PLAIN", Imap, &["a AUTHENTICATE PLAIN\r\n", ""]),
        stop("LOGIN", Imap, &["a AUTHENTICATE LOGIN\r\n", &name, "abc"]),
        stop("refused", Imap, &["a LOGIN x y\r\n", ""]),
        stop("command", Pop3, &["USER x\r\n", "PAS"]),
        stop("PLAIN", Pop3, &["AUTH PLAIN\r\n", ""]),
        stop("LOGIN", Pop3, &["AUTH LOGIN\r\n", &name, ""]),
        stop("command", Smtp, &["NOOP\r\n", "EHL"]),
        stop("PLAIN", Smtp, &["AUTH PLAIN\r\n", ""]),
        stop("LOGIN", Smtp, &["AUTH LOGIN\r\n", &name, ""]),
    ];
    stops.extend(Protocol::ALL.map(|protocol| stop("greeting", protocol, &[])));
    stops
}

/// At 60 seconds the client is told.
async fn told(clock: &Clock, client: &mut Client, row: &str) -> String {
    // Its deadline runs since it was accepted.
    clock
        .advance(Duration::from_secs(59) - clock.elapsed())
        .await;
    let last = Duration::from_secs(10);
    let said = clock.until_ready(last, client.rest()).await;
    let late = clock.elapsed().as_secs();
    assert!((60..70).contains(&late), "{row}: told after {late} s");
    said
}

/// A relay whose log has probes too.
async fn wide_awake(setup: Setup) -> Relay {
    setup.log(LogFormat::Json, Level::DEBUG).start().await
}

async fn stopping(clock: Clock, stop: Stop) {
    let row = format!("{} over {}", stop.phase, stop.protocol);
    let relay = wide_awake(Setup::default()).await;
    let mut client = relay.connect(stop.protocol).await;
    let last = stop.sends.len().saturating_sub(1);
    for (index, text) in stop.sends.iter().enumerate() {
        client.send(text).await;
        if index < last {
            client.reply().await;
        }
    }
    let said = told(&clock, &mut client, &row).await;
    let expected = of(stop.protocol, LATE);
    assert!(said.starts_with(expected), "{row}: {said:?}");
    assert_eq!(said.lines().count(), 1, "{row}: {said:?}");
    drop(client);
    let session = relay.log.sessions(1).await.remove(0);
    assert_eq!(session["fault"], "client: login_timeout", "{row}");
    // One that presented nothing is answered, and no fault.
    let (outcome, faults): (_, &[&str]) = match stop.phase {
        "refused" => ("refused", &["client: credentials", "client: login_timeout"]),
        _ => ("probe", &[]),
    };
    assert_eq!(session["outcome"], outcome, "{row}");
    assert_eq!(relay.log.faults(), faults, "{row}");
    relay.assert_untouched(&row);
}

#[test]
fn a_client_that_stops_is_told_at_the_deadline() {
    for stop in stops() {
        still(|clock| stopping(clock, stop));
    }
}

/// Within a TLS handshake nothing can be said in clear.
#[test]
fn a_handshake_that_stops_ends_in_silence() {
    for protocol in Protocol::ALL {
        for sent in [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01\x00"] {
            still(|clock| async move {
                let relay = wide_awake(Setup::default().tls("implicit")).await;
                let mut client = relay.dial(protocol).await;
                client.send(sent).await;
                // Nothing shows when it was accepted: second by second, then.
                let most = Duration::from_secs(75);
                let said = clock.until_ready(most, client.rest()).await;
                assert_eq!(said, "");
                assert!(clock.elapsed() >= Duration::from_secs(60));
                drop(client);
                let session = relay.log.sessions(1).await.remove(0);
                assert_eq!(session["fault"], "client: login_timeout");
            });
        }
        still(|clock| async move {
            let relay = wide_awake(Setup::default().tls("starttls")).await;
            let mut client = relay.connect(protocol).await;
            client
                .send(of(protocol, ["a STARTTLS\r\n", "STLS\r\n", "STARTTLS\r\n"]))
                .await;
            client.reply().await;
            client.send(b"\x16\x03\x01\x02\x00\x01\x00").await;
            assert_eq!(told(&clock, &mut client, "starttls").await, "");
            drop(client);
            let session = relay.log.sessions(1).await.remove(0);
            assert_eq!(session["fault"], "client: login_timeout");
        });
    }
}

/// Requirement 33: a byte each second is no progress.
#[test]
fn r33_one_byte_a_second_does_not_hold_a_login() {
    for protocol in Protocol::ALL {
        still(|clock| async move {
            let relay = wide_awake(Setup::default()).await;
            let mut client = relay.connect(protocol).await;
            let slow = of(protocol, ["a LOGIN ", "USER ", "EHLO "]).to_owned() + &"x".repeat(100);
            for octet in slow.as_bytes() {
                if client.try_send([*octet]).await.is_err() {
                    break;
                }
                clock.advance(Duration::from_secs(1)).await;
                if !relay.log.named("no credentials in time").is_empty() {
                    break;
                }
            }
            let said = client.rest().await;
            assert!(said.starts_with(of(protocol, LATE)), "{said:?}");
            assert!(
                clock.elapsed() <= Duration::from_secs(62),
                "{:?}",
                clock.elapsed()
            );
            drop(client);
            let session = relay.log.sessions(1).await.remove(0);
            assert_eq!(session["fault"], "client: login_timeout");
        });
    }
}

/// No byte either way for 35 minutes. Requirement 35: not a second sooner than 30.
#[test]
fn r35_an_idle_session_lives_for_thirty_minutes_and_ends_at_its_timeout() {
    let last_words = ["* BYE ", "", "421 4.4.2 "];
    for protocol in Protocol::ALL {
        still(|clock| async move {
            // The mail service ends sessions with their token; this one lasts.
            let lifetime = Duration::from_secs(4 * 3600);
            let setup = Setup::default().options(Options {
                lifetime,
                ..Options::default()
            });
            let relay = setup.start().await;
            let mut client = relay.session(protocol).await;
            clock.advance(Duration::from_secs(30 * 60)).await;
            let (noop, answer) = of(
                protocol,
                [
                    ("b NOOP\r\n", "b OK NOOP completed.\r\n"),
                    ("NOOP\r\n", "+OK\r\n"),
                    ("NOOP\r\n", "250 2.0.0 OK\r\n"),
                ],
            );
            assert_eq!(client.ask(noop, "\r\n").await, answer);
            let began = clock.elapsed();
            clock.advance(Duration::from_secs(35 * 60 - 10)).await;
            assert_eq!(relay.log.faults(), [""; 0]);
            let said = clock
                .until_ready(Duration::from_secs(20), client.rest())
                .await;
            assert!(said.starts_with(of(protocol, last_words)), "{said:?}");
            let silent = clock.elapsed() - began;
            assert_eq!(silent, Duration::from_secs(35 * 60), "{protocol}");
            drop(client);
            relay.log.sessions(1).await;
            assert_eq!(relay.log.faults(), ["client: idle"]);
        });
    }
}

/// Requirement 35: RFC 2177's 29 minutes of IDLE, then news.
#[test]
fn r35_idle_survives_twenty_nine_minutes() {
    still(|clock| async move {
        let relay = Relay::start().await;
        let mut client = relay.connect(Imap).await;
        client.log_in(LOGIN, PASSWORD).await;
        client.ask("b SELECT INBOX\r\n", "b OK").await;
        client.line().await;
        client
            .ask("c IDLE\r\n", "+ IDLE accepted, awaiting DONE command.\r\n")
            .await;
        clock.advance(Duration::from_secs(29 * 60)).await;
        relay.sandbox.deliver(MAILBOX, "Subject: news\r\n\r\n");
        assert_eq!(client.line().await, "* 4 EXISTS\r\n");
        client.send("DONE\r\n").await;
        assert_eq!(client.line().await, "c OK IDLE completed.\r\n");
        assert_eq!(relay.log.faults(), [""; 0]);
    });
}
