//! Consents by the relay's own listener, and what they are good for.

use authrelay::config::{Config, LoadMode};
use authrelay::sandbox::{Fault, LOGIN};
use authrelay::wire::Protocol::{Imap, Pop3, Smtp};

use crate::stage::Setup;
use crate::{assert_logs_in, begin, come_back, consent, consent_at, consenting, log_in};

#[tokio::test]
async fn nobody_logs_in_before_a_consent_and_everybody_after_it() {
    let relay = consenting().start().await;
    let reply = log_in(&relay, Imap).await;
    assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
    assert_eq!(
        relay.sandbox.seen().token_connections,
        0,
        "nothing to ask for"
    );
    let log = relay.log.text();
    assert!(
        log.contains("no one has consented for tickets@contoso.test yet")
            && log.contains("authrelay authorize tickets@contoso.test"),
        "{log}"
    );
    let (status, page) = consent(&relay).await;
    assert_eq!(status, 200, "{page}");
    assert!(
        page.contains("Authorized") && page.contains(LOGIN),
        "{page}"
    );
    for protocol in [Imap, Pop3, Smtp] {
        assert_logs_in(&relay, protocol).await;
    }
    // The consent's own access token is used until it needs renewal.
    let seen = relay.sandbox.seen();
    assert_eq!(seen.token_requests, 1, "{:?}", seen.token);
}

#[tokio::test]
async fn the_way_back_is_open_once_and_only_with_its_state() {
    let relay = consenting().start().await;
    let begin = || async {
        let answer = begin(&relay).await;
        assert_eq!(answer["expires_in"], 600);
        answer["url"].as_str().unwrap().to_owned()
    };
    let url = begin().await;
    assert!(
        url.contains("code_challenge_method=S256") && url.contains("&state="),
        "{url}"
    );
    assert!(url.contains("login_hint=tickets%40contoso.test"), "{url}");
    let back = consent_at(&url).await;
    let forged = back.split("&state=").next().unwrap().to_owned() + "&state=forged";
    let (status, page) = come_back(&relay, &forged).await;
    assert_eq!(status, 400);
    assert!(
        page.contains("no one was sent to the identity provider with this state"),
        "{page}"
    );
    assert_eq!(relay.sandbox.seen().token_requests, 0);
    // A code that was given to another challenge.
    let other = begin().await;
    let other_back = consent_at(&other).await;
    let swapped = other_back.replace(&query(&other_back, "code"), &query(&back, "code"));
    assert_ne!(swapped, other_back);
    let (status, page) = come_back(&relay, &swapped).await;
    assert_eq!(status, 400, "{page}");
    assert!(page.contains("AADSTS501481"), "{page}");
    let (status, _) = come_back(&relay, &back).await;
    assert_eq!(status, 400, "its code was redeemed, wrongly, above");
    let (status, page) = consent(&relay).await;
    assert_eq!(status, 200, "{page}");
    let (status, _) = come_back(&relay, &back).await;
    assert_eq!(status, 400, "its state was used");
}

#[tokio::test(start_paused = true)]
async fn a_consent_takes_ten_minutes_at_most() {
    let relay = consenting().start().await;
    let config = Config::load(&relay.directory().join("proxy.yaml"), LoadMode::Run).unwrap();
    let service = authrelay::session::Service::new(&config).unwrap();
    let redirect = "http://localhost:8025/oauth/callback".parse().unwrap();
    let consents = authrelay::token::authorizations::PendingAuthorizations::new(redirect);
    let url = consents
        .begin(&service.token_source, &config.accounts[0], LOGIN)
        .unwrap();
    let state = query(url.as_str(), "state");
    tokio::time::advance(std::time::Duration::from_secs(601)).await;
    let late = consents
        .finish(&service.token_source, &format!("code=x&state={state}"))
        .await
        .unwrap_err();
    assert!(late.detail().contains("ten minutes are over"), "{late}");
}

/// Requirement 23, and what a revoked consent is to everybody concerned.
#[tokio::test]
async fn r23_a_revoked_consent_is_remembered_and_healed_by_a_new_one() {
    let relay = consenting().start().await;
    assert_eq!(consent(&relay).await.0, 200);
    // The stored access token is good no more.
    relay.sandbox.revoke_tokens();
    let before = relay.sandbox.seen().token_requests;
    relay.sandbox.set_fault(Some(Fault::RefreshRevoked));
    for _ in 0..5 {
        let reply = log_in(&relay, Smtp).await;
        assert!(reply.starts_with("454 4.7.0 "), "{reply}");
    }
    assert_eq!(relay.sandbox.seen().token_requests, before + 1);
    let told = relay.log.faults();
    assert_eq!(told, ["identity_provider: refused"], "{}", relay.log.text());
    let directory = relay.directory().to_owned();
    let rows = accounts(&directory);
    assert_eq!(rows[0]["token"]["state"], "refused", "{rows:#}");
    assert_eq!(rows[0]["consent"], "needed");
    assert!(
        rows[0]["last_fault"]["detail"]
            .as_str()
            .unwrap()
            .contains("AADSTS50173")
    );
    // Another process, as after a restart: it knows, and asks nobody.
    let config = Config::load(&directory.join("proxy.yaml"), LoadMode::Run).unwrap();
    let again = authrelay::server::Server::bind(&config).unwrap();
    let address = again.addresses()[0].1;
    let stop = tokio_util::sync::CancellationToken::new();
    let serving = tokio::spawn(again.serve(stop.clone().cancelled_owned()));
    let mut client = crate::client::Client::dial(Imap, address).await;
    crate::stage::greet(&mut client).await;
    let reply = client.log_in(LOGIN, authrelay::sandbox::PASSWORD).await;
    assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
    assert_eq!(relay.sandbox.seen().token_requests, before + 1);
    // A new consent heals both, without a restart.
    relay.sandbox.set_fault(None);
    assert_eq!(consent(&relay).await.0, 200);
    assert_logs_in(&relay, Imap).await;
    let reply = client.log_in(LOGIN, authrelay::sandbox::PASSWORD).await;
    assert!(reply.starts_with("a OK "), "{reply}");
    assert_eq!(accounts(&directory)[0]["consent"], "given");
    stop.cancel();
    serving.await.unwrap().unwrap();
}

/// What `authrelay accounts --json` says, without a relay to ask.
pub fn accounts(directory: &std::path::Path) -> serde_json::Value {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["accounts", "--json", "--config"])
        .arg(directory.join("proxy.yaml"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The classic mistake: the browser was signed in as somebody else.
#[tokio::test]
async fn somebody_elses_consent_is_said_at_once() {
    let relay = consenting()
        .replace(
            "    mailbox: tickets@contoso.test\n",
            "    mailbox: helpdesk@contoso.test\n",
        )
        .start()
        .await;
    let (status, page) = consent(&relay).await;
    assert_eq!(status, 200);
    assert!(
        page.contains("tickets@contoso.test signed in, and the mailbox is helpdesk@contoso.test"),
        "{page}"
    );
    assert!(
        relay
            .log
            .text()
            .contains("signed in, and the mailbox is helpdesk")
    );
}

#[tokio::test]
async fn a_refusal_at_the_provider_is_explained_to_the_person() {
    let relay = consenting().start().await;
    relay.sandbox.set_fault(Some(Fault::ConsentMissing));
    let (status, page) = consent(&relay).await;
    assert_eq!(status, 400);
    assert!(
        page.contains("AADSTS65004") && page.contains("declined"),
        "{page}"
    );
    assert!(!page.contains("<script"), "{page}");
}

/// A wildcard account: each login consents for itself.
#[tokio::test]
async fn each_login_of_a_domain_has_its_own_consent() {
    let relay = consenting()
        .replace(
            "  - login: tickets@contoso.test\n",
            "  - login: \"*@contoso.test\"\n",
        )
        .replace("    mailbox: tickets@contoso.test\n", "")
        .start()
        .await;
    assert_eq!(consent(&relay).await.0, 200);
    assert_logs_in(&relay, Imap).await;
    let mut other = relay.connect(Imap).await;
    let reply = other
        .log_in("helpdesk@contoso.test", authrelay::sandbox::PASSWORD)
        .await;
    assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
}

/// Requirement 19: whoever waits, waits for the same request.
#[tokio::test]
async fn r19_many_logins_after_expiry_cost_one_refresh() {
    let options = authrelay::sandbox::Options {
        token_delay: std::time::Duration::from_millis(300),
        ..authrelay::sandbox::Options::default()
    };
    let relay = consenting().options(options).start().await;
    assert_eq!(consent(&relay).await.0, 200);
    relay.sandbox.revoke_tokens();
    let before = relay.sandbox.seen().token_requests;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(relay.connect(Imap).await);
    }
    let logins = clients.into_iter().map(|mut client| async move {
        let reply = client.log_in(LOGIN, authrelay::sandbox::PASSWORD).await;
        assert!(reply.starts_with("a OK "), "{reply}");
        client
    });
    let mut under_way = tokio::task::JoinSet::new();
    for login in logins {
        under_way.spawn(login);
    }
    let sessions = under_way.join_all().await;
    assert_eq!(sessions.len(), 500);
    assert_eq!(relay.sandbox.seen().token_requests, before + 1);
}

#[tokio::test]
async fn a_device_code_is_waited_for() {
    let relay = crate::registration("grant: device_code")
        .append("admin: {bind: \"127.0.0.1:0\", token: admin-token-9Zk4}\n")
        .options(authrelay::sandbox::Options {
            device_polls: 2,
            ..authrelay::sandbox::Options::default()
        })
        .start()
        .await;
    let answer = begin(&relay).await;
    assert_eq!(answer["user_code"], "SANDBOX42");
    assert_eq!(
        answer["verification_uri"],
        "https://microsoft.com/devicelogin"
    );
    assert_eq!(answer["expires_in"], 900);
    relay.log.wait_for("consent given").await;
    assert_logs_in(&relay, Imap).await;
}

/// Scopes follow the account's protocols; refresh asks for the same.
#[tokio::test]
async fn the_scopes_of_the_accounts_protocols_are_asked_for() {
    let setup: Setup = consenting().append("");
    let relay = setup
        .replace(
            "    password: \"",
            "    protocols: [imap]\n    password: \"",
        )
        .start()
        .await;
    assert_eq!(consent(&relay).await.0, 200);
    let reply = log_in(&relay, Pop3).await;
    assert!(reply.starts_with("-ERR [AUTH] "), "{reply}");
    assert_logs_in(&relay, Imap).await;
}

/// An opaque token does not say who signed in: the mail service's own verdict is shown.
#[tokio::test]
async fn an_opaque_token_is_judged_by_the_mail_service() {
    let relay = consenting().start().await;
    relay.sandbox.set_fault(Some(Fault::TokenOpaque));
    let (status, page) = consent(&relay).await;
    assert_eq!(status, 200);
    assert!(!page.contains("could not be opened"), "{page}");
    assert_eq!(
        relay.sandbox.seen().logins.imap,
        1,
        "the mail service was asked"
    );
    let relay = consenting()
        .replace(
            "    mailbox: tickets@contoso.test\n",
            "    mailbox: nobody@contoso.test\n",
        )
        .start()
        .await;
    relay.sandbox.set_fault(Some(Fault::TokenOpaque));
    let (status, page) = consent(&relay).await;
    assert_eq!(status, 200);
    assert!(
        page.contains("the mailbox could not be opened with this consent"),
        "{page}"
    );
}

/// Requirement 21: an outage is not a revocation. Nothing stored is lost by it, and the relay
/// recovers unattended.
#[tokio::test]
async fn r21_an_outage_leaves_the_consent_as_it_is() {
    for fault in [
        Fault::Token500,
        Fault::TokenHtml,
        Fault::TokenGarbage,
        Fault::TokenTruncated,
        Fault::TokenUnreachable,
        Fault::TokenThrottled,
        Fault::TokenTransient,
        Fault::Token429,
    ] {
        let relay = consenting().start().await;
        assert_eq!(consent(&relay).await.0, 200);
        relay.sandbox.revoke_tokens();
        let tokens = relay.directory().join("state/tokens");
        let before = stored(&tokens);
        relay.sandbox.set_fault(Some(fault));
        let reply = log_in(&relay, Imap).await;
        assert!(reply.starts_with("a NO [UNAVAILABLE] "), "{fault}: {reply}");
        assert_eq!(stored(&tokens), before, "{fault}: the record was touched");
        relay.sandbox.set_fault(None);
        // Another relay has no pause to sit out, and the same record.
        let rows = accounts(relay.directory());
        assert_eq!(rows[0]["consent"], "given", "{fault}: {rows:#}");
    }
}

fn stored(tokens: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = crate::files(tokens);
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    files
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

/// Requirement 27, for what a consent brings: at trace level nothing of it is in the log.
#[tokio::test]
async fn r27_no_secret_of_a_consent_is_logged() {
    let options = authrelay::sandbox::Options {
        lifetime: std::time::Duration::from_secs(600),
        ..authrelay::sandbox::Options::default()
    };
    let relay = consenting()
        .options(options)
        .log(authrelay::config::LogFormat::Json, tracing::Level::TRACE)
        .start()
        .await;
    assert_eq!(consent(&relay).await.0, 200);
    assert_logs_in(&relay, Imap).await;
    relay.sandbox.set_fault(Some(Fault::RefreshRevoked));
    relay.sandbox.revoke_tokens();
    log_in(&relay, Imap).await;
    let log = relay.log.text();
    // Access tokens, codes and refresh tokens, the admin token, the local password, PKCE.
    for secret in [
        "eyJ",
        "1.AX",
        "admin-token-9Zk4",
        authrelay::sandbox::PASSWORD,
        "code_verifier",
    ] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
    assert!(log.contains("consent given"), "{log}");
}

/// An account that nobody uses for months keeps its consent.
#[tokio::test]
async fn unused_consents_are_kept_alive() {
    let relay = consenting().start().await;
    let config = Config::load(&relay.directory().join("proxy.yaml"), LoadMode::Run).unwrap();
    let service = authrelay::session::Service::new(&config).unwrap();
    service.refresh_unused(std::time::Duration::ZERO).await;
    assert_eq!(
        relay.sandbox.seen().token_requests,
        0,
        "no one has consented"
    );
    assert_eq!(consent(&relay).await.0, 200);
    service
        .refresh_unused(std::time::Duration::from_secs(3600))
        .await;
    assert_eq!(
        relay.sandbox.seen().token_requests,
        1,
        "it was used within the hour"
    );
    service.refresh_unused(std::time::Duration::ZERO).await;
    let seen = relay.sandbox.seen();
    assert_eq!(seen.token_requests, 2);
    assert!(
        seen.token[1].starts_with("refresh_token "),
        "{:?}",
        seen.token
    );
    relay.sandbox.set_fault(Some(Fault::RefreshRevoked));
    service.refresh_unused(std::time::Duration::ZERO).await;
    service.refresh_unused(std::time::Duration::ZERO).await;
    assert_eq!(
        relay.sandbox.seen().token_requests,
        3,
        "an ended consent is left alone"
    );
}

/// What an address carries under a name.
fn query(url: &str, name: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    let pair = url.query_pairs().find(|(key, _)| key == name);
    pair.unwrap().1.into_owned()
}

/// A wildcard's login that has consented is looked after like any other.
#[tokio::test]
async fn unused_consents_of_a_wildcards_logins_are_kept_alive() {
    let relay = consenting()
        .replace(
            "  - login: tickets@contoso.test\n",
            "  - login: \"*@contoso.test\"\n",
        )
        .replace("    mailbox: tickets@contoso.test\n", "")
        .start()
        .await;
    assert_eq!(consent(&relay).await.0, 200);
    let config = Config::load(&relay.directory().join("proxy.yaml"), LoadMode::Run).unwrap();
    let service = authrelay::session::Service::new(&config).unwrap();
    service.refresh_unused(std::time::Duration::ZERO).await;
    assert_eq!(relay.sandbox.seen().token_requests, 2);
    let rows = accounts(relay.directory());
    assert_eq!(rows[1]["login"], LOGIN, "{rows:#}");
    assert_eq!(rows[1]["consent"], "given");
}
