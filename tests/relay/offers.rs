//! What old and odd clients offer in TLS: server names that are no host names, and offers that cannot
//! be used.

use std::process::Stdio;

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::{self, Imap, Pop3, Smtp};
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::clock::{patient, still};
use crate::field::{assert_fault, assert_probe, last_fault, wide_awake};
use crate::stage::{Relay, Setup, greet, is_success};

/// `openssl s_client`, whose standard input and output are the connection.
pub fn openssl(relay: &Relay, protocol: Protocol, options: &[&str]) -> (Client, Child) {
    let mut child = Command::new("openssl")
        .arg("s_client")
        .args(["-connect", &relay.address(protocol).to_string()])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let input = child.stdin.take().unwrap();
    (
        Client::from_socket(protocol, tokio::io::join(output, input)),
        child,
    )
}

/// Logs in and gets an answer of the mailbox's.
pub async fn assert_logs_in(client: &mut Client, what: &[&str]) {
    let reply = client.log_in(LOGIN, PASSWORD).await;
    assert!(is_success(client.protocol, &reply), "{what:?}: {reply}");
    let (command, answer) = match client.protocol {
        Imap => ("b NOOP\r\n", "b OK "),
        Pop3 => ("NOOP\r\n", "+OK"),
        Smtp => ("NOOP\r\n", "250 "),
    };
    let said = client.ask(command, "\r\n").await;
    assert!(said.starts_with(answer), "{what:?}: {said}");
}

const NAMES: [&str; 6] = [
    "relay test",
    "[relay.test]",
    "[192.0.2.1]",
    "relay..test",
    "-",
    "büro.test",
];

#[test]
fn f09_a_name_that_is_none_is_as_no_name() {
    still(|_| async move {
        let relay = Setup::default().tls("implicit").start().await;
        for (number, name) in NAMES.into_iter().enumerate() {
            for options in [
                &["-tls1_2"][..],
                &["-tls1_3"],
                // The first is not supported: a HelloRetryRequest asks for the second.
                &["-tls1_3", "-groups", "X448:P-384"],
                // A ClientHello in several records.
                &[
                    "-tls1_3",
                    "-max_send_frag",
                    "512",
                    "-alpn",
                    &["mail"; 200].join(","),
                ],
            ] {
                let options = [options, &["-quiet", "-servername", name]].concat();
                let protocol = Protocol::ALL[number % 3];
                let (mut client, _child) = openssl(&relay, protocol, &options);
                greet(&mut client).await;
                assert_logs_in(&mut client, &options).await;
            }
        }
        assert_eq!(relay.log.faults(), [""; 0]);
    });
}

#[test]
fn f09_a_session_is_resumed_without_a_name() {
    still(|_| async move {
        let relay = Setup::default().tls("implicit").start().await;
        let session = relay.directory().join("session.pem");
        let session = session.to_str().unwrap();
        for version in ["-tls1_2", "-tls1_3"] {
            for (options, said) in [
                (&["-sess_out", session][..], "New, TLSv1."),
                (&["-sess_in", session], "Reused, TLSv1."),
                // A PSK that another group is asked for.
                (
                    &["-sess_in", session, "-groups", "X448:P-384"],
                    "Reused, TLSv1.",
                ),
            ] {
                let options = [options, &[version, "-servername", "relay test"]].concat();
                let (mut client, mut child) = openssl(&relay, Imap, &options);
                let shaken = client.until("* OK ").await;
                assert!(shaken.contains(said), "{options:?}: {shaken}");
                client.line().await;
                assert_logs_in(&mut client, &options).await;
                client.send("c LOGOUT\r\n").await;
                client.rest_bytes().await;
                patient("OpenSSL's end", child.wait()).await.unwrap();
            }
        }
        assert_eq!(relay.log.faults(), [""; 0]);
    });
}

#[test]
fn f09_the_same_after_starttls() {
    still(|_| async move {
        let relay = Setup::default().tls("starttls").start().await;
        for (protocol, upgrade) in [(Imap, "imap"), (Pop3, "pop3"), (Smtp, "smtp")] {
            for name in NAMES {
                let options = ["-quiet", "-starttls", upgrade, "-servername", name];
                let (mut client, _child) = openssl(&relay, protocol, &options);
                if protocol == Smtp {
                    client.send("EHLO device\r\n").await;
                    let answer = client.reply().await;
                    assert!(answer.contains("AUTH"), "{answer}");
                }
                assert_logs_in(&mut client, &options).await;
            }
        }
        assert_eq!(relay.log.faults(), [""; 0]);
    });
}

/// A ClientHello of one version and these suites, as old devices send it.
fn client_hello(version: [u8; 2], suites: &[u8]) -> Vec<u8> {
    let sized = |content: &[u8]| {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&length[..], content].concat()
    };
    let body = [&version[..], &[7; 32], &[0], &sized(suites), &[1, 0]].concat();
    let message = [&[1, 0][..], &sized(&body)].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

#[test]
fn f30_tls_that_cannot_be_used_is_named_with_its_ways_out() {
    for (hello, texts) in [
        (
            client_hello([3, 1], &[0, 0x2f, 0, 0x35]),
            ["TLS 1.0", "TLS_RSA_WITH_AES_128_CBC_SHA", "deploy/old-tls"],
        ),
        (
            client_hello([3, 3], &[0, 0x9c, 0xc0, 0x27]),
            ["TLS 1.2", "TLS_RSA_WITH_AES_128_GCM_SHA256", "allow"],
        ),
    ] {
        for mode in ["implicit", "starttls"] {
            let hello = hello.clone();
            still(|_| async move {
                let relay = wide_awake(Setup::default().tls(mode)).await;
                let mut client = relay.dial(Smtp).await;
                if mode == "starttls" {
                    greet(&mut client).await;
                    client
                        .ask("STARTTLS\r\n", "220 2.0.0 Begin TLS negotiation now.\r\n")
                        .await;
                }
                client.send(&hello).await;
                client.rest_bytes().await;
                assert_fault(&relay, "client: tls", &texts);
                assert!(
                    last_fault(&relay)["detail"]
                        .as_str()
                        .unwrap()
                        .contains("none of which can be used")
                );
                assert_probe(&relay, client).await;
            });
        }
    }
}

#[test]
fn f30_a_client_in_clear_where_tls_comes_first_is_told_apart() {
    still(|_| async move {
        let relay = wide_awake(Setup::default().tls("implicit")).await;
        let mut client = relay.dial(Smtp).await;
        client.send("EHLO device\r\n").await;
        client.rest_bytes().await;
        assert_fault(
            &relay,
            "client: tls",
            &["does not start with TLS", "SSL/TLS"],
        );
        assert_probe(&relay, client).await;
    });
}

/// What of the offer is in the way: the key of the listener's certificate, groups, signatures.
#[test]
fn f30_what_is_in_the_way_is_named() {
    for (options, texts) in [
        (
            // The listener's certificate has an ECDSA key.
            &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"][..],
            [
                "certificate of the listener with an RSA key",
                "give the listener a certificate",
            ],
        ),
        (
            &["-tls1_3", "-groups", "X448"],
            ["key exchange groups X25519", "deploy/old-tls"],
        ),
        (
            &["-tls1_2", "-groups", "X448"],
            ["key exchange groups X25519", "deploy/old-tls"],
        ),
        (
            &["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"],
            ["signature algorithm", "certificate with an RSA key"],
        ),
        (
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
            ["ECDHE and AES-GCM or ChaCha20", "deploy/old-tls"],
        ),
    ] {
        still(|_| async move {
            let relay = wide_awake(Setup::default().tls("implicit")).await;
            let (mut client, _child) = openssl(&relay, Smtp, &[options, &["-quiet"]].concat());
            client.rest_bytes().await;
            relay.log.sessions(1).await;
            assert_fault(&relay, "client: tls", &texts);
            assert_probe(&relay, client).await;
        });
    }
}
