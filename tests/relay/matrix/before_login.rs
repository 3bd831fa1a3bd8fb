//! The client's own faults before login: none of them reaches anybody.

use authrelay::config::LogFormat;
use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};

use tracing::Level;

use super::assert_end;
use crate::client::{base64, plain};
use crate::clock::still;
use crate::stage::{Relay, Setup, greet, is_success};

pub(super) const CREDENTIALS: &str = "client: credentials";
const SASL: &str = "client: sasl";

pub(super) struct Row {
    name: &'static str,
    pub protocol: Protocol,
    /// What is sent, and how what comes back begins.
    script: Vec<(String, &'static str)>,
    closes: bool,
    /// In the log.
    fault: Option<&'static str>,
}

pub(super) fn row(
    name: &'static str,
    protocol: Protocol,
    fault: Option<&'static str>,
    script: &[(&str, &'static str)],
) -> Row {
    let script = script
        .iter()
        .map(|(text, says)| ((*text).to_owned(), *says));
    Row {
        name,
        protocol,
        script: script.collect(),
        closes: fault == Some("client: too_long"),
        fault,
    }
}

impl Row {
    pub fn play(self, setup: Setup) -> String {
        still(|_| self.scene(setup))
    }

    async fn scene(self, setup: Setup) -> String {
        let name = format!("{} over {}", self.name, self.protocol);
        // Without credentials it is no session but at debug level.
        let relay = setup.log(LogFormat::Json, Level::DEBUG).start().await;
        let mut client = relay.connect(self.protocol).await;
        let mut reply = String::new();
        for (text, says) in &self.script {
            client.send(text).await;
            reply = client.reply().await;
            assert!(reply.starts_with(says), "{name}: {reply:?} is not {says:?}");
        }
        assert_end(&mut client, self.closes, &name).await;
        let faults: Vec<_> = self.fault.into_iter().collect();
        assert_eq!(relay.log.faults(), faults, "{name}");
        relay.assert_untouched(&name);
        drop(client);
        let session = relay.log.sessions(1).await.remove(0);
        let outcome = match self.fault {
            Some(CREDENTIALS) => "refused",
            _ => "probe",
        };
        assert_eq!(session["outcome"], outcome, "{name}: {session}");
        let by = if self.closes { "authrelay" } else { "client" };
        assert_eq!(session["closed_by"], by, "{name}: {session}");
        reply
    }
}

pub(super) const IMAP_NO: &str = "a NO [AUTHENTICATIONFAILED] ";

/// The same response of PLAIN over all three, in two steps.
pub(super) fn plain_over_all(
    name: &'static str,
    response: &str,
    fault: Option<&'static str>,
) -> [Row; 3] {
    let says = match fault {
        Some(CREDENTIALS) => [IMAP_NO, "-ERR [AUTH] ", "535 5.7.8 "],
        _ => ["a BAD ", "-ERR ", "501 5.5.2 "],
    };
    let response = format!("{response}\r\n");
    [
        row(
            name,
            Imap,
            fault,
            &[("a AUTHENTICATE PLAIN\r\n", "+ "), (&response, says[0])],
        ),
        row(
            name,
            Pop3,
            fault,
            &[("AUTH PLAIN\r\n", "+ "), (&response, says[1])],
        ),
        row(
            name,
            Smtp,
            fault,
            &[("AUTH PLAIN\r\n", "334 "), (&response, says[2])],
        ),
    ]
}

#[test]
fn broken_exchanges() {
    let fault = Some(SASL);
    let name64 = format!("{}\r\n", base64(LOGIN));
    let mut rows = Vec::new();
    for (name, response) in [
        ("cancelled", "*"),
        ("not base64", "????"),
        ("half a quantum", "dXNlcg=b"),
        ("no NUL", "dXNlcg=="),
        ("one NUL", "dXNlcgBwYXNz"),
        ("an empty line", ""),
    ] {
        rows.extend(plain_over_all(name, response, fault));
    }
    for response in ["*\r\n", "=?=\r\n"] {
        rows.push(row(
            "LOGIN broken at the name",
            Imap,
            fault,
            &[("a AUTHENTICATE LOGIN\r\n", "+ VXNl"), (response, "a BAD ")],
        ));
        rows.push(row(
            "LOGIN broken at the password",
            Imap,
            fault,
            &[
                ("a AUTHENTICATE LOGIN\r\n", "+ VXNl"),
                (&name64, "+ UGFz"),
                (response, "a BAD "),
            ],
        ));
        rows.push(row(
            "LOGIN broken at the name",
            Pop3,
            fault,
            &[("AUTH LOGIN\r\n", "+ VXNl"), (response, "-ERR ")],
        ));
        rows.push(row(
            "LOGIN broken at the password",
            Pop3,
            fault,
            &[
                ("AUTH LOGIN\r\n", "+ VXNl"),
                (&name64, "+ UGFz"),
                (response, "-ERR "),
            ],
        ));
        rows.push(row(
            "LOGIN broken at the name",
            Smtp,
            fault,
            &[("AUTH LOGIN\r\n", "334 VXNl"), (response, "501 5.5.2 ")],
        ));
        rows.push(row(
            "LOGIN broken at the password",
            Smtp,
            fault,
            &[
                ("AUTH LOGIN\r\n", "334 VXNl"),
                (&name64, "334 UGFz"),
                (response, "501 5.5.2 "),
            ],
        ));
    }
    for row in rows {
        row.play(Setup::default());
    }
}

/// Requirement 10: 16 KiB, for commands, literals and responses.
#[test]
fn lines_over_the_cap() {
    let fault = Some("client: too_long");
    // The cap is reached before the line's end: nothing more need be read for the verdict.
    let long = "x".repeat(16 * 1024);
    let base = "QUFB".repeat(4 * 1024);
    for row in [
        row(
            "command",
            Imap,
            fault,
            &[(&format!("a LOGIN {long}"), "a BAD ")],
        ),
        row(
            "command with its end",
            Imap,
            fault,
            &[(&format!("a LOGIN {long}\r\n"), "a BAD ")],
        ),
        row("no command", Imap, fault, &[(&long, "* BAD ")]),
        row(
            "announced literal",
            Imap,
            fault,
            &[("a LOGIN {16385}\r\n", "a BAD ")],
        ),
        row(
            "literal that waits for nobody",
            Imap,
            fault,
            &[("a LOGIN {99999999999+}\r\n", "a BAD ")],
        ),
        row(
            "literals together",
            Imap,
            fault,
            &[(
                &format!("a LOGIN {{8192+}}\r\n{} {{8192+}}\r\n", &long[..8192]),
                "a BAD ",
            )],
        ),
        row(
            "initial response",
            Imap,
            fault,
            &[(&format!("a AUTHENTICATE PLAIN {base}"), "a BAD ")],
        ),
        row(
            "response",
            Imap,
            fault,
            &[("a AUTHENTICATE PLAIN\r\n", "+ "), (&base, "a BAD ")],
        ),
        row(
            "command",
            Pop3,
            fault,
            &[(&format!("USER {long}"), "-ERR ")],
        ),
        row(
            "response",
            Pop3,
            fault,
            &[("AUTH PLAIN\r\n", "+ "), (&base, "-ERR ")],
        ),
        row(
            "command",
            Smtp,
            fault,
            &[(&format!("EHLO {long}"), "500 5.5.6 ")],
        ),
        row(
            "initial response",
            Smtp,
            fault,
            &[(&format!("AUTH PLAIN {base}"), "500 5.5.6 ")],
        ),
        row(
            "response",
            Smtp,
            fault,
            &[("AUTH PLAIN\r\n", "334 "), (&base, "500 5.5.6 ")],
        ),
        row(
            "password of LOGIN",
            Smtp,
            fault,
            &[("AUTH LOGIN dXNlcg==\r\n", "334 "), (&base, "500 5.5.6 ")],
        ),
    ] {
        row.play(Setup::default());
    }
}

#[test]
fn unknown_mechanisms() {
    let fault = Some("client: mechanism");
    for row in [
        row(
            "XOAUTH2",
            Imap,
            fault,
            &[("a AUTHENTICATE XOAUTH2 dXNlcg==\r\n", "a NO ")],
        ),
        row(
            "GSSAPI",
            Imap,
            fault,
            &[("a AUTHENTICATE GSSAPI\r\n", "a NO ")],
        ),
        row("CRAM-MD5", Pop3, fault, &[("AUTH CRAM-MD5\r\n", "-ERR ")]),
        row(
            "APOP",
            Pop3,
            fault,
            &[("APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n", "-ERR ")],
        ),
        row(
            "XOAUTH2",
            Pop3,
            fault,
            &[("AUTH XOAUTH2 dXNlcg==\r\n", "-ERR ")],
        ),
        row(
            "CRAM-MD5",
            Smtp,
            fault,
            &[("AUTH CRAM-MD5\r\n", "504 5.5.4 ")],
        ),
        row(
            "XOAUTH2",
            Smtp,
            fault,
            &[("AUTH xoauth2 dXNlcg==\r\n", "504 5.5.4 ")],
        ),
    ] {
        row.play(Setup::default());
    }
}

/// Requirement 6: nothing passes before login, not even what the upstream would refuse.
#[test]
fn r06_commands_before_login_never_pass() {
    let mut rows = Vec::new();
    for command in [
        "SELECT INBOX",
        "LIST \"\" *",
        "APPEND INBOX {3+}\r\nabc",
        "UID FETCH 1 BODY[]",
        "IDLE",
        "COMPRESS DEFLATE",
        "UNAUTHENTICATE",
        "XCLIENT ADDR=1.2.3.4",
        "GETQUOTAROOT INBOX",
        "ENABLE IMAP4rev2",
        "NONSENSE",
    ] {
        let line = format!("a {command}\r\n");
        rows.push(row("before login", Imap, None, &[(&line, "a BAD ")]));
    }
    for command in [
        "STAT",
        "LIST",
        "RETR 1",
        "DELE 1",
        "XCLIENT A=1",
        "NONSENSE",
        "",
    ] {
        rows.push(row(
            "before login",
            Pop3,
            None,
            &[(&format!("{command}\r\n"), "-ERR ")],
        ));
    }
    for command in [
        "MAIL FROM:<a@b.test>",
        "RCPT TO:<a@b.test>",
        "DATA",
        "BDAT 3 LAST",
        "VRFY a",
        "BURL x",
    ] {
        rows.push(row(
            "before login",
            Smtp,
            None,
            &[(&format!("{command}\r\n"), "530 5.7.0 ")],
        ));
    }
    for command in ["XCLIENT ADDR=1.2.3.4", "XFORWARD NAME=x", "NONSENSE", ""] {
        rows.push(row(
            "before login",
            Smtp,
            None,
            &[(&format!("{command}\r\n"), "500 5.5.1 ")],
        ));
    }
    for row in rows {
        row.play(Setup::default());
    }
}

/// A listener that wants TLS takes no credentials before it, and nothing else.
#[test]
fn credentials_before_tls() {
    let fault = Some("client: tls_required");
    let plain = plain(LOGIN, PASSWORD);
    for row in [
        row(
            "LOGIN",
            Imap,
            fault,
            &[(
                &format!("a LOGIN {LOGIN} {PASSWORD}\r\n"),
                "a NO [PRIVACYREQUIRED] ",
            )],
        ),
        row(
            "PLAIN",
            Imap,
            fault,
            &[("a AUTHENTICATE PLAIN\r\n", "a NO [PRIVACYREQUIRED] ")],
        ),
        row(
            "PLAIN at once",
            Imap,
            fault,
            &[(
                &format!("a AUTHENTICATE PLAIN {plain}\r\n"),
                "a NO [PRIVACYREQUIRED] ",
            )],
        ),
        row(
            "USER",
            Pop3,
            fault,
            &[(&format!("USER {LOGIN}\r\n"), "-ERR ")],
        ),
        row(
            "PASS",
            Pop3,
            fault,
            &[(&format!("PASS {PASSWORD}\r\n"), "-ERR ")],
        ),
        row(
            "AUTH",
            Pop3,
            fault,
            &[(&format!("AUTH PLAIN {plain}\r\n"), "-ERR ")],
        ),
        row(
            "AUTH",
            Smtp,
            fault,
            &[(&format!("AUTH PLAIN {plain}\r\n"), "538 5.7.11 ")],
        ),
        row(
            "AUTH LOGIN",
            Smtp,
            fault,
            &[("AUTH LOGIN\r\n", "538 5.7.11 ")],
        ),
        row(
            "MAIL",
            Smtp,
            None,
            &[("MAIL FROM:<a@b.test>\r\n", "530 5.7.0 ")],
        ),
        row("a command", Imap, None, &[("a SELECT INBOX\r\n", "a BAD ")]),
    ] {
        row.play(Setup::default().tls("starttls"));
    }
    // Behind TLS they are taken; and `require_tls: false` takes them in clear.
    for protocol in Protocol::ALL {
        still(|_| async {
            let relay = Setup::default().tls("starttls").start().await;
            let mut client = upgraded(&relay, protocol).await;
            let reply = client.log_in(LOGIN, PASSWORD).await;
            assert!(is_success(protocol, &reply), "{reply}");
        });
        still(|_| async {
            let setup = Setup::default().tls("starttls");
            let setup = setup.replace("tls: {mode", "require_tls: false, tls: {mode");
            setup.start().await.session(protocol).await;
        });
    }
}

/// A client that has used STARTTLS.
async fn upgraded(relay: &Relay, protocol: Protocol) -> crate::client::Client {
    let mut client = relay.dial(protocol).await;
    greet(&mut client).await;
    let (command, answer) = match protocol {
        Imap => ("s STARTTLS\r\n", "s OK "),
        Pop3 => ("STLS\r\n", "+OK "),
        Smtp => ("STARTTLS\r\n", "220 "),
    };
    let said = client.ask(command, "\r\n").await;
    assert!(said.starts_with(answer), "{said}");
    let mut client = client.encrypt(relay.trust.clone()).await;
    if protocol == Smtp {
        client.send("EHLO client.test\r\n").await;
        client.reply().await;
    }
    client
}
