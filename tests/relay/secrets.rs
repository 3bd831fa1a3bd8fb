//! Requirement 27: no secret in the log, at any level, in any form, whatever happens.

use std::collections::BTreeSet;

use authrelay::config::{Log as Settings, LogFormat};
use authrelay::sandbox::{CLIENT_SECRET, Fault, LOGIN, PASSWORD};
use authrelay::wire::Protocol;
use tracing::Level;

use crate::client::{base64, plain};
use crate::clock::{Clock, still};
use crate::log::Log;
use crate::stage::{Relay, Setup, is_success};

/// A password that nobody configured.
const WRONG: &str = "canary-wrong-zA9xQ2";

/// Everything that must not be found, in the forms that it may take.
fn canaries() -> BTreeSet<String> {
    let mut canaries = BTreeSet::new();
    for secret in [PASSWORD, WRONG, CLIENT_SECRET] {
        canaries.insert(secret.to_owned());
        canaries.insert(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
        canaries.insert(secret.bytes().map(|octet| format!("{octet:02x}")).collect());
        canaries.insert(format!("{:?}", secret.as_bytes()));
        for shift in 0..3 {
            // Within another text base64 depends on the place; its ends on the neighbours.
            let shifted = base64("x".repeat(shift) + secret);
            let inner = &shifted[4..shifted.trim_end_matches('=').len() - 4];
            canaries.insert(inner.to_owned());
        }
    }
    canaries.insert(plain(LOGIN, PASSWORD));
    canaries
}

fn assert_clean(text: &str, what: &str) {
    for canary in canaries() {
        assert!(!text.contains(&canary), "{what}: {canary} in\n{text}");
    }
    // Tokens are JWTs, and so are XOAUTH2 payloads within base64: both are long runs.
    assert!(
        !text.contains("eyJ0eXAi") && !text.contains("auth=Bearer"),
        "{what}"
    );
    let run = |c: char| !(c.is_ascii_alphanumeric() || "+/=_-".contains(c));
    for word in text.split(run) {
        assert!(word.len() < 100, "{what}: {word}");
    }
}

/// The life of a few clients: logins right and wrong, by every way, mail, an end.
async fn use_it(clock: &Clock, relay: &Relay, fault: Option<Fault>) {
    let most = std::time::Duration::from_secs(120);
    for protocol in Protocol::ALL {
        let mut client = relay.connect(protocol).await;
        client.log_in(LOGIN, WRONG).await;
        let auth = match protocol {
            Protocol::Imap => "a AUTHENTICATE",
            Protocol::Pop3 | Protocol::Smtp => "AUTH",
        };
        for (mechanism, responses) in [
            ("PLAIN", vec![plain(LOGIN, WRONG)]),
            ("LOGIN", vec![base64(LOGIN), base64(WRONG)]),
            ("XOAUTH2", vec![]),
            ("PLAIN", vec!["*".to_owned()]),
            ("PLAIN", vec![format!("{WRONG}?")]),
        ] {
            client.send(format!("{auth} {mechanism}\r\n")).await;
            client.reply().await;
            for response in responses {
                client.send(format!("{response}\r\n")).await;
                clock.until_ready(most, client.reply()).await;
            }
        }
        // Passwords where commands are expected.
        client.send(format!("{PASSWORD}\r\n")).await;
        client.reply().await;
        relay.sandbox.set_fault(fault);
        let reply = clock
            .until_ready(most, client.log_in(LOGIN, PASSWORD))
            .await;
        if is_success(protocol, &reply) {
            client.send(format!("x {PASSWORD}\r\n")).await;
            client.reply().await;
        }
        relay.sandbox.set_fault(None);
        // The client may be shown the upstream's words, never a secret.
        assert_clean(&reply, "a reply");
    }
}

#[test]
fn r27_no_secret_in_the_log() {
    let faults = [
        None,
        Some(Fault::SecretWrong),
        Some(Fault::TokenGarbage),
        Some(Fault::TokenTruncated),
        Some(Fault::TokenRedirect),
        Some(Fault::TokenUnreachable),
        Some(Fault::AuthRefused),
        Some(Fault::AuthChallenge),
        Some(Fault::AuthBye),
        Some(Fault::AuthDrop),
        Some(Fault::TokenOpaque),
        Some(Fault::TlsWrongName),
        Some(Fault::UpstreamGarbage),
        Some(Fault::LostIdle),
    ];
    for format in [LogFormat::Text, LogFormat::Json] {
        for fault in faults {
            still(|clock| async move {
                let relay = Setup::default().log(format, Level::TRACE).start().await;
                use_it(&clock, &relay, fault).await;
                let log = relay.log.clone();
                relay.shut_down();
                assert!(log.text().lines().count() > 10, "{}", log.text());
                assert_clean(&log.text(), &format!("{fault:?}"));
            });
        }
    }
}

/// A panic on the way unwinds through everything that a session holds.
#[test]
fn r27_no_secret_in_a_panic() {
    still(|clock| async move {
        let relay = Setup::default()
            .log(LogFormat::Json, Level::TRACE)
            .start()
            .await;
        relay.session(Protocol::Imap).await;
        for protocol in Protocol::ALL {
            relay.log.panic_at("\"message\":\"fault\"");
            relay.sandbox.set_fault(Some(Fault::AuthRefused));
            let mut client = relay.connect(protocol).await;
            // The upstream refuses, the record of it is where it breaks.
            let reply = client.log_in(LOGIN, PASSWORD);
            let most = std::time::Duration::from_secs(10);
            let reply = clock.until_ready(most, reply).await;
            assert_eq!(reply, crate::client::END);
        }
        let sessions = relay.log.sessions(4).await;
        let internal = |session: &&serde_json::Value| session["fault"] == "authrelay: internal";
        assert_eq!(sessions.iter().filter(internal).count(), 3);
        assert_clean(&relay.log.text(), "a panic");
    });
}

/// What libraries trace is bytes, and bytes may be credentials: they speak up from `warn` on.
#[test]
fn r27_libraries_do_not_trace() {
    for format in [LogFormat::Text, LogFormat::Json] {
        let (log, _guard) = Log::capture(&Settings {
            format,
            level: Level::TRACE,
            ..Settings::default()
        });
        tracing::trace!(target: "h2::codec", "{PASSWORD}");
        tracing::debug!(target: "rustls::conn", "{PASSWORD}");
        tracing::info!(target: "reqwest::connect", "{PASSWORD}");
        tracing::warn!(target: "hyper", "a warning of a library");
        tracing::trace!(target: "authrelay::session", "a trace of its own");
        let text = log.text();
        assert_clean(&text, "libraries");
        assert!(text.contains("a warning of a library"), "{text}");
        assert!(text.contains("a trace of its own"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}

/// The search finds what it is there for.
#[test]
fn the_search_finds_planted_secrets() {
    for planted in [
        format!("detail={CLIENT_SECRET}"),
        format!("AUTH PLAIN {}", plain(LOGIN, PASSWORD)),
        format!(
            "said: {}",
            base64(format!("user=x\u{1}auth=Bearer {CLIENT_SECRET}\u{1}"))
        ),
        format!("{:?}", PASSWORD.as_bytes()),
        format!("token eyJ0eXAi{}", "x".repeat(20)),
        "x".repeat(120),
    ] {
        let found = std::panic::catch_unwind(|| assert_clean(&planted, "planted"));
        assert!(found.is_err(), "{planted}");
    }
    assert_clean("a line of the log, session=0123456789abcdef", "harmless");
}
