//! The administrators' listener: who may ask, and what for.

use authrelay::sandbox::LOGIN;
use authrelay::wire::Protocol::Imap;

use crate::stage::Relay;
use crate::{consent, consenting, log_in};

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: String,
}

async fn ask(relay: &Relay, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let admin = relay.listener("admin");
    let http = crate::http();
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = http.request(method, format!("http://{admin}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        body: answer.text().await.unwrap(),
    }
}

const TOKEN: (&str, &str) = ("authorization", "Bearer admin-token-9Zk4");

#[tokio::test]
async fn health_is_open_and_everything_else_wants_the_token() {
    let relay = consenting().start().await;
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/api/accounts", 401),
        ("/", 401),
        ("/nothing", 401),
        ("/oauth/callback", 400),
    ] {
        let answer = ask(&relay, "GET", path, &[]).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    for wrong in [
        "Bearer admin-token-9Zx4",
        "Bearer ",
        "admin-token-9Zk4",
        "Basic admin-token-9Zk4",
    ] {
        let answer = ask(&relay, "GET", "/api/accounts", &[("authorization", wrong)]).await;
        assert_eq!(answer.status, 401, "{wrong}");
    }
    let answer = ask(&relay, "GET", "/api/accounts", &[TOKEN]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert!(
        answer.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
}

/// DNS rebinding and cross-site requests.
#[tokio::test]
async fn strange_hosts_and_other_sites_are_refused() {
    let relay = consenting().start().await;
    for (host, status) in [
        ("evil.example", 421),
        ("localhost:8025", 200),
        ("127.0.0.1", 200),
        ("[::1]:8025", 200),
    ] {
        let answer = ask(&relay, "GET", "/api/accounts", &[TOKEN, ("host", host)]).await;
        assert_eq!(answer.status, status, "{host}");
    }
    let answer = ask(&relay, "GET", "/readyz", &[("host", "evil.example")]).await;
    assert_eq!(answer.status, 200);
    let path = format!("/api/accounts/{LOGIN}/authorize");
    for (headers, status) in [
        (vec![TOKEN, ("origin", "https://evil.example")], 403),
        (vec![TOKEN, ("sec-fetch-site", "cross-site")], 403),
        (vec![TOKEN, ("sec-fetch-site", "same-site")], 403),
        (vec![TOKEN, ("origin", "null")], 403),
        (vec![TOKEN, ("sec-fetch-site", "same-origin")], 200),
        (vec![TOKEN], 200),
        (vec![], 401),
    ] {
        let answer = ask(&relay, "POST", &path, &headers).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.body);
    }
}

#[tokio::test]
async fn accounts_say_what_is_known_and_no_secret() {
    let relay = consenting().start().await;
    let rows = || async {
        let answer = ask(&relay, "GET", "/api/accounts", &[TOKEN]).await;
        for secret in [
            "eyJ",
            "1.AX",
            authrelay::sandbox::PASSWORD,
            "admin-token-9Zk4",
        ] {
            assert!(!answer.body.contains(secret), "{}", answer.body);
        }
        serde_json::from_str::<serde_json::Value>(&answer.body).unwrap()
    };
    log_in(&relay, Imap).await;
    let row = rows().await[0].clone();
    assert_eq!(row["login"], LOGIN);
    assert_eq!(row["mailbox"], LOGIN);
    assert_eq!(row["registration"], "sandbox");
    assert_eq!(row["provider"], "microsoft365");
    assert_eq!(row["grant"], "authorization_code");
    assert_eq!(
        row["protocols"],
        serde_json::json!(["imap", "pop3", "smtp"])
    );
    assert_eq!(row["consent"], "needed");
    assert_eq!(row["last_fault"]["side"], "identity_provider");
    assert_eq!(row["last_fault"]["kind"], "refused");
    assert!(row.get("last_login").is_none());
    consent(&relay).await;
    log_in(&relay, Imap).await;
    let row = rows().await[0].clone();
    assert_eq!(row["consent"], "given");
    assert_eq!(row["token"]["state"], "valid");
    assert!(row["token"]["expires"].as_str().unwrap().ends_with('Z'));
    assert!(row["last_login"].as_str().unwrap().ends_with('Z'));
    assert!(row.get("last_fault").is_none(), "{row}");
    let answer = ask(
        &relay,
        "DELETE",
        &format!("/api/accounts/{LOGIN}/token"),
        &[TOKEN],
    )
    .await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "{\"forgotten\":true}")
    );
    assert_eq!(rows().await[0]["consent"], "needed");
    let answer = ask(&relay, "DELETE", "/api/accounts/nobody/token", &[TOKEN]).await;
    assert_eq!(answer.status, 404);
}

/// Requirement 40: readiness fails while draining, and only then.
#[tokio::test]
async fn r40_a_draining_relay_is_alive_and_not_ready() {
    let relay = consenting().start().await;
    relay
        .sandbox
        .set_fault(Some(authrelay::sandbox::Fault::UpstreamUnreachable));
    assert_eq!(ask(&relay, "GET", "/readyz", &[]).await.status, 200);
    relay.sandbox.set_fault(None);
    consent(&relay).await;
    let mut busy = relay.session(Imap).await;
    // A command that is not answered yet keeps the session, and so the relay, from ending.
    busy.send("a SELECT INBOX\r\nb FETCH 1 BODY[").await;
    busy.until("a OK ").await;
    relay.shut_down();
    let draining = crate::clock::patient("draining", async {
        loop {
            let answer = ask(&relay, "GET", "/readyz", &[]).await;
            if answer.status == 503 {
                return answer.body;
            }
        }
    })
    .await;
    assert_eq!(draining, "draining\n");
    assert_eq!(ask(&relay, "GET", "/livez", &[]).await.status, 200);
}

/// The counts equal what happened; every family and every known series is there from the start.
#[tokio::test]
async fn metrics_count_what_happened() {
    let relay = crate::stage::Setup::default()
        .append("admin: {bind: \"127.0.0.1:0\", token: admin-token-9Zk4}\n")
        .start()
        .await;
    let text = || async {
        let answer = ask(&relay, "GET", "/metrics", &[("host", "anything.example")]).await;
        assert_eq!(answer.status, 200);
        assert!(
            answer.headers["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/plain; version=0.0.4")
        );
        answer.body
    };
    let start = text().await;
    for (family, kind) in [
        ("sessions_total", "counter"),
        ("sessions_active", "gauge"),
        ("login_duration_seconds", "histogram"),
        ("relayed_bytes_total", "counter"),
        ("messages_total", "counter"),
        ("smtp_waits_total", "counter"),
        ("faults_total", "counter"),
        ("token_requests_total", "counter"),
        ("token_request_duration_seconds", "histogram"),
        ("reauthorization_required", "gauge"),
        ("credential_expiry_timestamp_seconds", "gauge"),
    ] {
        assert!(
            start.contains(&format!("# TYPE authrelay_{family} {kind}\n")),
            "{family}\n{start}"
        );
        assert!(
            start.contains(&format!("# HELP authrelay_{family} ")),
            "{family}\n{start}"
        );
    }
    let zero = "authrelay_faults_total{protocol=\"pop3\",side=\"upstream\",kind=\"busy\"} 0\n";
    assert!(start.contains(zero), "{start}");
    assert!(
        start.contains(
            "authrelay_token_requests_total{registration=\"sandbox\",outcome=\"ok\"} 0\n"
        )
    );

    // A wrong password and then the right one, in one session.
    let mut client = relay.connect(Imap).await;
    client.log_in(LOGIN, "wrong").await;
    client.log_in(LOGIN, authrelay::sandbox::PASSWORD).await;
    client.send("b LOGOUT\r\n").await;
    client.rest().await;
    // One that says nothing.
    drop(relay.connect(authrelay::wire::Protocol::Pop3).await);
    // Three messages: taken, refused, and lost in the middle.
    let mut smtp = relay.session(authrelay::wire::Protocol::Smtp).await;
    let transaction = format!("MAIL FROM:<{LOGIN}>\r\nRCPT TO:<{LOGIN}>\r\nDATA\r\n");
    smtp.send(&transaction).await;
    smtp.until("354 ").await;
    smtp.send("\r\nSubject: one\r\n\r\nx\r\n.\r\n").await;
    smtp.until("250 2.0.0 OK").await;
    relay
        .sandbox
        .set_fault(Some(authrelay::sandbox::Fault::SendAsDenied));
    smtp.send(&transaction).await;
    smtp.until("354 ").await;
    smtp.send("Subject: two\r\n\r\nx\r\n.\r\n").await;
    smtp.until("554 5.2.252").await;
    relay.sandbox.set_fault(None);
    smtp.send(&transaction).await;
    smtp.until("354 ").await;
    smtp.send("Subject: three\r\n").await;
    assert!(
        text()
            .await
            .contains("authrelay_sessions_active{protocol=\"smtp\"} 1\n")
    );
    drop(smtp);
    // The probe is none of them.
    relay.log.sessions(2).await;
    let end = text().await;
    for expected in [
        "authrelay_sessions_total{protocol=\"imap\",outcome=\"relayed\"} 1",
        "authrelay_sessions_total{protocol=\"pop3\",outcome=\"probe\"} 1",
        "authrelay_sessions_total{protocol=\"smtp\",outcome=\"relayed\"} 1",
        "authrelay_sessions_active{protocol=\"smtp\"} 0",
        "authrelay_faults_total{protocol=\"imap\",side=\"client\",kind=\"credentials\"} 1",
        "authrelay_login_duration_seconds_count{protocol=\"imap\"} 1",
        "authrelay_token_requests_total{registration=\"sandbox\",outcome=\"ok\"} 1",
        "authrelay_token_request_duration_seconds_count 1",
        "authrelay_messages_total{outcome=\"accepted\"} 1",
        "authrelay_messages_total{outcome=\"rejected\"} 1",
        "authrelay_messages_total{outcome=\"lost\"} 1",
    ] {
        assert!(end.contains(&format!("{expected}\n")), "{expected}\n{end}");
    }
    assert!(
        !end.contains("contoso") && !end.contains("127.0.0.1"),
        "{end}"
    );
}

#[tokio::test]
async fn metrics_tell_who_waits_for_a_consent_and_may_be_closed() {
    let relay = consenting().start().await;
    let waiting = "authrelay_reauthorization_required{registration=\"sandbox\"}";
    let text = ask(&relay, "GET", "/metrics", &[]).await.body;
    assert!(text.contains(&format!("{waiting} 1\n")), "{text}");
    // Nobody was asked: there is nothing to ask with.
    log_in(&relay, Imap).await;
    consent(&relay).await;
    let text = ask(&relay, "GET", "/metrics", &[]).await.body;
    assert!(text.contains(&format!("{waiting} 0\n")), "{text}");
    assert!(
        text.contains(
            "authrelay_token_requests_total{registration=\"sandbox\",outcome=\"refused\"} 0\n"
        ),
        "{text}"
    );
    let relay = consenting()
        .replace(
            "    client_id: ",
            "    client_secret_expires: 2027-05-01\n    client_id: ",
        )
        .append("  \n")
        .start()
        .await;
    let text = ask(&relay, "GET", "/metrics", &[]).await.body;
    assert!(
        text.contains(
            "authrelay_credential_expiry_timestamp_seconds{registration=\"sandbox\"} 1809129600.0\n"
        ),
        "{text}"
    );
    let closed = crate::registration("grant: authorization_code")
        .append("admin: {bind: \"127.0.0.1:0\", token: admin-token-9Zk4, metrics_public: false}\n")
        .start()
        .await;
    assert_eq!(ask(&closed, "GET", "/metrics", &[]).await.status, 401);
    assert_eq!(ask(&closed, "GET", "/metrics", &[TOKEN]).await.status, 200);
}

#[tokio::test]
async fn what_runs_and_what_it_takes_is_counted() {
    let relay = consenting().start().await;
    let text = ask(&relay, "GET", "/metrics", &[]).await.body;
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {text}"))
            .trim()
            .parse()
            .unwrap()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let started = value("process_start_time_seconds ");
    assert!(
        (now.unwrap().as_secs_f64() - started).abs() < 86_400.0,
        "{started}"
    );
    assert!(value("process_resident_memory_bytes ") > 1e6);
    assert!(
        value("process_open_fds ") >= 3.0 && value("process_max_fds ") > value("process_open_fds ")
    );
    assert!(value("process_cpu_seconds_total ") >= 0.0);
    let version = env!("CARGO_PKG_VERSION");
    let info = format!("authrelay_build_info{{version=\"{version}\",revision=\"");
    assert!(text.contains(&info), "{text}");
    for outcome in ["ok", "failed", "dropped"] {
        let name = format!("authrelay_notifications_total{{outcome=\"{outcome}\"}} ");
        assert_eq!(value(&name), 0.0);
    }
    for name in [
        "process_cpu_seconds_total",
        "authrelay_build_info",
        "authrelay_notifications_total",
    ] {
        assert_eq!(
            text.matches(&format!("# TYPE {name} ")).count(),
            1,
            "{name}"
        );
        assert_eq!(
            text.matches(&format!("# HELP {name} ")).count(),
            1,
            "{name}"
        );
    }
}

/// A browser gives the token once.
#[tokio::test]
async fn a_browser_keeps_a_cookie_made_of_the_token() {
    let relay = consenting().start().await;
    let admin = relay.listener("admin");
    let form = |token: &str, origin: Option<String>| {
        let request = crate::http()
            .post(format!("http://{admin}/login"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}"));
        match origin {
            Some(origin) => request.header("origin", origin),
            None => request,
        }
        .send()
    };
    let refused = form("a-guess", None).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.headers().get("set-cookie").is_none());
    let foreign = form("admin-token-9Zk4", Some("https://evil.example".into()));
    assert_eq!(foreign.await.unwrap().status(), 403);
    let own = form("admin-token-9Zk4", Some(format!("http://{admin}")));
    let answer = own.await.unwrap();
    assert_eq!(answer.status(), 303);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    for part in ["; HttpOnly", "; SameSite=Strict", "; Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("admin-token-9Zk4"), "{cookie}");
    let (cookie, _) = cookie.split_once(';').unwrap();
    let page = ask(&relay, "GET", "/", &[("cookie", cookie)]).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains(LOGIN));
    let page = ask(&relay, "GET", "/", &[("cookie", "authrelay=guess")]).await;
    assert_eq!(page.status, 401);
    assert!(!page.body.contains(LOGIN));
    let out = ask(&relay, "POST", "/logout", &[("cookie", cookie)]).await;
    assert!(
        out.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
}

#[tokio::test]
async fn sessions_are_listed_while_they_are_open() {
    let relay = consenting()
        .log(authrelay::config::LogFormat::Json, tracing::Level::DEBUG)
        .start()
        .await;
    let sessions = async || {
        let answer = ask(&relay, "GET", "/api/sessions", &[TOKEN]).await;
        serde_json::from_str::<serde_json::Value>(&answer.body).unwrap()
    };
    assert_eq!(sessions().await, serde_json::json!([]));
    consent(&relay).await;
    let knocking = relay.connect(Imap).await;
    let mut client = relay.session(Imap).await;
    client.ask("b NOOP\r\n", "b OK").await;
    let open = sessions().await;
    assert_eq!(open.as_array().unwrap().len(), 2, "{open}");
    assert_eq!(open[0]["phase"], "login");
    assert!(open[0].get("login").is_none());
    let row = &open[1];
    for (key, value) in [
        ("listener", "imap"),
        ("protocol", "imap"),
        ("login", LOGIN),
        ("mailbox", LOGIN),
        ("phase", "relay"),
    ] {
        assert_eq!(row[key], value, "{row}");
    }
    assert_eq!(row["bytes_up"], 8);
    assert!(row["bytes_down"].as_u64().unwrap() > 8);
    assert!(row["since"].as_str().unwrap().ends_with('Z'));
    let keys: Vec<_> = row.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "session",
            "listener",
            "protocol",
            "client",
            "login",
            "mailbox",
            "phase",
            "since",
            "bytes_up",
            "bytes_down"
        ]
    );
    drop((client, knocking));
    relay.log.sessions(2).await;
    assert_eq!(sessions().await, serde_json::json!([]));
}

/// All at once, or step by step.
#[tokio::test]
async fn connections_are_tested_on_demand() {
    let relay = consenting().start().await;
    let path = format!("/api/accounts/{LOGIN}/test");
    let answer = ask(&relay, "POST", &format!("{path}?protocol=imap"), &[TOKEN]).await;
    let report: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(
        (&report["login"], &report["protocol"]),
        (&LOGIN.into(), &"imap".into())
    );
    assert_eq!(report["ok"], false);
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<_> = steps
        .iter()
        .map(|step| step["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dns", "tcp", "tls", "token"]);
    assert!(steps[3]["remedy"].as_str().unwrap().contains("authorize"));
    consent(&relay).await;
    let answer = ask(&relay, "POST", &path, &[TOKEN]).await;
    let reports: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 3);
    assert!(
        reports
            .as_array()
            .unwrap()
            .iter()
            .all(|report| report["ok"] == true),
        "{reports}"
    );
    let answer = ask(&relay, "POST", &format!("{path}?stream=1"), &[TOKEN]).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let steps: Vec<serde_json::Value> = answer
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(steps.len(), 21);
    assert_eq!(steps[20]["protocol"], "smtp");
    assert_eq!(steps[20]["name"], "mailbox");
    for (wrong, status) in [
        (format!("{path}?protocol=nntp"), 400),
        ("/api/accounts/nobody/test".to_owned(), 404),
    ] {
        let answer = ask(&relay, "POST", &wrong, &[TOKEN]).await;
        assert_eq!(answer.status, status, "{wrong}");
    }
}

#[tokio::test]
async fn a_reload_is_asked_for_and_answered() {
    let relay = consenting().start().await;
    assert_eq!(ask(&relay, "POST", "/api/reload", &[]).await.status, 401);
    let answer = ask(&relay, "POST", "/api/reload", &[TOKEN]).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (
            200,
            r#"{"listeners":3,"accounts":1,"sessions_ended":0,"restart":[]}"#
        )
    );
    relay.rewrite(&[("admin-token-9Zk4", "another-token-7Wq")]);
    let answer = ask(&relay, "POST", "/api/reload", &[TOKEN]).await;
    assert!(
        answer.body.contains(r#""restart":["admin.token"]"#),
        "{}",
        answer.body
    );
    relay.rewrite(&[("accounts:", "acounts:")]);
    let answer = ask(&relay, "POST", "/api/reload", &[TOKEN]).await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.body.contains("did you mean accounts?"),
        "{}",
        answer.body
    );
}
