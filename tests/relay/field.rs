//! What applications, devices and probes really do before they log in: each session that ends there
//! has a reason in the log with its cure, and probes have none. The number in a test's name is that
//! of the case.

use authrelay::config::LogFormat;
use authrelay::sandbox::{LOGIN, PASSWORD, SHARED_MAILBOX};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};
use serde_json::Value;
use tracing::Level;

use crate::client::{Client, END, base64, plain};
use crate::clock::still;
use crate::stage::{Relay, Setup, is_success};

/// A relay whose log has probes too.
pub async fn wide_awake(setup: Setup) -> Relay {
    setup.log(LogFormat::Json, Level::DEBUG).start().await
}

pub fn last_fault(relay: &Relay) -> Value {
    relay.log.named("fault").pop().expect("a fault in the log")
}

/// `key` of the only fault contains all of `texts`.
pub fn assert_fault(relay: &Relay, kind: &str, texts: &[&str]) {
    assert_eq!(relay.log.faults(), [kind]);
    assert_last_fault(relay, texts);
}

pub fn assert_last_fault(relay: &Relay, texts: &[&str]) {
    let fault = last_fault(relay);
    let said = format!("{} {}", fault["detail"], fault["remedy"]);
    for text in texts {
        assert!(said.contains(text), "{text:?} is not in {said}");
    }
    assert!(
        fault["client"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{fault}"
    );
}

pub async fn assert_probe(relay: &Relay, client: Client) {
    drop(client);
    let session = relay.log.sessions(1).await.remove(0);
    assert_eq!(session["outcome"], "probe", "{session}");
    assert_eq!(session["level"], "DEBUG", "{session}");
    let protocol = session["protocol"].as_str().unwrap();
    let counted =
        format!("authrelay_sessions_total{{protocol=\"{protocol}\",outcome=\"probe\"}} 1\n");
    let metrics = relay.control.current().active().state.metrics.text();
    assert!(metrics.contains(&counted), "{metrics}");
    relay.assert_untouched("a probe");
}

#[test]
fn f01_backslashes_in_names_and_passwords() {
    for (line, password) in [
        (r#"a LOGIN CONTOSO\tickets "p\w""#, r"p\w"),
        (r#"a LOGIN "CONTOSO\tickets" "p\w""#, r"p\w"),
        (r#"a LOGIN "CONTOSO\\tickets" "p\\w""#, r"p\w"),
        (r#"a LOGIN "CONTOSO\tickets" {3+}"#, r"p\w"),
        (r#"a LOGIN CONTOSO\tickets "q\"\\w""#, r#"q"\w"#),
    ] {
        still(|_| async move {
            let account = format!(
                "  - login: CONTOSO\\tickets\n    registration: sandbox\n    mailbox: {LOGIN}\n    password: '{password}'\n"
            );
            let relay = Setup::default().append(&account).start().await;
            let mut client = relay.connect(Imap).await;
            client.send(format!("{line}\r\n")).await;
            if line.ends_with("+}") {
                client.send(format!("{password}\r\n")).await;
            }
            let reply = client.reply().await;
            assert!(is_success(Imap, &reply), "{line}: {reply}");
        });
    }
}

#[test]
fn f01_a_login_that_cannot_be_parsed_is_reported() {
    for (protocol, line, says) in [
        (Imap, "a LOGIN john smith secret", "a BAD "),
        (Imap, "a LOGIN tickets", "a BAD "),
        (Imap, "a LOGIN \"tickets secret", "a BAD "),
        (Imap, "a AUTHENTICATE", "a BAD "),
        (Pop3, "AUTH PLAIN a b", "-ERR "),
        (Smtp, "AUTH PLAIN a b", "501 5.5.4 "),
        (Smtp, "AUTH", "501 5.5.4 "),
    ] {
        still(|_| async move {
            let relay = wide_awake(Setup::default()).await;
            let mut client = relay.connect(protocol).await;
            let reply = client.ask(&format!("{line}\r\n"), "\r\n").await;
            assert!(reply.starts_with(says), "{line}: {reply}");
            client.assert_goes_on().await;
            assert_fault(&relay, "client: syntax", &["quotes"]);
            assert!(!last_fault(&relay).to_string().contains("secret"));
            assert_probe(&relay, client).await;
        });
    }
}

fn wants_tls(protocol: Protocol) -> (&'static str, &'static str, &'static str, &'static str) {
    match protocol {
        Imap => ("a STARTTLS\r\n", "a BAD ", "b CAPABILITY\r\n", "b OK"),
        Pop3 => ("STLS\r\n", "-ERR ", "CAPA\r\n", "\r\n.\r\n"),
        Smtp => ("STARTTLS\r\n", "502 5.5.1 ", "EHLO device\r\n", "250 "),
    }
}

#[test]
fn f02_starttls_where_there_is_none_is_reported() {
    for protocol in Protocol::ALL {
        still(|_| async move {
            let relay = wide_awake(Setup::default()).await;
            let mut client = relay.connect(protocol).await;
            let (command, says, ..) = wants_tls(protocol);
            let reply = client.ask(command, "\r\n").await;
            assert!(reply.starts_with(says), "{reply}");
            client.assert_goes_on().await;
            assert_fault(&relay, "client: starttls", &["starttls", "application"]);
            assert_probe(&relay, client).await;
            assert_eq!(relay.log.faults().len(), 1, "one reason is enough");
        });
    }
}

#[test]
fn f02_who_sees_no_starttls_and_leaves_is_reported() {
    for protocol in Protocol::ALL {
        still(|_| async move {
            let relay = wide_awake(Setup::default()).await;
            let mut client = relay.dial(protocol).await;
            client.line().await;
            let (_, _, command, end) = wants_tls(protocol);
            client.ask(command, end).await;
            assert_probe(&relay, client).await;
            assert_fault(&relay, "client: starttls", &["saw no TLS", "starttls"]);
        });
    }
}

#[test]
fn f02_tls_at_once_where_there_is_none_is_reported() {
    // A ClientHello and an SSL 2.0 hello, with and without a line feed in them.
    let hellos: [&[u8]; 3] = [
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
        b"\x16\x03\x03\x00\x05\x01\x00\x00\n\x03\r\n",
        b"\x80\x2e\x01\x03\x01\x00\x15",
    ];
    for (protocol, reply) in [(Imap, "* BAD "), (Pop3, "-ERR "), (Smtp, "502 5.5.1 ")] {
        for hello in hellos {
            for (tls, remedy) in [
                (None, "turn TLS off"),
                (Some("starttls"), "choose STARTTLS"),
            ] {
                still(|_| async move {
                    let setup = tls.map_or_else(Setup::default, |mode| Setup::default().tls(mode));
                    let relay = wide_awake(setup).await;
                    let mut client = relay.dial(protocol).await;
                    client.line().await;
                    client.send(hello).await;
                    let rest = client.rest().await;
                    assert!(
                        rest.starts_with(reply) && rest.matches('\n').count() == 1,
                        "{rest}"
                    );
                    assert_fault(&relay, "client: starttls", &["starts with TLS", remedy]);
                    assert_probe(&relay, client).await;
                });
            }
        }
    }
}

/// A client that sends a login, or mail without one, has not left for want of TLS.
#[test]
fn f02_who_goes_on_without_tls_has_no_fault() {
    for (protocol, list, end, then) in [
        (
            Imap,
            "b CAPABILITY\r\n",
            "b OK Done.\r\n",
            "c SELECT INBOX\r\n",
        ),
        (
            Imap,
            "b CAPABILITY\r\n",
            "b OK Done.\r\n",
            "c AUTHENTICATE PLAIN\r\n",
        ),
        (Pop3, "CAPA\r\n", "\r\n.\r\n", "USER device\r\n"),
        (Pop3, "CAPA\r\n", "\r\n.\r\n", "STAT\r\n"),
        (
            Smtp,
            "EHLO device\r\n",
            "AUTH PLAIN LOGIN\r\n",
            "MAIL FROM:<a@b.test>\r\n",
        ),
        (
            Smtp,
            "EHLO device\r\n",
            "AUTH PLAIN LOGIN\r\n",
            "AUTH LOGIN\r\n",
        ),
    ] {
        still(|_| async move {
            let relay = wide_awake(Setup::default()).await;
            let mut client = relay.dial(protocol).await;
            client.line().await;
            client.ask(list, end).await;
            client.ask(then, "\r\n").await;
            assert_probe(&relay, client).await;
            assert_eq!(relay.log.faults(), [""; 0], "{then}");
        });
    }
}

#[test]
fn f02_a_goodbye_or_a_listener_with_starttls_is_no_fault() {
    for protocol in Protocol::ALL {
        let goodbye = if protocol == Imap {
            "c LOGOUT\r\n"
        } else {
            "QUIT\r\n"
        };
        for (setup, goodbye) in [
            (Setup::default(), goodbye),
            (Setup::default().tls("starttls"), ""),
        ] {
            still(|_| async move {
                let relay = wide_awake(setup).await;
                let mut client = relay.dial(protocol).await;
                client.line().await;
                let (_, _, command, end) = wants_tls(protocol);
                client.ask(command, end).await;
                client.send(goodbye).await;
                assert_probe(&relay, client).await;
                assert_eq!(relay.log.faults(), [""; 0]);
            });
        }
    }
}

#[test]
fn f03_a_proxy_header_that_is_not_expected_ends_the_connection() {
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\x1f\x90\0\x19";
    let headers: [&[u8]; 4] = [
        b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\n",
        b"PROXY UNKNOWN\r\n",
        b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 25\r\nEHLO x\r\n",
        v2,
    ];
    for protocol in Protocol::ALL {
        for header in headers {
            for tls in [None, Some("starttls"), Some("implicit")] {
                still(|_| async move {
                    let setup = tls.map_or_else(Setup::default, |mode| Setup::default().tls(mode));
                    let relay = wide_awake(setup).await;
                    let mut client = relay.dial(protocol).await;
                    if tls != Some("implicit") {
                        client.line().await;
                    }
                    client.send(header).await;
                    if tls != Some("implicit") {
                        assert_eq!(client.until("never").await, END);
                    } else {
                        client.rest_bytes().await;
                    }
                    assert_probe(&relay, client).await;
                    assert_fault(&relay, "client: proxy_header", &["proxy_protocol"]);
                });
            }
        }
    }
}

#[test]
fn f04_a_response_in_two_lines_is_explained() {
    let password = "a password that is so long that encoders wrap it at the seventy-sixth column of their lines";
    for (protocol, begin, refused, unknown) in [
        (Imap, "a AUTHENTICATE PLAIN", "a NO ", "* BAD "),
        (Pop3, "AUTH PLAIN", "-ERR [AUTH] ", "-ERR "),
        (Smtp, "AUTH PLAIN", "535 5.7.8 ", "500 "),
    ] {
        still(|_| async move {
            let relay = Setup::default()
                .replace(&format!("\"{PASSWORD}\""), &format!("\"{password}\""))
                .start()
                .await;
            let mut client = relay.connect(protocol).await;
            let response = plain(LOGIN, password);
            let (first, rest) = response.split_at(76);
            client.send(format!("{begin} {first}\r\n{rest}\r\n")).await;
            assert!(client.reply().await.starts_with(refused));
            assert!(client.reply().await.starts_with(unknown));
            client.assert_goes_on().await;
            assert_eq!(relay.log.faults(), ["client: credentials", "client: sasl"]);
            let faults = relay.log.named("fault");
            assert!(
                faults[0]["detail"]
                    .as_str()
                    .unwrap()
                    .contains("beginning of the right one")
            );
            assert!(
                faults[1]["detail"]
                    .as_str()
                    .unwrap()
                    .contains("rest of its base64")
            );
        });
    }
}

#[test]
fn f05_what_is_odd_in_credentials_is_said() {
    for (message, kind, texts) in [
        (
            format!("\0{LOGIN} \0{PASSWORD}"),
            "client: credentials",
            ["white space", "one has"],
        ),
        (
            format!("\0 {LOGIN}\0{PASSWORD}"),
            "client: credentials",
            ["white space", "one has"],
        ),
        (
            format!("\0{LOGIN}\n\0{PASSWORD}"),
            "client: credentials",
            ["line feed", "an account has this login"],
        ),
        (
            format!("\0nobody\n\0{PASSWORD}"),
            "client: credentials",
            ["line feed", "printf"],
        ),
        (
            format!("\0{LOGIN}\0{PASSWORD}\n"),
            "client: credentials",
            ["line feed", "printf"],
        ),
        (
            format!("\0{LOGIN}\0{PASSWORD} "),
            "client: credentials",
            ["white space", "password"],
        ),
        (
            format!("\0{LOGIN}\0{PASSWORD}\0"),
            "client: credentials",
            ["NUL", "password"],
        ),
        (
            format!("\0\0{LOGIN}\0{PASSWORD}"),
            "client: credentials",
            ["NUL", "login"],
        ),
        (
            format!("\0\"{LOGIN}\"\0{PASSWORD}"),
            "client: credentials",
            ["quotes", "one has"],
        ),
        (
            format!("\0\u{feff}{LOGIN}\0{PASSWORD}"),
            "client: credentials",
            ["invisible", "one has"],
        ),
        (
            format!("\0{LOGIN}\0\"{PASSWORD}\""),
            "client: credentials",
            ["quotes", "password"],
        ),
        (
            format!("{LOGIN}\0{PASSWORD}"),
            "client: sasl",
            ["1 NUL", "not 2"],
        ),
    ] {
        still(|_| async move {
            let relay = Relay::start().await;
            let mut client = relay.connect(Smtp).await;
            let reply = client
                .ask(&format!("AUTH PLAIN {}\r\n", base64(&message)), "\r\n")
                .await;
            let says = if kind == "client: sasl" {
                "501 5.5.2 "
            } else {
                "535 5.7.8 "
            };
            assert!(reply.starts_with(says), "{message:?}: {reply}");
            assert_fault(&relay, kind, &texts);
            relay.assert_untouched(&message);
        });
    }
}

#[test]
fn f04_a_login_in_two_lines_is_explained() {
    for (protocol, begin) in [
        (Imap, "a AUTHENTICATE LOGIN\r\n"),
        (Pop3, "AUTH LOGIN\r\n"),
        (Smtp, "AUTH LOGIN\r\n"),
    ] {
        still(|_| async move {
            let relay = Relay::start().await;
            let mut client = relay.connect(protocol).await;
            let name = base64("a-mailbox-with-a-long-name-before-its-at-sign@contoso.test.example");
            let (first, rest) = name.split_at(76);
            let password = base64(PASSWORD);
            client
                .send(format!("{begin}{first}\r\n{rest}\r\n{password}\r\n"))
                .await;
            // Two challenges, the refusal, and the reply to the password.
            for _ in 0..4 {
                client.reply().await;
            }
            client.assert_goes_on().await;
            assert_eq!(relay.log.faults(), ["client: credentials", "client: sasl"]);
            assert_last_fault(&relay, &["rest of its base64", "login"]);
        });
    }
}

#[test]
fn f05_a_password_that_is_not_utf8_is_refused_with_a_reason() {
    still(|_| async move {
        let relay = Relay::start().await;
        let mut client = relay.connect(Imap).await;
        let response = base64([format!("\0{LOGIN}\0").as_bytes(), b"p\xe4ssword"].concat());
        let reply = client
            .ask(&format!("a AUTHENTICATE PLAIN {response}\r\n"), "\r\n")
            .await;
        assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
        assert_fault(&relay, "client: credentials", &["password", "not UTF-8"]);
    });
}

#[test]
fn f06_authorization_identities_of_the_same_mailbox_are_taken() {
    let account = format!(
        "  - login: scanner\n    registration: sandbox\n    mailbox: {SHARED_MAILBOX}\n    password: {PASSWORD}\n"
    );
    for (authorization, taken) in [
        ("scanner", true),
        ("SCANNER", true),
        (SHARED_MAILBOX, true),
        (&SHARED_MAILBOX.to_uppercase(), true),
        (LOGIN, false),
        ("somebody", false),
    ] {
        let account = account.clone();
        let authorization = authorization.to_owned();
        still(|_| async move {
            let relay = Setup::default().append(&account).start().await;
            let mut client = relay.connect(Imap).await;
            let response = base64(format!("{authorization}\0scanner\0{PASSWORD}"));
            let reply = client
                .ask(&format!("a AUTHENTICATE PLAIN {response}\r\n"), "\r\n")
                .await;
            assert_eq!(is_success(Imap, &reply), taken, "{authorization}: {reply}");
            if !taken {
                assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
                assert_fault(&relay, "client: credentials", &["authorization identity"]);
                relay.assert_untouched(&authorization);
            }
        });
    }
}

#[test]
fn f07_probes_are_no_sessions() {
    for (protocol, says) in [
        (Imap, ""),
        (Imap, "a LOGOUT\r\n"),
        (Imap, "GET / HTTP/1.1\r\nHost: relay\r\n\r\n"),
        (Pop3, "QUIT\r\n"),
        (Pop3, "GET / HTTP/1.0\r\n\r\n"),
        (Smtp, "EHLO localhost\r\nQUIT\r\n"),
        (Smtp, "HELO localhost\r\n"),
        (Smtp, "GET / HTTP/1.1\r\n\r\n"),
        (Imap, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (Pop3, "CONNECT relay:25 HTTP/1.1\r\n\r\n"),
        (Smtp, "GET /\r\n"),
    ] {
        for tls in [None, Some("implicit")] {
            still(|_| async move {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("audit.jsonl");
                let audit = &format!("audit: {{path: {}}}\n", path.display());
                let setup = Setup::default().append(audit);
                let setup = tls.map_or(setup, |mode| Setup::default().append(audit).tls(mode));
                let relay = wide_awake(setup).await;
                let mut client = relay.dial(protocol).await;
                if tls.is_none() {
                    client.line().await;
                }
                let is_http = says.contains(" HTTP/") || says.starts_with("GET") || says.is_empty();
                if tls.is_none() || is_http {
                    client.send(says).await;
                    client.half_close().await;
                    client.rest_bytes().await;
                    relay.log.sessions(1).await;
                    assert_eq!(relay.log.faults(), [""; 0], "{says:?}");
                    let levels = relay.log.records();
                    assert!(
                        levels.iter().all(|record| record["level"] != "WARN"),
                        "{levels:?}"
                    );
                }
                drop(client);
                relay.end().await;
                assert_eq!(std::fs::read_to_string(path).unwrap(), "");
            });
        }
    }
}

#[test]
fn f08_an_id_in_its_bounds_is_taken_before_the_login() {
    let field = |number: usize| format!("\"{number:030}\" \"{}\"", "x".repeat(1024));
    let fields: Vec<_> = (0..30).map(field).collect();
    let id = format!("a ID ({})\r\n", fields.join(" "));
    assert!(id.len() > 31_000);
    still(|_| async move {
        let relay = Relay::start().await;
        let mut client = relay.connect(Imap).await;
        client.send(&id).await;
        assert_eq!(client.line().await, "* ID (\"name\" \"authrelay\")\r\n");
        assert_eq!(client.line().await, "a OK Done.\r\n");
        // In literals, too.
        let reply = client.ask("b ID (\"name\" {1024}\r\n", "\r\n").await;
        assert!(reply.starts_with("+ "), "{reply}");
        client
            .send(format!("{} \"os\" NIL)\r\n", "x".repeat(1024)))
            .await;
        assert!(client.until("b OK").await.ends_with("b OK"));
        client.line().await;
        assert!(is_success(Imap, &client.log_in(LOGIN, PASSWORD).await));
        // Beyond it, and of other commands, the cap holds.
        let mut client = relay.connect(Imap).await;
        client
            .send(format!("a ID (\"name\" \"{}", "x".repeat(34 * 1024)))
            .await;
        assert!(client.line().await.starts_with("a BAD "));
        let mut client = relay.connect(Imap).await;
        client
            .send(format!("a XID (\"name\" \"{}", "x".repeat(16 * 1024)))
            .await;
        assert!(client.line().await.starts_with("a BAD "));
    });
}

#[test]
fn f09_a_provider_of_ones_own_shows_what_pop3_clients_need() {
    still(|_| async move {
        let relay = Setup::default()
            .replace("provider: microsoft365}", "provider: own}")
            .append("providers2: {}\n".trim_start_matches("providers2: {}\n"))
            .replace("  microsoft365:", "  own: {imap: {host: i.test, port: 993, tls: implicit}, pop3: {host: p.test, port: 995, tls: implicit}, smtp: {host: s.test, port: 587, tls: starttls}, token_url: 'https://t.test/'}\n  microsoft365:")
            .start()
            .await;
        let mut client = relay.connect(Pop3).await;
        let list = client.ask("CAPA\r\n", "\r\n.\r\n").await;
        for capability in ["UIDL", "TOP", "USER"] {
            assert!(list.contains(&format!("\r\n{capability}\r\n")), "{list}");
        }
    });
}

#[test]
fn f61_the_same_wrong_password_again_counts_once() {
    still(|_| async move {
        let relay = Setup::limits("lockout: {failures: 2}").start().await;
        for _ in 0..4 {
            let mut client = relay.connect(Imap).await;
            let response = plain(LOGIN, "stale");
            let reply = client
                .ask(&format!("a AUTHENTICATE PLAIN {response}\r\n"), "\r\n")
                .await;
            assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
            assert!(!is_success(Imap, &client.log_in(LOGIN, "stale").await));
        }
        let mut client = relay.connect(Imap).await;
        assert!(is_success(Imap, &client.log_in(LOGIN, PASSWORD).await));
    });
}
