//! People who sign in to the administrators' listener by OpenID Connect: what they may do, and what
//! nobody can make the relay believe.

mod browser;
mod hostile;
mod provider;
mod records;

use authrelay::sandbox::LOGIN;
use reqwest::Method;
use serde_json::json;

use browser::{Browser, PUBLIC, TOKEN, actions, below, relay};
use provider::Provider;

const BOSS: &str = "boss@contoso.com";

/// Claims of a person whose address is verified.
fn person(address: &str) -> serde_json::Value {
    json!({"email": address, "email_verified": true})
}

#[tokio::test]
async fn an_operator_signs_in_acts_and_is_on_the_audit_record() {
    let provider = Provider::start().await;
    provider.says(|script| script.claims = person("Boss@Contoso.com"));
    let relay = relay(&provider, "operators: [boss@contoso.com]").await;
    let mut browser = Browser::new(&relay);
    let page = browser.get("/").await;
    assert_eq!(page.status, 401);
    assert!(
        page.body
            .contains("href=\"http://localhost:8025/oidc/start\""),
        "{}",
        page.body
    );
    let redirect = browser.begin().await;
    let asked = &redirect.parameters;
    assert_eq!(asked["redirect_uri"], format!("{PUBLIC}/oidc/callback"));
    assert_eq!(asked["response_type"], "code");
    assert_eq!(asked["code_challenge_method"], "S256");
    assert!(asked["scope"].split(' ').any(|scope| scope == "openid"));
    let answer = browser.get(&redirect.back()).await;
    assert_eq!(
        (answer.status, answer.location.as_deref()),
        (303, Some("/")),
        "{}",
        answer.body
    );
    let session = answer
        .cookies
        .iter()
        .find(|cookie| cookie.starts_with("authrelay-session="))
        .unwrap();
    assert!(
        session.contains("; Path=/; HttpOnly; SameSite=Lax"),
        "{session}"
    );
    let page = browser.get("/").await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("boss@contoso.com, operator"),
        "{}",
        page.body
    );
    assert!(page.body.contains("data-do=\"test\""), "{}", page.body);
    let test = browser
        .post(&format!("/api/accounts/{LOGIN}/test?protocol=imap"))
        .await;
    assert_eq!(test.status, 200, "{}", test.body);
    assert_eq!(
        browser
            .post("/api/accounts/nobody@contoso.com/test")
            .await
            .status,
        404
    );
    assert_eq!(browser.post("/logout").await.status, 303);
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    assert_eq!(browser.get("/api/accounts").await.status, 401);
    // Commands have the token.
    let machine = [("authorization", format!("Bearer {TOKEN}"))];
    let machine = machine
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(
        browser
            .ask(Method::POST, "/api/reload", &machine)
            .await
            .status,
        200
    );
    let directory = relay.directory().to_owned();
    let mut expected = vec![];
    for (person, action, login, outcome) in [
        (BOSS, "sign_in", "", "accepted"),
        (BOSS, "test", LOGIN, "accepted"),
        (BOSS, "test", "nobody@contoso.com", "failed"),
        (BOSS, "sign_out", "", "accepted"),
        ("token", "reload", "", "accepted"),
    ] {
        expected.push([person, action, login, outcome].map(str::to_owned));
    }
    relay
        .control
        .current()
        .finish_audit(std::time::Duration::from_secs(10))
        .await;
    assert!(directory.exists());
    assert_eq!(actions(&relay), expected);
}

#[tokio::test]
async fn a_viewer_is_offered_nothing_and_refused_everything_else() {
    let provider = Provider::start().await;
    let group = "11111111-2222-3333-4444-555555555555";
    provider.says(|script| {
        script.claims = json!({"groups": ["other", group], "preferred_username": "Eve"});
    });
    let relay = relay(&provider, &format!("viewers: [{group}]")).await;
    let mut browser = Browser::new(&relay);
    assert_eq!(browser.sign_in().await.status, 303);
    for path in ["/", "/audit", "/api/accounts", "/api/sessions"] {
        assert_eq!(browser.get(path).await.status, 200, "{path}");
    }
    let page = browser.get("/").await.body;
    // The name may have been chosen; the subject was not.
    assert!(page.contains("Eve (subject subject-1), viewer"), "{page}");
    assert!(page.contains(LOGIN) && !page.contains("data-do="), "{page}");
    for (method, path) in [
        (Method::POST, "/api/reload".to_owned()),
        (Method::POST, format!("/api/accounts/{LOGIN}/authorize")),
        (Method::POST, format!("/api/accounts/{LOGIN}/test")),
        (Method::DELETE, format!("/api/accounts/{LOGIN}/token")),
    ] {
        let answer = browser.ask(method, &path, &[]).await;
        assert_eq!(answer.status, 403, "{path}");
        let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let said = said["error"].as_str().unwrap();
        assert!(
            said.contains("Eve") && said.contains("admin.users.operators"),
            "{said}"
        );
    }
    relay
        .control
        .current()
        .finish_audit(std::time::Duration::from_secs(10))
        .await;
    let refused: Vec<_> = actions(&relay)
        .into_iter()
        .filter(|action| action[3] == "refused")
        .map(|action| action[1].clone())
        .collect();
    assert_eq!(refused, ["reload", "authorize", "test", "forget"]);
}

#[tokio::test]
async fn somebody_without_a_role_is_told_so() {
    let provider = Provider::start().await;
    let relay = relay(&provider, "operators: [boss@contoso.com, ops]").await;
    for (claims, words) in [
        (person("eve@contoso.com"), "eve@contoso.com"),
        (
            json!({"email": BOSS, "email_verified": false}),
            "boss@contoso.com (subject subject-1)",
        ),
        (
            json!({"preferred_username": BOSS}),
            "boss@contoso.com (subject subject-1)",
        ),
        (
            json!({"groups": [BOSS, "Ops", "a-group-of-another-kind"]}),
            "a-group-of-another-kind",
        ),
        (
            json!({"_claim_names": {"groups": "src1"}}),
            "there are too many",
        ),
        (
            json!({"preferred_username": "<script>alert(1)</script>"}),
            "&#60;script&#62;",
        ),
    ] {
        provider.says(|script| script.claims = claims.clone());
        let mut browser = Browser::new(&relay);
        let answer = browser.sign_in().await;
        assert_eq!(answer.status, 403, "{claims}");
        assert!(answer.body.contains(words), "{claims}: {}", answer.body);
        assert!(
            answer.body.contains("neither a viewer nor an operator"),
            "{}",
            answer.body
        );
        assert!(!answer.body.contains("<script>"), "{}", answer.body);
        assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
        assert_eq!(browser.get("/").await.status, 401);
    }
}

/// Some providers put only the subject into ID tokens.
#[tokio::test]
async fn the_userinfo_endpoint_is_asked_where_the_id_token_says_too_little() {
    let provider = Provider::start().await;
    let relay = relay(&provider, "operators: [boss@contoso.com]").await;
    let info = |subject: &str| json!({"sub": subject, "email": BOSS, "email_verified": true});
    for (info, access_token, status) in [
        (info("subject-1"), "opaque", 303),
        (info("subject-2"), "opaque", 403),
        (json!("nothing"), "opaque", 403),
        (info("subject-1"), "two\nlines", 403),
    ] {
        provider.says(|script| {
            script.info = Some(info.clone());
            script.access_token = access_token.into();
        });
        let answer = Browser::new(&relay).sign_in().await;
        assert_eq!(
            answer.status, status,
            "{info} {access_token}: {}",
            answer.body
        );
    }
}

/// An ID token that makes a viewer does not say that its person is no operator: Okta and others
/// name groups at the UserInfo endpoint only.
#[tokio::test]
async fn a_viewer_by_the_id_token_is_an_operator_by_the_userinfo_endpoint() {
    let provider = Provider::start().await;
    let relay = relay(&provider, "viewers: [boss@contoso.com], operators: [ops]").await;
    for (groups, status) in [(json!(["ops"]), 404), (json!(["others"]), 403)] {
        provider.says(|script| {
            script.claims = person(BOSS);
            script.info = Some(json!({"sub": "subject-1", "groups": groups}));
        });
        let mut browser = Browser::new(&relay);
        assert_eq!(browser.sign_in().await.status, 303, "{groups}");
        let answer = browser.post("/api/accounts/nobody@contoso.com/test").await;
        assert_eq!(answer.status, status, "{groups}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_reload_takes_roles_away() {
    let provider = Provider::start().await;
    provider.says(|script| {
        script.claims = json!({"groups": ["ops"], "email": BOSS, "email_verified": true})
    });
    let relay = relay(&provider, "operators: [ops], viewers: [looking]").await;
    let mut browser = Browser::new(&relay);
    browser.sign_in().await;
    let test = format!("/api/accounts/{LOGIN}/test?protocol=imap");
    assert_eq!(browser.post(&test).await.status, 200);
    // From operator to viewer, at once.
    relay.rewrite(&[(
        "operators: [ops], viewers: [looking]",
        "operators: [others], viewers: [ops]",
    )]);
    let report = relay.control.reload().await.unwrap();
    assert!(report.restart.is_empty(), "{:?}", report.restart);
    assert_eq!(browser.post(&test).await.status, 403);
    assert_eq!(browser.get("/").await.status, 200);
    // From viewer to nobody; and what is given back later is no session any more.
    relay.rewrite(&[("viewers: [ops]", "viewers: [looking]")]);
    relay.control.reload().await.unwrap();
    assert_eq!(browser.get("/").await.status, 401);
    relay.rewrite(&[("viewers: [looking]", "viewers: [ops]")]);
    relay.control.reload().await.unwrap();
    assert_eq!(browser.get("/").await.status, 401);
    assert_eq!(browser.sign_in().await.status, 303);
    // Without admin.users nobody is signed in, and nobody can.
    let path = relay.directory().join("proxy.yaml");
    let yaml = std::fs::read_to_string(&path).unwrap();
    let without = yaml.lines().filter(|line| !line.starts_with("  users:"));
    std::fs::write(&path, without.collect::<Vec<_>>().join("\n")).unwrap();
    relay.control.reload().await.unwrap();
    let page = browser.get("/").await;
    assert_eq!(page.status, 401);
    assert!(!page.body.contains("/oidc/start"), "{}", page.body);
    assert_eq!(browser.get("/oidc/start").await.status, 404);
    assert_eq!(
        browser.get("/oidc/callback?code=x&state=y").await.status,
        404
    );
    std::fs::write(&path, yaml).unwrap();
    relay.control.reload().await.unwrap();
    assert_eq!(browser.get("/").await.status, 401);
    assert_eq!(browser.sign_in().await.status, 303);
}

/// Everything follows `public_url`, whatever a request's `Host` says.
#[tokio::test]
async fn cookies_and_addresses_follow_public_url() {
    let provider = Provider::start().await;
    provider.says(|script| script.claims = person(BOSS));
    let public = "https://relay.contoso.com/mail/relay";
    let relay = below(&provider, public, "operators: [boss@contoso.com]").await;
    for prefix in ["", "/mail/relay"] {
        let mut browser = Browser::new(&relay);
        let front = [("host", "127.0.0.1:9")];
        let page = browser
            .ask(Method::GET, &format!("{prefix}/"), &front)
            .await;
        assert!(
            page.body.contains(&format!("href=\"{public}/oidc/start\"")),
            "{}",
            page.body
        );
        let start = browser.get(&format!("{prefix}/oidc/start")).await;
        let location = start.location.unwrap();
        assert!(
            location.contains(
                "redirect_uri=https%3A%2F%2Frelay.contoso.com%2Fmail%2Frelay%2Foidc%2Fcallback"
            ),
            "{location}"
        );
        let back = browser::Redirect::of(&location)
            .back()
            .replace(public, prefix);
        let answer = browser.get(&back).await;
        assert_eq!(
            (answer.status, answer.location.as_deref()),
            (303, Some("/mail/relay/"))
        );
        for cookie in start.cookies.iter().chain(&answer.cookies) {
            assert!(
                cookie.contains("; Path=/mail/relay/; HttpOnly; SameSite="),
                "{cookie}"
            );
            assert!(cookie.ends_with("; Secure"), "{cookie}");
        }
        assert_eq!(browser.get(&format!("{prefix}/")).await.status, 200);
    }
    let strange = [("host", "evil.example")];
    let answer = Browser::new(&relay)
        .ask(Method::GET, "/oidc/start", &strange)
        .await;
    assert_eq!(answer.status, 421);
}
