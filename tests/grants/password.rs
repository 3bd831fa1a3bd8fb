//! Grant `password`: the identity provider checks what the client presents.
use std::time::Duration;

use authrelay::sandbox::{Fault, LOGIN, PASSWORD};
use authrelay::wire::Protocol::{Imap, Pop3, Smtp};

use crate::clock::still;
use crate::stage::{Relay, Setup, is_success};
use crate::{assert_logs_in, registration};

fn setup() -> Setup {
    registration("grant: password").replace(&format!("    password: \"{PASSWORD}\"\n"), "")
}

async fn try_password(relay: &Relay, password: &str) -> String {
    relay.connect(Imap).await.log_in(LOGIN, password).await
}

#[tokio::test]
async fn the_right_password_is_asked_about_once() {
    let relay = setup().start().await;
    for protocol in [Imap, Pop3, Smtp, Imap] {
        assert_logs_in(&relay, protocol).await;
    }
    let seen = relay.sandbox.seen();
    assert_eq!(seen.token_requests, 1, "{:?}", seen.token);
    assert!(seen.token[0].starts_with("password "), "{:?}", seen.token);
}

/// Another password is another question, and its answer touches nobody else's token.
#[tokio::test]
async fn a_wrong_password_is_the_clients_fault_and_wipes_nothing() {
    let relay = setup().start().await;
    assert_logs_in(&relay, Imap).await;
    for password in ["wrong", "wrong", "other"] {
        let reply = try_password(&relay, password).await;
        assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
    }
    let seen = relay.sandbox.seen();
    // The same wrong password is remembered: a stale job must not lock the user at the provider.
    assert_eq!(seen.token_requests, 3, "{:?}", seen.token);
    assert_eq!(seen.connections.imap, 1);
    assert_logs_in(&relay, Imap).await;
    assert_eq!(relay.sandbox.seen().token_requests, 3);
}

/// Requirement 15: a locked login costs the identity provider nothing.
#[tokio::test]
async fn r15_a_locked_login_does_not_reach_the_provider() {
    let relay = setup()
        .append("limits: {lockout: {failures: 2, window: 10m, duration: 5m}}\n")
        .start()
        .await;
    for number in 0..5 {
        let reply = try_password(&relay, &format!("guess-{number}")).await;
        assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
    }
    assert_eq!(relay.sandbox.seen().token_requests, 2);
    let reply = try_password(&relay, PASSWORD).await;
    assert!(!is_success(Imap, &reply), "{reply}");
    assert_eq!(relay.sandbox.seen().token_requests, 2);
}

/// Requirement 15: guesses that come at once do not reach the provider beyond the limit, and the
/// same password at once is asked about once.
#[test]
fn r15_parallel_guesses_do_not_reach_the_provider() {
    still(|clock| async move {
        let limits = "limits: {lockout: {failures: 3, window: 10m, duration: 5m}}\n";
        let relay = setup().append(limits).start().await;
        let mut attempts = tokio::task::JoinSet::new();
        for number in 0..12 {
            let mut client = relay.connect(Imap).await;
            attempts.spawn(async move { client.log_in(LOGIN, &format!("guess-{number}")).await });
        }
        let replies = clock.until_ready(Duration::from_secs(50), attempts.join_all());
        for reply in replies.await {
            assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
        }
        assert_eq!(relay.sandbox.seen().token_requests, 3);
        let relay = setup().append(limits).start().await;
        let mut attempts = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let mut client = relay.connect(Imap).await;
            attempts.spawn(async move { client.log_in(LOGIN, PASSWORD).await });
        }
        let replies = clock.until_ready(Duration::from_secs(50), attempts.join_all());
        for reply in replies.await {
            assert!(is_success(Imap, &reply), "{reply}");
        }
        assert_eq!(relay.sandbox.seen().token_requests, 1);
    });
}

/// MFA and Conditional Access are nothing that the client could do about, and no guess.
#[tokio::test]
async fn policies_of_the_tenant_are_explained_and_lock_nobody() {
    for (fault, code) in [
        (Fault::MfaRequired, "AADSTS50076"),
        (Fault::ConditionalAccess, "AADSTS53003"),
    ] {
        let relay = setup()
            .append("limits: {lockout: {failures: 2, window: 10m, duration: 5m}}\n")
            .start()
            .await;
        relay.sandbox.set_fault(Some(fault));
        for _ in 0..4 {
            let reply = try_password(&relay, PASSWORD).await;
            assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
        }
        let log = relay.log.text();
        assert!(
            log.contains(code) && log.contains("Conditional Access"),
            "{log}"
        );
        assert!(!log.contains("locked out"), "{log}");
        assert_eq!(relay.sandbox.seen().token_requests, 1);
    }
}

#[tokio::test]
async fn no_password_is_written_anywhere() {
    let relay = setup()
        .log(authrelay::config::LogFormat::Json, tracing::Level::TRACE)
        .start()
        .await;
    assert_logs_in(&relay, Imap).await;
    try_password(&relay, "cAnArY-wrong-81").await;
    let log = relay.log.text();
    assert!(!log.contains(PASSWORD) && !log.contains("cAnArY"), "{log}");
}

/// What the application presents is the client secret: the identity provider checks it.
fn presented() -> Setup {
    registration("grant: client_credentials\nclient_secret: {client: password}")
        .replace(&format!("    password: \"{PASSWORD}\"\n"), "")
}

#[tokio::test]
async fn a_client_secret_that_clients_present_is_checked_by_the_provider_once() {
    let relay = presented().start().await;
    let secret = authrelay::sandbox::CLIENT_SECRET;
    for _ in 0..3 {
        let reply = try_password(&relay, secret).await;
        assert!(reply.starts_with("a OK "), "{reply}");
    }
    let seen = relay.sandbox.seen();
    assert_eq!(seen.token_requests, 1, "{:?}", seen.token);
    for password in ["wrong", "wrong", "other"] {
        let reply = try_password(&relay, password).await;
        assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
    }
    let seen = relay.sandbox.seen();
    assert_eq!(seen.token_requests, 3, "{:?}", seen.token);
    assert_eq!(seen.logins.imap, 3, "no token for a wrong secret");
    let reply = try_password(&relay, secret).await;
    assert!(reply.starts_with("a OK "), "{reply}");
    // Nothing of it is on disk or in the log.
    for path in crate::files(relay.directory()) {
        let text = std::fs::read(&path).unwrap();
        let is_there = memchr::memmem::find(&text, secret.as_bytes()).is_some();
        assert!(!is_there, "{}", path.display());
    }
    assert!(!relay.log.text().contains(secret));
}

#[tokio::test]
async fn a_client_secret_is_guessed_at_no_more_often_than_a_password() {
    let relay = presented()
        .append("limits: {lockout: {failures: 2, window: 10m, duration: 5m}}\n")
        .start()
        .await;
    for number in 0..5 {
        let reply = try_password(&relay, &format!("guess-{number}")).await;
        assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED] "), "{reply}");
    }
    assert_eq!(relay.sandbox.seen().token_requests, 2);
    let reply = try_password(&relay, authrelay::sandbox::CLIENT_SECRET).await;
    assert!(!is_success(Imap, &reply), "{reply}");
    // What is no wrong secret is not the client's fault.
    let relay = presented().start().await;
    for fault in [Fault::SecretExpired, Fault::ConditionalAccess] {
        relay.sandbox.set_fault(Some(fault));
        let reply = try_password(&relay, &format!("{fault}")).await;
        assert!(
            reply.starts_with("a NO [CONTACTADMIN] "),
            "{fault}: {reply}"
        );
    }
}

/// f60: one account for every domain; an exact login wins, then its domain, then `*`.
#[tokio::test]
async fn f60_one_account_takes_every_address() {
    let accounts = "accounts:\n  - {login: '*', registration: sandbox, password: any-domain-1}\n  \
         - {login: '*@contoso.test', registration: sandbox, password: domain-1}\n";
    let relay = Setup::default()
        .replace("accounts:\n", accounts)
        .start()
        .await;
    for (login, password, is_good) in [
        (LOGIN, PASSWORD, true),
        (LOGIN, "domain-1", false),
        ("helpdesk@contoso.test", "domain-1", true),
        ("HelpDesk@Contoso.TEST", "domain-1", true),
        ("helpdesk@contoso.test", "any-domain-1", false),
        ("a@fabrikam.test", "domain-1", false),
        ("no-address", "any-domain-1", false),
        ("*", "any-domain-1", false),
        ("*@fabrikam.test", "any-domain-1", false),
    ] {
        let mut client = relay.connect(Imap).await;
        let reply = client
            .ask(&format!("a LOGIN \"{login}\" {password}\r\n"), "\r\n")
            .await;
        assert_eq!(reply.starts_with("a OK "), is_good, "{login}: {reply}");
    }
    // The mailbox of an unknown domain is asked for upstream, and there it is decided.
    let mut client = relay.connect(Imap).await;
    let reply = client.log_in("A@fabrikam.test", "any-domain-1").await;
    assert!(reply.starts_with("a NO [AUTHORIZATIONFAILED] "), "{reply}");
}
