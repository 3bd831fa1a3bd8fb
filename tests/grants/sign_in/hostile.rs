//! What nobody can make the relay believe: tokens, redirects, cookies; and providers that are away.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::browser::{Browser, TOKEN, relay};
use super::provider::{CLIENT, Provider, SECRET, Signed};
use super::{BOSS, person};
use crate::clock::{patient, still};
use crate::free_port;

const OPERATORS: &str = "operators: [boss@contoso.com]";

#[tokio::test]
async fn an_id_token_that_does_not_hold_signs_nobody_in() {
    let provider = Provider::start().await;
    let relay = relay(&provider, OPERATORS).await;
    let cases: Vec<(&str, Value, Signed, &str)> = vec![
        ("nonce", json!({"nonce": "another"}), Signed::Well, "nonce"),
        ("no nonce", json!({"nonce": null}), Signed::Well, "nonce"),
        (
            "audience",
            json!({"aud": "another"}),
            Signed::Well,
            "audience",
        ),
        (
            "two audiences",
            json!({"aud": [CLIENT, "another"]}),
            Signed::Well,
            "audience",
        ),
        (
            "for another",
            json!({"azp": "another"}),
            Signed::Well,
            "another client",
        ),
        ("no audience", json!({"aud": null}), Signed::Well, "aud"),
        (
            "issuer",
            json!({"iss": "https://id.example"}),
            Signed::Well,
            "issuer",
        ),
        ("no issuer", json!({"iss": null}), Signed::Well, "iss"),
        (
            "expired",
            json!({"exp": 1_700_000_000}),
            Signed::Well,
            "expired",
        ),
        ("no end", json!({"exp": null}), Signed::Well, "exp"),
        ("no subject", json!({"sub": null}), Signed::Well, "sub"),
        ("alg none", json!({}), Signed::Not, "signature"),
        ("HS256", json!({}), Signed::BySecret, "algorithm"),
        (
            "another's key",
            json!({}),
            Signed::ByAnother,
            "is not valid",
        ),
    ];
    for (case, claims, signed, words) in cases {
        provider.says(|script| {
            script.claims = person(BOSS);
            for (name, value) in claims.as_object().unwrap() {
                script.claims[name] = value.clone();
            }
            script.signed = signed;
        });
        let mut browser = Browser::new(&relay);
        let answer = browser.sign_in().await;
        assert_eq!(answer.status, 400, "{case}: {}", answer.body);
        let said = answer.body.to_lowercase();
        assert!(
            said.contains("not signed in") && said.contains(words),
            "{case}: {said}"
        );
        assert!(browser.cookies.is_empty(), "{case}: {:?}", browser.cookies);
        assert_eq!(browser.get("/").await.status, 401, "{case}");
    }
}

#[tokio::test]
async fn a_redirect_is_good_once_and_in_one_browser() {
    let provider = Provider::start().await;
    provider.says(|script| script.claims = person(BOSS));
    let relay = relay(&provider, OPERATORS).await;
    let (mut own, mut other) = (Browser::new(&relay), Browser::new(&relay));
    let (mine, theirs) = (own.begin().await, other.begin().await);
    // What one browser began, another cannot finish: nobody is signed in as somebody else.
    for back in [mine.back(), mine.back_with(&[("code", "x.y")])] {
        assert_eq!(other.get(&back).await.status, 400);
    }
    assert_eq!(Browser::new(&relay).get(&mine.back()).await.status, 400);
    assert_eq!(own.get(&theirs.back()).await.status, 400);
    assert_eq!(provider.script.lock().unwrap().asked_for_tokens, 0);
    // The last one began again, since a wrong answer ends a sign-in.
    let mine = own.begin().await;
    let kept = own.cookies.clone();
    assert_eq!(own.get(&mine.back()).await.status, 303);
    // With its cookie, and once more without.
    let mut replaying = Browser::new(&relay);
    replaying.cookies = kept;
    let replayed = replaying.get(&mine.back()).await;
    assert_eq!(replayed.status, 400);
    assert!(replayed.body.contains("used already"), "{}", replayed.body);
    assert_eq!(own.get(&mine.back()).await.status, 400);
    assert_eq!(provider.script.lock().unwrap().asked_for_tokens, 1);
    // The session is what it was.
    assert_eq!(own.get("/").await.status, 200);
}

#[tokio::test]
async fn answers_without_a_code_are_said_in_words() {
    let provider = Provider::start().await;
    let relay = relay(&provider, OPERATORS).await;
    for (more, words) in [
        (
            vec![
                ("error", "access_denied"),
                ("error_description", "no <b>way</b>\r\nX: y"),
            ],
            "access_denied no &#60;b&#62;way",
        ),
        (vec![("error", "login_required")], "login_required"),
        (vec![], "neither a code nor an error"),
        (
            vec![("code", "a.b"), ("iss", "https://id.example")],
            "another issuer",
        ),
    ] {
        let mut browser = Browser::new(&relay);
        let back = browser.begin().await.back_with(&more);
        let answer = browser.get(&back).await;
        assert_eq!(answer.status, 400, "{more:?}");
        assert!(answer.body.contains(words), "{more:?}: {}", answer.body);
    }
    for (refusal, words) in [
        (
            (
                400,
                json!({"error": "invalid_grant", "error_description": "AADSTS70008"}),
            ),
            "AADSTS70008",
        ),
        (
            (
                400,
                json!({"error": "invalid_grant", "error_description": format!("{SECRET} is wrong")}),
            ),
            "[cut] is wrong",
        ),
        (
            (401, json!({"error": "invalid_client"})),
            "admin.users.client_id and client_secret",
        ),
        ((404, json!("garbage")), "cannot be read"),
        (
            (200, json!({"access_token": "x", "token_type": "Bearer"})),
            "no id token",
        ),
    ] {
        provider.says(|script| script.refusal = Some(refusal.clone()));
        let answer = Browser::new(&relay).sign_in().await;
        assert!(answer.status == 400, "{refusal:?}: {}", answer.body);
        let said = answer.body.to_lowercase();
        assert!(said.contains(&words.to_lowercase()), "{refusal:?}: {said}");
    }
    // An outage says nothing about the code, whatever its body is.
    for (status, body) in [
        (500, json!("garbage")),
        (503, json!({"error": "invalid_grant"})),
        (429, json!({"error": "temporarily_unavailable"})),
    ] {
        provider.says(|script| script.refusal = Some((status, body.clone())));
        let answer = Browser::new(&relay).sign_in().await;
        assert_eq!(answer.status, 503, "{status}: {}", answer.body);
        let words = format!("token endpoint cannot be used: it answers HTTP {status}");
        assert!(answer.body.contains(&words), "{}", answer.body);
    }
}

/// A key that is not known is asked for, at most once a minute.
#[test]
fn keys_that_were_replaced_are_fetched_again() {
    still(|clock| async move {
        let provider = Provider::start().await;
        provider.says(|script| script.claims = person(BOSS));
        let relay = relay(&provider, OPERATORS).await;
        let asked = || provider.script.lock().unwrap().asked_for_keys;
        assert_eq!(Browser::new(&relay).sign_in().await.status, 303);
        assert_eq!(asked(), 1);
        provider.says(|script| script.kid = "two".into());
        for _ in 0..3 {
            let answer = Browser::new(&relay).sign_in().await;
            assert_eq!(answer.status, 400, "{}", answer.body);
        }
        assert_eq!(asked(), 1, "within a minute of the first");
        provider.says(|script| script.published = vec!["one".into(), "two".into()]);
        clock.advance(Duration::from_secs(61)).await;
        assert_eq!(Browser::new(&relay).sign_in().await.status, 303);
        assert_eq!(asked(), 2);
    });
}

/// However it is used.
#[test]
fn a_session_ends_after_eight_hours() {
    still(|clock| async move {
        let provider = Provider::start().await;
        provider.says(|script| script.claims = person(BOSS));
        let relay = relay(&provider, OPERATORS).await;
        let mut browser = Browser::new(&relay);
        browser.sign_in().await;
        for _ in 0..7 {
            clock.advance(Duration::from_secs(3600)).await;
            assert_eq!(browser.get("/api/sessions").await.status, 200);
        }
        clock.advance(Duration::from_secs(3590)).await;
        assert_eq!(browser.get("/api/sessions").await.status, 200);
        clock.advance(Duration::from_secs(20)).await;
        assert_eq!(browser.get("/api/sessions").await.status, 401);
    });
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_in_words_and_blocks_nobody() {
    let gone = Provider {
        url: format!("http://127.0.0.1:{}", free_port()),
        script: Provider::start().await.script,
    };
    let relay_of_gone = relay(&gone, OPERATORS).await;
    let mut browser = Browser::new(&relay_of_gone);
    // The page does not ask for it.
    assert_eq!(browser.get("/").await.status, 401);
    let answer = browser.get("/oidc/start").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer
            .body
            .contains("the identity provider cannot be used: "),
        "{}",
        answer.body
    );
    // The token's form is there all the same.
    assert!(answer.body.contains("id=\"token\""), "{}", answer.body);
    let machine = [("authorization", format!("Bearer {TOKEN}"))];
    let machine = machine
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(
        browser
            .ask(Method::GET, "/api/accounts", &machine)
            .await
            .status,
        200
    );

    let provider = Provider::start().await;
    provider.says(|script| script.issuer = Some("https://id.example".into()));
    let relay_of_other = relay(&provider, OPERATORS).await;
    let answer = Browser::new(&relay_of_other).get("/oidc/start").await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("names another issuer"),
        "{}",
        answer.body
    );
}

#[test]
fn a_silent_provider_holds_up_sign_ins_and_nothing_else() {
    still(|clock| async move {
        let provider = Provider::start().await;
        provider.says(|script| script.silent = true);
        let relay = relay(&provider, OPERATORS).await;
        let admin = relay.listener("admin");
        let start = || {
            let request = crate::http().get(format!("http://{admin}/oidc/start"));
            tokio::spawn(request.send())
        };
        // As many as may wait, and others, who are told at once.
        let requests: Vec<_> = (0..40).map(|_| start()).collect();
        let requests = patient("answers", async {
            let mut requests = requests;
            while requests.len() > 16 {
                let (answer, _, rest) = futures_util::future::select_all(requests).await;
                requests = rest;
                let said = answer.unwrap().unwrap().text().await.unwrap();
                assert!(said.contains("too many sign-ins are waiting"), "{said}");
            }
            requests
        })
        .await;
        for path in ["/livez", "/", "/api/accounts"] {
            let request = crate::http().get(format!("http://{admin}{path}"));
            patient(path, request.send()).await.unwrap();
        }
        let all = futures_util::future::join_all(requests);
        for answer in clock.until_ready(Duration::from_secs(30), all).await {
            let answer = answer.unwrap().unwrap();
            assert_eq!(answer.status(), 503);
            let said = answer.text().await.unwrap();
            assert!(said.contains("no answer within 10 s"), "{said}");
        }
    });
}

#[tokio::test]
async fn thousands_of_sign_ins_that_nobody_ends_keep_nobody_out() {
    let provider = Provider::start().await;
    provider.says(|script| script.claims = person(BOSS));
    let relay = relay(&provider, OPERATORS).await;
    let mut first = Browser::new(&relay);
    let begun = first.begin().await;
    let client = crate::http();
    let admin = relay.listener("admin");
    for _ in 0..3_000 {
        let answer = client
            .get(format!("http://{admin}/oidc/start"))
            .send()
            .await;
        assert_eq!(answer.unwrap().status(), 303);
    }
    assert_eq!(first.get(&begun.back()).await.status, 303);
    assert_eq!(first.get("/").await.status, 200);
}

/// Session fixation, and cookies and parameters of any size.
#[tokio::test]
async fn cookies_are_the_relays_own() {
    let provider = Provider::start().await;
    provider.says(|script| script.claims = person(BOSS));
    let relay = relay(&provider, OPERATORS).await;
    let mut browser = Browser::new(&relay);
    let planted = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    browser
        .cookies
        .insert("authrelay-session".into(), planted.into());
    assert_eq!(browser.get("/").await.status, 401);
    browser.sign_in().await;
    let first = browser.cookies["authrelay-session"].clone();
    assert!(first != planted && first.len() == 43, "{first}");
    // Whoever signs in again has another session, and the one before is over.
    browser.sign_in().await;
    let second = browser.cookies["authrelay-session"].clone();
    assert_ne!(first, second);
    let mut old = Browser::new(&relay);
    old.cookies.insert("authrelay-session".into(), first);
    assert_eq!(old.get("/").await.status, 401);
    // With the token typed in, the session is over as well.
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let admin = relay.listener("admin");
    let log_in = crate::http()
        .post(format!("http://{admin}/login"))
        .header("cookie", format!("authrelay-session={second}"))
        .header(form[0].0, form[0].1)
        .body(format!("token={TOKEN}"));
    assert_eq!(log_in.send().await.unwrap().status(), 303);
    assert_eq!(browser.get("/").await.status, 401);
    for size in [5_000, 30_000, 600_000] {
        let long = "A".repeat(size);
        let short = long.get(..30_000).unwrap_or(&long);
        let cookies = format!("authrelay-sign-in={long}; authrelay-session={long}");
        for (query, cookies) in [
            ("state=a&code=b".to_owned(), cookies),
            (format!("state={short}&code={short}"), String::new()),
        ] {
            let request = crate::http()
                .get(format!("http://{admin}/oidc/callback?{query}"))
                .header("cookie", cookies);
            // What is longer than a head may be has its connection closed.
            match request.send().await.map(|answer| answer.status().as_u16()) {
                Ok(status) => assert!(matches!(status, 400 | 414 | 431), "{size}: {status}"),
                Err(error) => assert!(size > 400_000, "{size}: {error}"),
            }
        }
    }
    assert_eq!(Browser::new(&relay).sign_in().await.status, 303);
}

/// With a session's cookie, as with a token's: nothing is changed from another site.
#[tokio::test]
async fn another_site_changes_nothing_with_a_session() {
    let provider = Provider::start().await;
    provider.says(|script| script.claims = person(BOSS));
    let relay = relay(&provider, OPERATORS).await;
    let mut browser = Browser::new(&relay);
    browser.sign_in().await;
    for (headers, status) in [
        (vec![("origin", "https://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site")], 403),
        (vec![("host", "evil.example")], 421),
        (
            vec![
                ("origin", "http://localhost:8025"),
                ("sec-fetch-site", "same-origin"),
            ],
            200,
        ),
        // Of a web server in front; and a wrong token, which is meant.
        (vec![("authorization", "Basic b3BzOnNlY3JldA==")], 200),
        (vec![("authorization", "Bearer a-wrong-token")], 401),
    ] {
        let answer = browser.ask(Method::POST, "/api/reload", &headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.body);
    }
    let foreign = [("origin", "https://evil.example")];
    assert_eq!(
        browser.ask(Method::POST, "/logout", &foreign).await.status,
        403
    );
    assert_eq!(browser.get("/").await.status, 200);
}
