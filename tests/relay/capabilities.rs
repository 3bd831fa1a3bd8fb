//! What a listener promises before login: the preset's until the upstream was seen, then the
//! upstream's own, and never what authrelay cannot keep.

use authrelay::sandbox::{Fault, MAILBOX};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};

use crate::clock::still;
use crate::stage::{Relay, Setup, greet};

/// What a client is shown, entry by entry.
async fn shown(relay: &Relay, protocol: Protocol) -> Vec<String> {
    let mut client = relay.dial(protocol).await;
    let greeting = client.line().await;
    match protocol {
        Imap => {
            let line = client.ask("a CAPABILITY\r\n", "\r\n").await;
            let list = line.trim_end().strip_prefix("* CAPABILITY ").unwrap();
            assert_eq!(
                greeting,
                format!("* OK [CAPABILITY {list}] authrelay ready.\r\n")
            );
            assert_eq!(client.line().await, "a OK Done.\r\n");
            list.split(' ').map(str::to_owned).collect()
        }
        Pop3 => {
            let list = client.ask("CAPA\r\n", "\r\n.\r\n").await;
            let lines = list.lines().skip(1).filter(|line| *line != ".");
            lines.map(str::to_owned).collect()
        }
        Smtp => {
            client.send("EHLO client.test\r\n").await;
            let reply = client.reply().await;
            let lines = reply.lines().skip(1).map(|line| line[4..].to_owned());
            lines.collect()
        }
    }
}

const EXCHANGE_IMAP: &[&str] = &[
    "IMAP4rev1",
    "IMAP4",
    "SASL-IR",
    "UIDPLUS",
    "MOVE",
    "ID",
    "UNSELECT",
    "CHILDREN",
    "IDLE",
    "NAMESPACE",
    "LITERAL+",
    "AUTH=PLAIN",
    "AUTH=LOGIN",
];
const EXCHANGE_POP3: &[&str] = &["TOP", "UIDL", "USER", "SASL PLAIN LOGIN"];
const EXCHANGE_SMTP: &[&str] = &[
    "SIZE 157286400",
    "PIPELINING",
    "DSN",
    "ENHANCEDSTATUSCODES",
    "8BITMIME",
    "BINARYMIME",
    "CHUNKING",
    "SMTPUTF8",
    "AUTH PLAIN LOGIN",
];

fn exchange(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Imap => EXCHANGE_IMAP,
        Pop3 => EXCHANGE_POP3,
        Smtp => EXCHANGE_SMTP,
    }
}

/// A provider of which nothing is known: little is promised until the first login.
fn unknown_provider() -> Setup {
    Setup::default()
        .replace("microsoft365", "somebody")
        .replace(
            "    grant: client_credentials",
            "    scope: [https://outlook.office365.com/.default]\n    grant: client_credentials",
        )
}

#[test]
fn the_preset_s_before_the_first_login() {
    for protocol in Protocol::ALL {
        still(|_| async move {
            let relay = Relay::start().await;
            assert_eq!(shown(&relay, protocol).await, exchange(protocol));
            relay.assert_untouched("capabilities");
        });
        still(|_| async move {
            let relay = unknown_provider().start().await;
            let little: &[&str] = match protocol {
                Imap => &["IMAP4rev1", "SASL-IR", "AUTH=PLAIN", "AUTH=LOGIN"],
                Pop3 => EXCHANGE_POP3,
                Smtp => &["AUTH PLAIN LOGIN"],
            };
            assert_eq!(shown(&relay, protocol).await, little);
        });
    }
}

#[test]
fn the_upstream_s_own_after_the_first_login() {
    for protocol in Protocol::ALL {
        still(|_| async move {
            let relay = unknown_provider().start().await;
            relay.session(protocol).await;
            let shown = shown(&relay, protocol).await;
            let (mut shown, mut expected) = (shown.clone(), exchange(protocol).to_vec());
            shown.sort();
            expected.sort_unstable();
            assert_eq!(shown, expected);
            // What one protocol taught says nothing of the others.
            assert_eq!(relay.sandbox.seen().connections.total(), 1);
        });
    }
}

/// Requirement 12: what would not work is not shown, whatever the upstream lists.
#[test]
fn r12_nothing_is_promised_that_cannot_be_kept() {
    for protocol in Protocol::ALL {
        for fault in [None, Some(Fault::Frontend2026)] {
            still(|_| async move {
                let relay = Setup::default().start().await;
                relay.sandbox.set_fault(fault);
                relay.session(protocol).await;
                for entry in shown(&relay, protocol).await {
                    let word = entry.to_ascii_uppercase();
                    for never in [
                        "COMPRESS",
                        "XCLIENT",
                        "UNAUTHENTICATE",
                        "STARTTLS",
                        "STLS",
                        "LOGINDISABLED",
                        "XOAUTH2",
                        "OAUTHBEARER",
                        "BACKENDAUTHENTICATE",
                    ] {
                        assert!(!word.contains(never), "{entry}");
                    }
                }
            });
        }
        still(|_| async move {
            let relay = Setup::default().tls("starttls").start().await;
            let before = shown(&relay, protocol).await;
            let (offers, withholds): (&str, &[&str]) = match protocol {
                Imap => ("STARTTLS", &["AUTH=PLAIN", "AUTH=LOGIN"]),
                Pop3 => ("STLS", &["USER", "SASL PLAIN LOGIN"]),
                Smtp => ("STARTTLS", &["AUTH PLAIN LOGIN"]),
            };
            assert!(before.contains(&offers.to_owned()), "{before:?}");
            for entry in withholds {
                assert!(!before.contains(&(*entry).to_owned()), "{before:?}");
            }
            let disabled = before.contains(&"LOGINDISABLED".to_owned());
            assert_eq!(disabled, protocol == Imap);
        });
    }
}

/// Under TLS, STARTTLS is no longer there to be promised.
#[test]
fn r12_starttls_is_not_promised_twice() {
    for protocol in Protocol::ALL {
        still(|_| async move {
            let relay = Setup::default().tls("implicit").start().await;
            let client = relay.dial(protocol).await;
            let mut client = client.encrypt(relay.trust.clone()).await;
            greet(&mut client).await;
            let (command, end) = match protocol {
                Imap => ("a CAPABILITY\r\n", "a OK Done.\r\n"),
                Pop3 => ("CAPA\r\n", "\r\n.\r\n"),
                Smtp => ("EHLO x\r\n", "AUTH PLAIN LOGIN\r\n"),
            };
            let list = client.ask(command, end).await;
            assert!(
                !list.contains("STARTTLS") && !list.contains("STLS"),
                "{list}"
            );
        });
    }
}

/// BDAT (RFC 3030), with a binary message in two chunks.
#[test]
fn chunks_pass_unchanged() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut client = relay.session(Smtp).await;
        let first = b"Subject: chunks\r\n\r\n.\r\n\x00\xff\nno end";
        let second = b"\r\n.\r\nQUIT\r\n";
        client
            .ask(
                "MAIL FROM:<tickets@contoso.test> BODY=BINARYMIME SIZE=60\r\nRCPT TO:<x@y.test>\r\n",
                "250 2.1.5 Recipient OK\r\n",
            )
            .await;
        client.send(format!("BDAT {}\r\n", first.len())).await;
        client.send(first).await;
        assert!(
            client
                .line()
                .await
                .starts_with("250 2.6.0 CHUNK received OK")
        );
        client.send(format!("BDAT {} LAST\r\n", second.len())).await;
        client.send(second).await;
        assert!(client.line().await.starts_with("250 2.0.0 OK <"));
        assert_eq!(client.ask("NOOP\r\n", "\r\n").await, "250 2.0.0 OK\r\n");
        let stored = relay.sandbox.messages(MAILBOX).remove(3);
        assert_eq!(stored, [first.as_slice(), second].concat());
    });
}

/// RFC 2920: everything at once, credentials included, and the replies in their order.
#[test]
fn a_pipelined_transaction_passes_unchanged() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut client = relay.connect(Smtp).await;
        let auth = crate::client::plain(authrelay::sandbox::LOGIN, authrelay::sandbox::PASSWORD);
        let one = "MAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<a@y.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n";
        client
            .send(format!("AUTH PLAIN {auth}\r\nEHLO again\r\n{one}"))
            .await;
        let replies = client.until("<CRLF>.<CRLF>\r\n").await;
        let mut codes: Vec<_> = replies.lines().map(|line| &line[..4]).collect();
        codes.retain(|code| *code != "250-");
        assert_eq!(codes, ["235 ", "250 ", "250 ", "250 ", "250 ", "354 "]);
        client
            .send(format!("Subject: one\r\n\r\n1\r\n.\r\n{one}"))
            .await;
        assert!(client.line().await.starts_with("250 2.0.0 OK <"));
        client.until("<CRLF>.<CRLF>\r\n").await;
        client.send("Subject: two\r\n\r\n2\r\n.\r\nQUIT\r\n").await;
        let last = client.rest().await;
        assert!(last.starts_with("250 2.0.0 OK <"), "{last}");
        assert!(last.ends_with("221 2.0.0 Service closing transmission channel\r\n"));
        let stored = relay.sandbox.messages(MAILBOX);
        assert_eq!(
            stored[3..],
            ["Subject: one\r\n\r\n1\r\n", "Subject: two\r\n\r\n2\r\n"]
        );
    });
}

/// IMAP commands behind LOGIN in one packet are answered by the mail service, each once.
#[test]
fn commands_behind_the_credentials_are_delivered_once() {
    still(|_| async {
        let relay = Relay::start().await;
        let (login, password) = (authrelay::sandbox::LOGIN, authrelay::sandbox::PASSWORD);
        let mut client = relay.connect(Imap).await;
        client
            .send(format!(
                "a LOGIN {login} {password}\r\nb NOOP\r\nc LOGOUT\r\n"
            ))
            .await;
        assert_eq!(
            client.rest().await,
            "a OK AUTHENTICATE completed.\r\nb OK NOOP completed.\r\n\
             * BYE Microsoft Exchange Server IMAP4 server signing off.\r\nc OK LOGOUT completed.\r\n"
        );
        let mut client = relay.connect(Pop3).await;
        client
            .send(format!(
                "USER {login}\r\nPASS {password}\r\nNOOP\r\nQUIT\r\n"
            ))
            .await;
        assert_eq!(
            client.rest().await,
            "+OK Send the password.\r\n+OK User successfully authenticated.\r\n+OK\r\n\
             +OK Microsoft Exchange Server 2016 POP3 server signing off.\r\n"
        );
        let seen = relay.sandbox.seen();
        assert_eq!(seen.imap.iter().filter(|line| *line == "b NOOP").count(), 1);
        assert_eq!(seen.pop3.iter().filter(|line| *line == "NOOP").count(), 1);
    });
}

/// 20 MB each way, octet by octet.
#[test]
fn large_messages_pass_unchanged() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut message = String::from("Subject: large\r\n\r\n");
        for line in 0..400_000 {
            message.push_str(&format!(".{line:040} of many\r\n"));
        }
        assert!(message.len() > 20_000_000);
        let mut client = relay.session(Smtp).await;
        client
            .ask(
                "MAIL FROM:<tickets@contoso.test>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n",
                "<CRLF>.<CRLF>\r\n",
            )
            .await;
        let stuffed = message.replace("\r\n.", "\r\n..");
        client.send(&stuffed).await;
        client.send(".\r\n").await;
        assert!(client.line().await.starts_with("250 2.0.0 OK <"));
        assert!(relay.sandbox.messages(MAILBOX)[3] == message);

        let mut client = relay.session(Imap).await;
        client
            .ask("b SELECT INBOX\r\n", "SELECT completed.\r\n")
            .await;
        client.send("c FETCH 4 BODY.PEEK[]\r\n").await;
        let head = client.line().await;
        assert_eq!(head, format!("* 4 FETCH (BODY[] {{{}}}\r\n", message.len()));
        assert!(client.exactly(message.len()).await == message.as_bytes());
        assert_eq!(client.until("c OK").await, ")\r\nc OK");

        let mut client = relay.session(Pop3).await;
        assert_eq!(client.ask("RETR 4\r\n", "\r\n").await, "+OK\r\n");
        assert!(client.exactly(stuffed.len()).await == stuffed.as_bytes());
        assert_eq!(client.line().await, ".\r\n");
        drop(client);
        let octets = stuffed.len() as u64;
        let sessions = relay.log.sessions(1).await;
        assert!(
            sessions[0]["bytes_up"]
                .as_u64()
                .unwrap()
                .max(sessions[0]["bytes_down"].as_u64().unwrap())
                > octets
        );
    });
}
