//! Requirement 18: what load balancers announce by the PROXY protocol, and who is believed.

use std::time::Duration;

use authrelay::config::LogFormat;
use authrelay::sandbox::{LOGIN, PASSWORD, SHARED_MAILBOX};
use authrelay::wire::Protocol::{self, Imap, Smtp};

use tracing::Level;

use crate::client::Client;
use crate::clock::still;
use crate::stage::{Relay, Setup, greet, is_success};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Version 1, for a client at `address`.
fn v1(address: &str) -> Vec<u8> {
    format!("PROXY TCP4 {address} 198.51.100.1 4711 143\r\n").into_bytes()
}

/// Version 2, with an extension behind the addresses.
fn v2(address: [u8; 4]) -> Vec<u8> {
    let ports = [0x12, 0x67, 0, 143];
    let body = [&address[..], &[198, 51, 100, 1], &ports, &[4, 0, 1, 0]].concat();
    [SIGNATURE, &[0x21, 0x11, 0, 16], &body].concat()
}

/// Every listener behind balancers in `networks`, for clients in 192.0.2.0/24 and, for health
/// checks, on this machine.
fn behind(networks: &str) -> Setup {
    Setup::default().replace(
        "provider: microsoft365}",
        &format!(
            "provider: microsoft365, proxy_protocol: [{networks}], allow: [192.0.2.0/24, 127.0.0.1], allow_cleartext: true}}"
        ),
    )
}

fn here() -> Setup {
    behind("127.0.0.1, \"::1\"")
}

/// A client at `address`, greeted.
async fn announced(relay: &Relay, protocol: Protocol, address: &str) -> Client {
    let mut client = relay.dial(protocol).await;
    client.send(v1(address)).await;
    greet(&mut client).await;
    client
}

async fn assert_closed(relay: &Relay, client: &mut Client, row: &str) {
    assert_eq!(client.rest().await, "", "{row}");
    relay.assert_untouched(row);
    assert_eq!(relay.log.named("session").len(), 0, "{row}");
}

#[test]
fn r18_the_announced_client_is_the_client() {
    for protocol in Protocol::ALL {
        for header in [v1("192.0.2.7"), v2([192, 0, 2, 7])] {
            for slowly in [false, true] {
                let header = &header;
                still(|_| async move {
                    let relay = here().start().await;
                    let mut client = relay.dial(protocol).await;
                    match slowly {
                        false => client.send(header).await,
                        true => {
                            for octet in header {
                                client.send([*octet]).await;
                                tokio::task::yield_now().await;
                            }
                        }
                    }
                    greet(&mut client).await;
                    let reply = client.log_in(LOGIN, PASSWORD).await;
                    assert!(is_success(protocol, &reply), "{reply}");
                    drop(client);
                    let session = relay.log.sessions(1).await.remove(0);
                    assert_eq!(session["client"], "192.0.2.7:4711");
                });
            }
        }
    }
}

/// What stands behind the header is the session's, or its TLS's, to the octet.
#[test]
fn r18_octets_behind_the_header_are_the_sessions() {
    for header in [v1("192.0.2.7"), v2([192, 0, 2, 7])] {
        let header = &header;
        still(|_| async move {
            let relay = here().start().await;
            let mut client = relay.dial(Imap).await;
            let command = format!("a LOGIN {LOGIN} \"{PASSWORD}\"\r\n");
            client.send([header, command.as_bytes()].concat()).await;
            client.line().await;
            let reply = client.line().await;
            assert!(is_success(Imap, &reply), "{reply}");
        });
        for protocol in Protocol::ALL {
            still(|_| async move {
                let setup = Setup::default().tls("implicit").replace(
                    "key: server.key}}",
                    "key: server.key}, proxy_protocol: [127.0.0.1]}",
                );
                let relay = setup.start().await;
                let mut client = relay.dial(protocol).await;
                client.send(header).await;
                let mut client = client.encrypt(relay.trust.clone()).await;
                greet(&mut client).await;
                let reply = client.log_in(LOGIN, PASSWORD).await;
                assert!(is_success(protocol, &reply), "{reply}");
            });
        }
    }
}

/// From other networks nobody is believed, and nobody is served.
#[test]
fn r18_peers_from_elsewhere_are_closed_without_a_byte() {
    for protocol in Protocol::ALL {
        for words in [v1("192.0.2.7"), v2([192, 0, 2, 7]), Vec::new()] {
            still(|_| async move {
                let relay = behind("10.0.0.0/8").start().await;
                let mut client = relay.dial(protocol).await;
                let _ = client.try_send(&words).await;
                assert_closed(&relay, &mut client, "elsewhere").await;
                let told = relay.log.named("not a load balancer's connection");
                assert!(told[0]["why"].as_str().unwrap().contains("networks"));
            });
        }
    }
}

/// On other listeners the header ends the connection.
#[test]
fn r18_other_listeners_believe_nobody() {
    still(|_| async {
        let relay = Relay::start().await;
        let mut client = relay.connect(Imap).await;
        client.send(v1("192.0.2.7")).await;
        assert_eq!(client.rest().await, "");
        relay.log.wait_for("fault").await;
        let shown = relay.log.named("fault").remove(0)["client"].to_string();
        assert!(shown.starts_with("\"127.0.0.1:"), "{shown}");
    });
}

#[test]
fn r18_garbage_is_closed_without_a_byte() {
    let unknown_family = [SIGNATURE, &[0x21, 0x41, 0, 0]].concat();
    let endless = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    // A header that was altered on its way: its checksum (PP2_TYPE_CRC32C) is another one's.
    let mut altered = v2([192, 0, 2, 7]);
    altered.splice(14..16, [0, 23]);
    altered.extend([3, 0, 4, 1, 2, 3, 4]);
    let mut torn = v2([192, 0, 2, 7]);
    torn.splice(30.., [0xff, 0]);
    let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
    for garbage in [
        b"EHLO client.example\r\n".as_slice(),
        b"a CAPABILITY\r\n      ",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 04711 143\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
        &unknown_family,
        &endless,
        &altered,
        &torn,
        long.as_bytes(),
    ] {
        for protocol in Protocol::ALL {
            still(|_| async move {
                let relay = here().start().await;
                let mut client = relay.dial(protocol).await;
                let _ = client.try_send(garbage).await;
                assert_closed(&relay, &mut client, &String::from_utf8_lossy(garbage)).await;
            });
        }
    }
}

/// Five seconds are enough, also for one that sends an octet a second.
#[test]
fn r18_a_header_has_a_deadline() {
    for protocol in Protocol::ALL {
        for header in [v1("192.0.2.7"), Vec::new()] {
            still(|clock| async move {
                let relay = here().start().await;
                let mut client = relay.dial(protocol).await;
                // The session is there once it was told apart from a refused one.
                for octet in &header {
                    if client.try_send([*octet]).await.is_err() {
                        break;
                    }
                    clock
                        .until_ready(
                            Duration::from_secs(2),
                            clock.advance(Duration::from_secs(1)),
                        )
                        .await;
                }
                let most = Duration::from_secs(10);
                let said = clock.until_ready(most, client.rest()).await;
                assert_eq!(said, "");
                let told = relay.log.named("not a load balancer's connection");
                assert!(
                    told[0]["why"].as_str().unwrap().contains("in time"),
                    "{told:?}"
                );
                relay.assert_untouched("late");
            });
        }
    }
}

/// A balancer's own connections keep their address, which `allow` tests like any other.
#[test]
fn r18_health_checks_come_from_the_balancer_itself() {
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    for header in [b"PROXY UNKNOWN\r\n".as_slice(), &local] {
        still(|_| async move {
            let relay = here().log(LogFormat::Json, Level::DEBUG).start().await;
            let mut client = relay.dial(Smtp).await;
            client.send(header).await;
            greet(&mut client).await;
            drop(client);
            let shown = relay.log.of_session("client").await;
            assert!(shown.starts_with("127.0.0.1:"), "{shown}");
            let setup = here().replace("[192.0.2.0/24, 127.0.0.1]", "[192.0.2.0/24]");
            let relay = setup.start().await;
            let mut client = relay.dial(Smtp).await;
            client.send(header).await;
            assert_closed(&relay, &mut client, "not allowed").await;
        });
    }
}

#[test]
fn r18_allow_and_limits_and_lockout_are_the_announced_clients() {
    for protocol in Protocol::ALL {
        still(|_| async move {
            let relay = here().start().await;
            let mut client = relay.dial(protocol).await;
            client.send(v1("198.51.100.9")).await;
            assert_closed(&relay, &mut client, "outside allow").await;
        });
    }
    still(|_| async {
        let relay = here()
            .append("limits: {sessions_per_client: 1}\n")
            .start()
            .await;
        let mut first = announced(&relay, Imap, "192.0.2.1").await;
        let mut second = announced(&relay, Imap, "192.0.2.2").await;
        let mut beyond = relay.dial(Imap).await;
        beyond.send(v1("192.0.2.1")).await;
        assert!(beyond.rest().await.starts_with("* BYE "));
        first.assert_goes_on().await;
        second.assert_goes_on().await;
    });
    still(|clock| async move {
        let setup = here().append("limits: {lockout: {failures: 2}}\n");
        let relay = setup.start().await;
        let patience = Duration::from_secs(30);
        for guess in ["guess", "another"] {
            let mut client = announced(&relay, Imap, "192.0.2.1").await;
            clock
                .until_ready(patience, client.log_in(LOGIN, guess))
                .await;
        }
        let mut client = announced(&relay, Imap, "192.0.2.1").await;
        let reply = clock
            .until_ready(patience, client.log_in(LOGIN, PASSWORD))
            .await;
        assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
        let mut client = announced(&relay, Imap, "192.0.2.2").await;
        let reply = client.log_in(LOGIN, PASSWORD).await;
        assert!(is_success(Imap, &reply), "{reply}");
    });
}

/// Requirement 15: off loopback the time of an answer does not tell which logins exist, whatever
/// was guessed before from the same address; who knows the password is not held up.
#[test]
fn r15_time_does_not_tell_known_logins_from_unknown_ones() {
    let delays = |probe: &'static str| {
        still(|clock| async move {
            let setup = here().append(&format!(
                "  - login: {SHARED_MAILBOX}\n    registration: sandbox\n    password: neighbour\n"
            ));
            let relay = setup
                .append("limits: {lockout: {failures: 4}}\n")
                .start()
                .await;
            let mut delays = Vec::new();
            for login in [
                "u1@x.test",
                "u2@x.test",
                probe,
                "u3@x.test",
                probe,
                "u4@x.test",
                "u5@x.test",
            ] {
                let mut client = announced(&relay, Imap, "192.0.2.1").await;
                let began = clock.elapsed();
                let attempt = client.log_in(login, "guess");
                let reply = clock.until_ready(Duration::from_secs(30), attempt).await;
                assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
                delays.push((clock.elapsed() - began).as_secs());
            }
            let mut client = announced(&relay, Imap, "192.0.2.1").await;
            let reply = client.log_in(SHARED_MAILBOX, "neighbour").await;
            assert!(is_success(Imap, &reply), "{reply}");
            delays
        })
    };
    let known = delays(LOGIN);
    assert_eq!(known, delays("nobody@contoso.test"));
    assert!(known.last().unwrap() >= &5, "{known:?}");
}

/// Requirement 5: a balancer on this machine serves clients from elsewhere, whose passwords do not
/// cross the network in clear unless the file says so twice.
#[test]
fn r05_listeners_behind_a_balancer_want_tls_or_both_keys() {
    let started = |more: &str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("proxy.yaml");
        let text = format!(
            "listeners: [{{protocol: imap, bind: '127.0.0.1:0', proxy_protocol: [127.0.0.1]{more}}}]\n\
             registrations:\n  r: {{provider: microsoft365, tenant: t, client_id: c, grant: client_credentials, client_secret: s}}\n\
             accounts: [{{login: a, registration: r, password: p}}]\n"
        );
        std::fs::write(&path, text).unwrap();
        let check = std::process::Command::new(env!("CARGO_BIN_EXE_authrelay"))
            .args(["check", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        check.status.code()
    };
    assert_eq!(started(""), Some(78));
    assert_eq!(started(", allow_cleartext: true"), Some(78));
    assert_eq!(started(", allow: [192.0.2.0/24]"), Some(78));
    assert_eq!(
        started(", allow_cleartext: true, allow: [192.0.2.0/24]"),
        Some(0)
    );
}

/// Requirement 5: the same of a bind that is not loopback; nothing is bound.
#[test]
fn r05_cleartext_off_loopback_does_not_start() {
    for (more, code) in [
        ("", 78),
        (", allow_cleartext: true", 78),
        (", allow: [192.0.2.0/24]", 78),
        (
            ", tls: {mode: starttls, certificate: server.pem, key: server.key}, require_tls: false",
            78,
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let authority = authrelay::certs::Authority::new("test").unwrap();
        let issued = authority.issue(&["localhost".into()]).unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("server.pem", &issued.chain);
        write("server.key", &issued.key);
        write(
            "proxy.yaml",
            &format!(
                "listeners: [{{protocol: imap, bind: '0.0.0.0:0'{more}}}]\n\
                 registrations:\n  r: {{provider: microsoft365, tenant: t, client_id: c, grant: client_credentials, client_secret: s}}\n\
                 accounts: [{{login: a, registration: r, password: p}}]\n"
            ),
        );
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_authrelay"))
            .args(["run", "--config"])
            .arg(directory.path().join("proxy.yaml"))
            .output()
            .unwrap();
        assert_eq!(run.status.code(), Some(code), "{more}");
        let said = String::from_utf8(run.stderr).unwrap();
        assert!(
            said.contains("listeners[0].bind: is not loopback"),
            "{said}"
        );
    }
}
