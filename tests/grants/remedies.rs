//! What error names and codes of a token endpoint lead to, by grant.

use authrelay::wire::Protocol::Imap;
use serde_json::json;

use crate::consent::accounts;
use crate::endpoint::{Answer, Endpoint};
use crate::stage::{Relay, Setup};
use crate::{assert_logs_in, consent, consenting, log_in};

fn named(error: &str) -> Answer {
    Answer::json(400, &json!({"error": error}))
}

/// A relay with a consent, whose endpoint answers everything else as `answer` says.
async fn consented(answer: Answer) -> (Relay, Endpoint) {
    let endpoint = Endpoint::start().await;
    let relay = consenting().token_url(&endpoint.url()).start().await;
    let token = relay.sandbox.issue_token().unwrap();
    endpoint.always(Answer::json(
        200,
        &json!({"access_token": token, "refresh_token": "r", "expires_in": 3599}),
    ));
    assert_eq!(consent(&relay).await.0, 200);
    relay.sandbox.revoke_tokens();
    endpoint.always(answer);
    (relay, endpoint)
}

fn state(relay: &Relay) -> String {
    accounts(relay.directory())[0]["consent"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Yahoo shouts that a consent is over; once is enough.
#[tokio::test]
async fn f40_error_names_are_compared_without_regard_to_case() {
    for name in [
        "INVALID_REFRESH_TOKEN",
        "Invalid_Refresh_Token",
        "INVALID_GRANT",
        "Invalid_grant",
    ] {
        let (relay, endpoint) = consented(named(name)).await;
        let reply = log_in(&relay, Imap).await;
        assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{name}: {reply}");
        assert_eq!(state(&relay), "needed", "{name}");
        let asked = endpoint.count();
        log_in(&relay, Imap).await;
        assert_eq!(endpoint.count(), asked, "{name} is asked about again");
    }
}

/// A limit passes, in any case too: the consent stays and works as soon as tokens come again.
#[tokio::test]
async fn d25_a_rate_limit_ends_no_consent() {
    for name in ["rate_limit_exceeded", "RATE_LIMIT_EXCEEDED"] {
        let (relay, endpoint) = consented(named(name)).await;
        let reply = log_in(&relay, Imap).await;
        assert!(reply.starts_with("a NO [UNAVAILABLE] "), "{name}: {reply}");
        assert_eq!(state(&relay), "given", "{name}");
        let token = relay.sandbox.issue_token().unwrap();
        endpoint.always(Answer::json(
            200,
            &json!({"access_token": token, "expires_in": 3599}),
        ));
        // The first pause is a second.
        let mut tries = 0;
        while log_in(&relay, Imap).await.starts_with("a NO ") {
            tries += 1;
            assert!(tries < 600, "{name} is never asked about again");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_logs_in(&relay, Imap).await;
    }
}

/// Conditional Access of workload identities: no one can sign in interactively for an application.
#[tokio::test]
async fn f46_a_policy_that_blocks_an_application_names_the_egress_address() {
    for error in ["invalid_grant", "invalid_client", "access_denied"] {
        let endpoint = Endpoint::start().await;
        let relay = Setup::default().token_url(&endpoint.url()).start().await;
        endpoint.always(Answer::entra(error, 53003));
        let reply = log_in(&relay, Imap).await;
        assert!(
            reply.starts_with("a NO [CONTACTADMIN] "),
            "{error}: {reply}"
        );
        let fault = relay.log.named("fault").pop().expect("a fault in the log");
        assert_eq!(fault["fault"], "identity_provider: refused", "{fault}");
        let remedy = fault["remedy"].as_str().unwrap();
        assert!(
            remedy.contains("egress address a named location"),
            "{error}: {remedy}"
        );
        assert!(!remedy.contains("interactive"), "{error}: {remedy}");
    }
}

/// An endpoint that repeats what it was sent makes no secret public.
#[tokio::test]
async fn secrets_that_an_endpoint_repeats_are_cut() {
    let endpoint = Endpoint::start().await;
    let relay = Setup::default().token_url(&endpoint.url()).start().await;
    endpoint.script(|asked| {
        let said = format!(
            "AADSTS7000215: {} is wrong, all of {asked:?}",
            asked["client_secret"]
        );
        Answer::json(
            401,
            &json!({"error": "invalid_client", "error_description": said}),
        )
    });
    let reply = log_in(&relay, Imap).await;
    assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
    let secret = endpoint.asked()[0]["client_secret"].clone();
    assert!(secret.len() > 3);
    let text = relay.log.text();
    assert!(text.contains("[cut] is wrong"), "{text}");
    assert!(!text.contains(&secret), "{text}");
}

/// No consent can have ended where nobody consents.
#[tokio::test]
async fn an_applications_remedy_speaks_of_no_consent() {
    let endpoint = Endpoint::start().await;
    let relay = Setup::default().token_url(&endpoint.url()).start().await;
    endpoint.always(named("invalid_grant"));
    log_in(&relay, Imap).await;
    let fault = relay.log.named("fault").pop().expect("a fault in the log");
    let remedy = fault["remedy"].as_str().unwrap();
    assert!(
        remedy.contains("client_id") && !remedy.contains("authorize"),
        "{remedy}"
    );
}

/// A code alone, instead of a list of codes, is one too.
#[tokio::test]
async fn d22_a_code_outside_a_list_counts() {
    let (relay, _endpoint) = consented(Answer::json(
        400,
        &json!({"error": "invalid_grant", "error_codes": 50105}),
    ))
    .await;
    let reply = log_in(&relay, Imap).await;
    assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
    assert_eq!(state(&relay), "attention");
}
