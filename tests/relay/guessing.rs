//! Requirement 15: guessing is slowed, then locked out for a while, per client address and login;
//! nobody else notices, and an outage is no guess.

use std::time::Duration;

use authrelay::config::LogFormat;
use authrelay::sandbox::{Fault, LOGIN, PASSWORD, SHARED_MAILBOX};
use authrelay::wire::Protocol::{self, Imap, Smtp};
use tracing::Level;

use crate::clock::{Clock, still};
use crate::stage::{Relay, Setup, is_success};

/// One attempt on a connection of its own, which must be answered at once: time stands still.
async fn prompt(relay: &Relay, login: &str, password: &str) -> String {
    let mut client = relay.connect(Imap).await;
    client.log_in(login, password).await
}

/// One attempt that may be answered late, and must not be answered before `held` seconds.
async fn slowed(clock: &Clock, relay: &Relay, login: &str, password: &str, held: u64) -> String {
    let mut client = relay.connect(Imap).await;
    let began = clock.elapsed();
    let patience = Duration::from_secs(held + 30);
    let reply = clock
        .until_ready(patience, client.log_in(login, password))
        .await;
    let seconds = (clock.elapsed() - began).as_secs();
    assert!(seconds >= held, "answered after {seconds} s, not {held}");
    reply
}

/// Failures number `n` and later are answered so late.
const HELD: [u64; 10] = [0, 0, 1, 2, 4, 5, 5, 5, 5, 5];

/// A wrong password, `times` in a row.
async fn guess(clock: &Clock, relay: &Relay, login: &str, times: usize) -> Vec<String> {
    let mut replies = Vec::new();
    for (number, held) in HELD[..times].iter().enumerate() {
        let guess = format!("guess {number}");
        replies.push(match held {
            0 => prompt(relay, login, &guess).await,
            held => slowed(clock, relay, login, &guess, *held).await,
        });
    }
    replies
}

fn neighbour() -> Setup {
    Setup::default().append(&format!(
        "  - login: {SHARED_MAILBOX}\n    registration: sandbox\n    password: neighbour\n"
    ))
}

#[test]
fn r15_guesses_are_slowed_then_locked_and_neighbours_are_not() {
    still(|clock| async move {
        let relay = neighbour().start().await;
        let mut replies = guess(&clock, &relay, LOGIN, 10).await;
        // Locked: the right password is answered like a wrong one, and costs nobody anything.
        replies.push(slowed(&clock, &relay, LOGIN, PASSWORD, 5).await);
        replies.dedup();
        assert_eq!(replies.len(), 1, "{replies:?}");
        relay.assert_untouched("locked");
        // The same login in another spelling is the same login.
        let reply = slowed(&clock, &relay, &LOGIN.to_uppercase(), PASSWORD, 5).await;
        assert_eq!(reply, replies[0]);
        // Another login from the same address is somebody else.
        let reply = prompt(&relay, SHARED_MAILBOX, "neighbour").await;
        assert!(is_success(Imap, &reply), "{reply}");
        // The lock ends by itself.
        clock.advance(Duration::from_secs(300)).await;
        let reply = prompt(&relay, LOGIN, PASSWORD).await;
        assert!(is_success(Imap, &reply), "{reply}");
    });
}

/// Unknown logins and wrong passwords are slowed alike.
#[test]
fn r15_an_unknown_login_is_slowed_like_a_known_one() {
    for login in [LOGIN, "nobody@contoso.test"] {
        still(|clock| async move {
            let relay = Relay::start().await;
            guess(&clock, &relay, login, 10).await;
            slowed(&clock, &relay, login, PASSWORD, 5).await;
            relay.assert_untouched(login);
        });
    }
}

/// Failures are forgotten after `window`, and a success forgives them.
#[test]
fn r15_failures_do_not_count_for_ever() {
    still(|clock| async move {
        let relay = Relay::start().await;
        guess(&clock, &relay, LOGIN, 9).await;
        clock.advance(Duration::from_secs(601)).await;
        prompt(&relay, LOGIN, "guess").await;
        let reply = prompt(&relay, LOGIN, PASSWORD).await;
        assert!(is_success(Imap, &reply), "{reply}");
        guess(&clock, &relay, LOGIN, 9).await;
        let reply = prompt(&relay, LOGIN, PASSWORD).await;
        assert!(is_success(Imap, &reply), "{reply}");
        prompt(&relay, LOGIN, "guess").await;
    });
}

/// Neither the identity provider's trouble nor the mail service's makes a right password a guess.
#[test]
fn r15_an_outage_is_no_guess() {
    for fault in [
        Fault::Token500,
        Fault::UpstreamUnreachable,
        Fault::AuthRefused,
    ] {
        still(|clock| async move {
            let relay = Relay::start().await;
            relay.sandbox.set_fault(Some(fault));
            for _ in 0..15 {
                let reply = prompt(&relay, LOGIN, PASSWORD).await;
                assert!(!reply.contains("AUTHENTICATIONFAILED"), "{fault}: {reply}");
            }
            relay.sandbox.set_fault(None);
            clock.advance(Duration::from_secs(400)).await;
            let reply = prompt(&relay, LOGIN, PASSWORD).await;
            assert!(is_success(Imap, &reply), "{fault}: {reply}");
        });
    }
}

/// Several guesses on one connection count like those on several, over every protocol together.
#[test]
fn r15_connections_and_protocols_count_together() {
    still(|clock| async move {
        let relay = Setup::limits("lockout: {failures: 3}").start().await;
        let patience = Duration::from_secs(30);
        for protocol in Protocol::ALL {
            let mut client = relay.connect(protocol).await;
            let reply = clock.until_ready(patience, client.log_in(LOGIN, protocol.name()));
            assert!(!is_success(protocol, &reply.await));
        }
        let mut client = relay.connect(Smtp).await;
        let reply = clock.until_ready(patience, client.log_in(LOGIN, PASSWORD));
        assert!(reply.await.starts_with("535 5.7.8 "));
        let last = relay.log.named("fault").pop().unwrap();
        assert!(
            last["detail"].as_str().unwrap().contains("locked out"),
            "{last}"
        );
        relay.assert_untouched("locked");
    });
}

/// Guesses that come at once get no further than those that come one by one: whoever comes back
/// behind the failure that locks is not told whether he was right.
#[test]
fn r15_parallel_guesses_do_not_overrun_the_lockout() {
    use argon2::PasswordHasher as _;
    let hash = argon2::Argon2::default().hash_password(PASSWORD.as_bytes());
    // Its check takes a while, in which all of them are under way.
    let hash = hash.unwrap().to_string();
    still(|clock| async move {
        // The clock runs while the hashes are checked.
        let limits = "login_timeout: 5h, lockout: {failures: 3, window: 9h, duration: 9h}";
        let relay = Setup::limits(limits)
            .replace(&format!("\"{PASSWORD}\""), &format!("\"{hash}\""))
            .log(LogFormat::Json, Level::DEBUG)
            .start()
            .await;
        let mut attempts = tokio::task::JoinSet::new();
        for number in 0..20 {
            let mut client = relay.connect(Imap).await;
            attempts.spawn(async move {
                let password = match number {
                    19 => PASSWORD.to_owned(),
                    _ => format!("guess-{number}"),
                };
                client.log_in(LOGIN, &password).await
            });
        }
        let replies = clock.until_ready(Duration::from_secs(10_000), attempts.join_all());
        for reply in replies.await {
            assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
        }
        // Equal ones are told at another level.
        let faults = [relay.log.named("fault"), relay.log.named("again")].concat();
        let of = |what: &str| {
            let told = faults
                .iter()
                .filter(|fault| fault.to_string().contains(what));
            told.count()
        };
        assert_eq!(
            (of("wrong password"), of("locked out")),
            (3, 17),
            "{faults:?}"
        );
        relay.assert_untouched("locked");
    });
}
