//! What stands at the door: nothing that a client sends may open it but its own password, and
//! nothing that an upstream sends may get at a credential.

use std::time::Duration;

use authrelay::config::LogFormat;
use authrelay::sandbox::{Fault, LOGIN, MAILBOX, Options, PASSWORD};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};
use tracing::Level;

use crate::client::{base64, plain};
use crate::clock::still;
use crate::stage::{Relay, Setup, greet, is_success};

const ENVELOPE: &str = "MAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<x@fabrikam.test>\r\nDATA\r\n";

/// Which of three is a protocol's.
fn of<T: Copy>(protocol: Protocol, cells: [T; 3]) -> T {
    let index = Protocol::ALL.iter().position(|one| *one == protocol);
    cells[index.unwrap()]
}

/// `password: any` is for those who asked for it by name; everybody else needs the password.
#[test]
fn r01_no_relay_without_the_password() {
    let guesses = ["", " ", "any", "null", LOGIN, "sandbox-local-7qx2", "*"];
    for protocol in Protocol::ALL {
        for guess in guesses {
            still(|_| async move {
                let relay = Relay::start().await;
                let mut client = relay.connect(protocol).await;
                let reply = client.log_in(LOGIN, guess).await;
                assert!(!is_success(protocol, &reply), "{guess:?}: {reply}");
                relay.assert_untouched(guess);
            });
        }
        still(|_| async move {
            let password = format!("password: \"{PASSWORD}\"");
            let setup = Setup::default().replace(&password, "password: any");
            let relay = setup.start().await;
            let mut client = relay.connect(protocol).await;
            let reply = client.log_in(LOGIN, "whatever it has").await;
            assert!(is_success(protocol, &reply), "{reply}");
        });
    }
}

/// A client outside a listener's `allow` is closed without a byte, however the listener begins.
#[test]
fn r01_clients_from_elsewhere_are_not_spoken_to() {
    for protocol in Protocol::ALL {
        for mode in ["none", "starttls", "implicit"] {
            still(|_| async move {
                let elsewhere = "provider: microsoft365, allow: [10.0.0.0/8]";
                let setup = match mode {
                    "none" => Setup::default(),
                    mode => Setup::default().tls(mode),
                };
                let setup = setup.replace("provider: microsoft365", elsewhere);
                let setup = setup.replace(
                    &format!("    {elsewhere}\n"),
                    "    provider: microsoft365\n",
                );
                let relay = setup.start().await;
                let mut client = relay.dial(protocol).await;
                assert_eq!(client.rest().await, "");
                relay.assert_untouched("elsewhere");
                assert_eq!(relay.log.named("session").len(), 0);
            });
        }
    }
}

/// The upstream's answer to STARTTLS, and bytes in clear behind it: no credential follows.
#[test]
fn r02_injected_responses_end_the_login() {
    for protocol in Protocol::ALL {
        still(|_| async move {
            let relay = Setup::default().starttls_upstreams().start().await;
            relay.sandbox.set_fault(Some(Fault::StarttlsInjected));
            let mut client = relay.connect(protocol).await;
            let reply = client.log_in(LOGIN, PASSWORD).await;
            assert!(!is_success(protocol, &reply), "{reply}");
            assert_eq!(relay.sandbox.seen().auth_attempts.total(), 0);
            let record = relay.log.named("fault").remove(0);
            assert!(
                record["detail"].as_str().unwrap().contains("injecting"),
                "{record}"
            );
        });
    }
}

/// What a client sent behind STARTTLS in clear is never executed: neither in clear nor, kept, on
/// the encrypted stream.
#[test]
fn r03_commands_behind_starttls_are_never_executed() {
    let pipelined = [
        format!("a STARTTLS\r\nb LOGIN {LOGIN} {PASSWORD}\r\n"),
        format!("STLS\r\nUSER {LOGIN}\r\nPASS {PASSWORD}\r\n"),
        format!("STARTTLS\r\nAUTH PLAIN {}\r\n", plain(LOGIN, PASSWORD)),
    ];
    for protocol in Protocol::ALL {
        let pipelined = of(protocol, pipelined.each_ref());
        still(|_| async move {
            let relay = Setup::default().tls("starttls").start().await;
            let mut client = relay.connect(protocol).await;
            client.send(pipelined).await;
            assert_eq!(client.rest().await, "");
            assert_eq!(relay.log.faults(), ["client: tls"]);
            relay.assert_untouched("starttls");
        });
        // One octet is enough, and it may come later: it is no TLS.
        let (first, rest) = pipelined.split_once("\r\n").unwrap();
        still(|_| async move {
            let relay = Setup::default().tls("starttls").start().await;
            let mut client = relay.connect(protocol).await;
            client.send(format!("{first}\r\n")).await;
            client.reply().await;
            client.send(rest).await;
            let said = client.rest_bytes().await;
            // An alert, and nothing of the protocol.
            assert!(said.first().is_none_or(|octet| *octet == 0x15), "{said:?}");
            assert_eq!(relay.log.faults(), ["client: tls"]);
            relay.assert_untouched("starttls");
        });
    }
}

/// Whatever stands between, TLS with the right name comes first or nothing is said.
#[test]
fn r04_no_credential_to_an_upstream_without_proper_tls() {
    for fault in [
        Fault::StarttlsMissing,
        Fault::StarttlsRefused,
        Fault::Preauth,
        Fault::TlsSelfSigned,
        Fault::TlsWrongName,
        Fault::TlsExpired,
    ] {
        for protocol in Protocol::ALL {
            let harmless = fault == Fault::Preauth && protocol != Imap;
            still(|_| async move {
                let relay = Setup::default().starttls_upstreams().start().await;
                relay.sandbox.set_fault(Some(fault));
                let mut client = relay.connect(protocol).await;
                let reply = client.log_in(LOGIN, PASSWORD).await;
                let seen = relay.sandbox.seen();
                assert_eq!(is_success(protocol, &reply), harmless, "{fault}: {reply}");
                assert_eq!(seen.auth_attempts.total(), u64::from(harmless), "{fault}");
                // Not even the command.
                let mut commands = seen.imap.iter().chain(&seen.pop3).chain(&seen.smtp);
                assert_eq!(
                    commands.any(|line| line.contains("AUTH")),
                    harmless,
                    "{fault}"
                );
            });
        }
    }
    // An authority that nobody here trusts.
    still(|_| async {
        let relay = Setup::default()
            .replace("    ca: ca.pem\n", "")
            .start()
            .await;
        let mut client = relay.connect(Imap).await;
        let reply = client.log_in(LOGIN, PASSWORD).await;
        assert!(reply.starts_with("a NO [UNAVAILABLE] "), "{reply}");
        assert_eq!(relay.sandbox.seen().auth_attempts.total(), 0);
        let record = relay.log.named("fault").remove(0);
        let detail = record["detail"].as_str().unwrap();
        assert!(
            detail.contains("an authority that is not trusted"),
            "{detail}"
        );
    });
}

/// Literals are counted, not parsed, whether they come at once or octet by octet.
#[test]
fn r09_literals_hold_what_their_count_says() {
    let password = "p a\"s\\s{3}w";
    let configured = serde_json::to_string(password).unwrap();
    let scripts = [
        format!(
            "a LOGIN {{{}}}\r\n{LOGIN} {{{}}}\r\n{password}\r\n",
            LOGIN.len(),
            password.len()
        ),
        format!(
            "a LOGIN {{{}+}}\r\n{LOGIN} {{{}+}}\r\n{password}\r\n",
            LOGIN.len(),
            password.len()
        ),
    ];
    for script in &scripts {
        for slowly in [false, true] {
            let setup = Setup::default().replace(&format!("\"{PASSWORD}\""), &configured);
            still(|_| async {
                let relay = setup.start().await;
                let mut client = relay.connect(Imap).await;
                if slowly {
                    client.dribble(script).await;
                } else {
                    client.send(script).await;
                }
                let waits = if script.contains("+}") { 0 } else { 2 };
                for _ in 0..waits {
                    assert_eq!(client.line().await, "+ OK\r\n");
                }
                assert_eq!(client.line().await, "a OK AUTHENTICATE completed.\r\n");
            });
        }
    }
    // What looks like commands within a literal is a password, and a wrong one.
    for slowly in [false, true] {
        still(|_| async move {
            let relay = Relay::start().await;
            let mut client = relay.connect(Imap).await;
            let inside = "x\r\nb NOOP\r\nc LOGOUT\r\n";
            let script = format!(
                "a LOGIN {LOGIN} {{{}+}}\r\n{inside}\r\nd NOOP\r\n",
                inside.len()
            );
            if slowly {
                client.dribble(&script).await;
            } else {
                client.send(&script).await;
            }
            assert!(
                client
                    .line()
                    .await
                    .starts_with("a NO [AUTHENTICATIONFAILED] ")
            );
            assert_eq!(client.line().await, "d OK Done.\r\n");
            relay.assert_untouched("literal");
        });
    }
}

/// A token of 8 KB logs in over all three: in two steps, but for IMAP with SASL-IR.
#[test]
fn r11_long_tokens_log_in() {
    for protocol in Protocol::ALL {
        still(|_| async move {
            let token_size = 8 * 1024;
            let options = Options {
                token_size,
                ..Options::default()
            };
            let relay = Setup::default().options(options).start().await;
            relay.session(protocol).await;
            let seen = relay.sandbox.seen();
            let (commands, steps) = match protocol {
                Imap => (
                    seen.imap,
                    [format!("A1 AUTHENTICATE XOAUTH2 <xoauth2 {MAILBOX}>")].to_vec(),
                ),
                Pop3 => (
                    seen.pop3,
                    ["AUTH XOAUTH2".to_owned(), format!("<xoauth2 {MAILBOX}>")].to_vec(),
                ),
                Smtp => (
                    seen.smtp,
                    ["AUTH XOAUTH2".to_owned(), format!("<xoauth2 {MAILBOX}>")].to_vec(),
                ),
            };
            let commands: Vec<_> = commands.into();
            assert!(commands.ends_with(&steps), "{commands:?}");
        });
    }
}

/// A client that vanishes in the middle of a message, at whatever octet: none arrives, and
/// authrelay says nothing that could pass for an acceptance.
#[test]
fn r13_truncated_messages_never_arrive() {
    let message = "Subject: x\r\n\r\n..\r\n.x\r\n.\r\n";
    still(|_| async {
        let relay = Setup::default().unlimited().start().await;
        nothing_arrives_that_is_cut(&relay, ENVELOPE, message).await;
    });
}

/// Sends `envelope`, which ends in DATA, and of `message` every beginning but the whole.
pub async fn nothing_arrives_that_is_cut(relay: &Relay, envelope: &str, message: &str) {
    for half_closes in [false, true] {
        for cut in 0..message.len() {
            let mut client = relay.session(Smtp).await;
            client.ask(envelope, "354 ").await;
            client.line().await;
            client.send(&message[..cut]).await;
            if half_closes {
                client.half_close().await;
                let said = client.rest().await;
                assert!(!said.contains("250"), "cut at {cut}: {said}");
            } else {
                drop(client);
            }
            relay.sandbox.wait_for(|seen| seen.open.smtp == 0).await;
            let stored = relay.sandbox.messages(MAILBOX).len();
            assert_eq!(stored, 3, "cut at {cut}");
        }
    }
}

/// Only CRLF.CRLF ends a message, and every octet of it arrives as it was.
#[test]
fn r14_messages_go_through_octet_by_octet() {
    let body = b"Subject: smuggling\r\n\r\nA\n.\nMAIL FROM:<evil@x.test>\nB\r\n.\nC\n.\r\nD\r.\rE\n\r\n..\r\n\
        F\x00\xff\xfe\r\r\n..x\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n";
    for size in [1, 7, body.len() + 3] {
        still(|_| async {
            let relay = Relay::start().await;
            let mut client = relay.session(Smtp).await;
            client.ask(ENVELOPE, "354 ").await;
            client.line().await;
            let whole = [body.as_slice(), b".\r\n"].concat();
            for chunk in whole.chunks(size) {
                client.send(chunk).await;
            }
            assert!(client.line().await.starts_with("250 2.0.0 OK <"));
            assert_eq!(client.ask("NOOP\r\n", "\r\n").await, "250 2.0.0 OK\r\n");
            let stored = relay.sandbox.messages(MAILBOX);
            assert_eq!(stored.len(), 4);
            assert_eq!(stored[3], unstuffed(body), "in pieces of {size}");
        });
    }
}

/// The stored message has one dot less at each line that begins with one: also where the sender
/// did not double it.
fn unstuffed(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut rest = body;
    while let Some(at) = memchr::memmem::find(rest, b"\r\n.") {
        plain.extend_from_slice(&rest[..at + 2]);
        rest = &rest[at + 3..];
    }
    plain.extend_from_slice(rest);
    plain
}

/// Line ends and other separators in a login, or in what the identity provider says, make no line
/// of their own, in neither format.
#[test]
fn r16_peers_add_no_lines_to_the_log() {
    let nasty = [
        "x\r\n2026-01-01T00:00:00Z  INFO forged",
        "x\n{\"level\":\"INFO\",\"message\":\"forged\"}",
        "x\u{2028}forged",
        "x\u{85}forged",
        "x\u{202e}forged",
        "x\u{1b}[2Jforged",
        "x\"},\"forged\":{\"",
    ];
    for format in [LogFormat::Text, LogFormat::Json] {
        still(|clock| async move {
            let relay = Setup::default().log(format, Level::TRACE).start().await;
            // Failures are answered late from the third on.
            let patience = Duration::from_secs(10);
            for login in nasty {
                let mut client = relay.connect(Imap).await;
                let literal = format!("a LOGIN {{{}+}}\r\n{login} x\r\n", login.len());
                let said = client.ask(&literal, "\r\n").await;
                assert!(said.starts_with("a NO "), "{said}");
                let sasl = format!("a AUTHENTICATE PLAIN {}\r\n", plain(login, "x"));
                let said = clock.until_ready(patience, client.ask(&sasl, "\r\n"));
                assert!(said.await.starts_with("a NO "));
                drop(client);
                // SASL LOGIN, the same over SMTP.
                let mut client = relay.connect(Smtp).await;
                client.ask("AUTH LOGIN\r\n", "\r\n").await;
                let name = format!("{}\r\n", base64(login));
                client.ask(&name, "\r\n").await;
                let said = clock.until_ready(patience, client.ask("eA==\r\n", "\r\n"));
                assert!(said.await.starts_with("535 "));
            }
            // Entra's descriptions have line ends in them.
            relay.sandbox.set_fault(Some(Fault::SecretWrong));
            let mut client = relay.connect(Pop3).await;
            client.log_in(LOGIN, PASSWORD).await;
            let text = relay.log.text();
            assert!(!text.contains(['\u{2028}', '\u{85}', '\u{202e}', '\u{1b}', '\r']));
            for line in text.lines() {
                match format {
                    LogFormat::Text => assert!(line.starts_with("20"), "{line}"),
                    LogFormat::Json => assert!(line.starts_with("{\"timestamp\":\"20"), "{line}"),
                }
            }
            if format == LogFormat::Json {
                let forged = |record: &serde_json::Value| record.get("forged").is_some();
                assert!(!relay.log.records().iter().any(forged));
                assert_eq!(relay.log.named("forged").len(), 0);
            }
        });
    }
}

/// Listeners speak TLS 1.2 and 1.3, from the first octet or after STARTTLS.
#[test]
fn r17_listeners_speak_both_versions_of_tls() {
    for (version, name) in [
        (&rustls::version::TLS12, "TLSv1.2 "),
        (&rustls::version::TLS13, "TLSv1.3 "),
    ] {
        for protocol in Protocol::ALL {
            still(|_| async move {
                let relay = Setup::default().tls("implicit").start().await;
                let client = relay.dial(protocol).await;
                let mut client = client.encrypt(relay.trust_with(version)).await;
                greet(&mut client).await;
                let reply = client.log_in(LOGIN, PASSWORD).await;
                assert!(is_success(protocol, &reply), "{reply}");
                drop(client);
                let session = relay.log.sessions(1).await.remove(0);
                let tls = session["client_tls"].as_str().unwrap();
                assert!(tls.starts_with(name), "{tls}");
            });
        }
    }
}
