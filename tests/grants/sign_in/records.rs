//! `/audit`: the last records, for whoever may look.

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::Imap;
use reqwest::Method;
use std::io::Write as _;
use std::time::Duration;

use super::browser::{Answer, Browser, TOKEN};
use crate::registration;
use crate::stage::Relay;

async fn relay(audit: &str) -> Relay {
    let admin = format!(
        "admin: {{bind: '127.0.0.1:0', token: {TOKEN}, viewer_token: viewer-token-5Hq2}}\n{audit}"
    );
    registration(
        "grant: client_credentials\nclient_secret: \"{SECRET}\""
            .replace("{SECRET}", authrelay::sandbox::CLIENT_SECRET)
            .as_str(),
    )
    .append(&admin)
    .start()
    .await
}

async fn audit(relay: &Relay, query: &str) -> Answer {
    let viewer = [("authorization", "Bearer viewer-token-5Hq2")];
    let path = format!("/audit{query}");
    Browser::new(relay).ask(Method::GET, &path, &viewer).await
}

async fn written(relay: &Relay) {
    let current = relay.control.current();
    current.finish_audit(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn the_last_records_are_shown_and_filtered() {
    let relay = relay("audit: {path: audit.jsonl}\n").await;
    let empty = audit(&relay, "").await;
    assert_eq!(empty.status, 200, "{}", empty.body);
    assert!(empty.body.contains("No record yet"), "{}", empty.body);
    let mut client = relay.connect(Imap).await;
    client.log_in(LOGIN, "wrong").await;
    client.log_in(LOGIN, PASSWORD).await;
    client
        .log_in("<script>alert(1)</script>@contoso.com", "x")
        .await;
    client.send("b LOGOUT\r\n").await;
    client.rest().await;
    relay.log.sessions(1).await;
    let mut other = relay.connect(Imap).await;
    other.log_in("<script>alert(1)</script>", "x").await;
    drop(other);
    relay.log.sessions(2).await;
    written(&relay).await;
    let page = audit(&relay, "").await.body;
    assert!(
        page.contains("client: credentials") && page.contains(">relayed<"),
        "{page}"
    );
    assert!(!page.contains("<script>"), "{page}");
    assert!(page.contains("&#60;script&#62;"), "{page}");
    let text = std::fs::read_to_string(relay.directory().join("audit.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(page.contains(last["hash"].as_str().unwrap()), "{page}");
    assert!(page.contains(">intact<"), "{page}");
    let rows = |page: &str| page.matches("<tr><td").count();
    let all = text.lines().count();
    assert_eq!(rows(&page), all);
    let login: String =
        url::form_urlencoded::byte_serialize(LOGIN.to_uppercase().as_bytes()).collect();
    for (query, expected) in [
        ("?event=session&login=&outcome=&text=", 2),
        ("?event=session&outcome=relayed", 1),
        ("?event=login&outcome=accepted", 1),
        (&format!("?event=login&login={login}"), 2),
        ("?text=CREDENTIALS&event=session", 1),
        ("?text=%3Cscript%3E&event=login", 1),
        ("?text=nothing-like-it", 0),
        ("?event=no-event", 0),
        (&format!("?text={}", last["hash"].as_str().unwrap()), 1),
        (
            &format!("?text={}", &last["hash"].as_str().unwrap()[..20]),
            0,
        ),
    ] {
        let page = audit(&relay, query).await.body;
        assert_eq!(rows(&page), expected, "{query}: {page}");
    }
    let long = format!("?text={}", "%22%3E%3Cimg".repeat(1000));
    let page = audit(&relay, &long).await.body;
    assert!(!page.contains("<img"), "{page}");
}

/// A record is checked by the one after it: before there are two, the page does not say `intact`.
#[tokio::test]
async fn the_page_says_where_no_record_was_checked() {
    let relay = relay("audit: {path: audit.jsonl}\n").await;
    let page = audit(&relay, "").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("no record was checked"), "{}", page.body);
    assert!(!page.body.contains(">intact<"), "{}", page.body);
    let mut client = relay.connect(Imap).await;
    client.log_in(LOGIN, "wrong").await;
    client.send("b LOGOUT\r\n").await;
    client.rest().await;
    relay.log.sessions(1).await;
    written(&relay).await;
    let page = audit(&relay, "").await.body;
    assert!(!page.contains("no record was checked"), "{page}");
    assert!(page.contains(">intact<"), "{page}");
}

/// Rotated, torn, edited, and larger than what is read.
#[tokio::test]
async fn a_file_that_changes_is_read_all_the_same() {
    let relay = relay("audit: {path: audit.jsonl}\n").await;
    let path = relay.directory().join("audit.jsonl");
    for _ in 0..3 {
        let mut client = relay.connect(Imap).await;
        client.log_in(LOGIN, "wrong").await;
        client.send("b LOGOUT\r\n").await;
        client.rest().await;
    }
    relay.log.sessions(3).await;
    written(&relay).await;
    // Renamed, and not opened anew yet: no file is there.
    std::fs::rename(&path, relay.directory().join("audit.jsonl.1")).unwrap();
    let page = audit(&relay, "?event=session").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.body.matches("<tr><td").count(), 3, "{}", page.body);
    relay.control.reload().await.unwrap();
    let mut client = relay.connect(Imap).await;
    client.log_in(LOGIN, "wrong").await;
    client.send("b LOGOUT\r\n").await;
    client.rest().await;
    relay.log.sessions(4).await;
    written(&relay).await;
    let page = audit(&relay, "?event=session").await.body;
    assert_eq!(page.matches("<tr><td").count(), 4, "{page}");
    assert!(page.contains(">intact<"), "{page}");
    // A line that is being written.
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    file.write_all(b"{\"v\":1,\"time\":\"2026").unwrap();
    let page = audit(&relay, "").await.body;
    assert!(page.contains(">intact<"), "{page}");
    // Somebody edited a record that others follow.
    let text = std::fs::read_to_string(relay.directory().join("audit.jsonl.1")).unwrap();
    let edited = text.replacen("refused", "accepted", 1);
    std::fs::write(relay.directory().join("audit.jsonl.1"), edited).unwrap();
    let page = audit(&relay, "").await.body;
    assert!(page.contains(">broken<"), "{page}");
    // More than is read: 9 MiB of long lines.
    let line = format!(
        "{{\"event\":\"session\",\"login\":\"{}\"}}\n",
        "x".repeat(9_000)
    );
    std::fs::write(&path, line.repeat(1_000)).unwrap();
    let page = audit(&relay, "").await.body;
    assert_eq!(page.matches("<tr><td").count(), 200);
    let page = audit(&relay, "?login=nobody").await.body;
    assert!(page.contains("There are older records"), "{page}");
}

#[tokio::test]
async fn where_no_file_is_kept_the_page_says_what_to_do() {
    let relay_without = relay("").await;
    let page = audit(&relay_without, "").await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("the file has no audit section"),
        "{}",
        page.body
    );
    let relay_of_syslog =
        relay("audit: {syslog: {address: '127.0.0.1:9', transport: udp}}\n").await;
    let page = audit(&relay_of_syslog, "").await.body;
    assert!(page.contains("are sent elsewhere"), "{page}");
    let nobody = Browser::new(&relay_without).get("/audit").await;
    assert_eq!(nobody.status, 401);
    assert!(nobody.body.contains("id=\"token\""), "{}", nobody.body);
}

/// Before there is an account the page says how to get one.
#[tokio::test]
async fn a_relay_without_accounts_says_the_first_steps() {
    let relay = relay("").await;
    let viewer = [("authorization", "Bearer viewer-token-5Hq2")];
    let page = Browser::new(&relay).ask(Method::GET, "/", &viewer).await;
    assert!(!page.body.contains("authrelay init"), "{}", page.body);
    let path = relay.directory().join("proxy.yaml");
    let yaml = std::fs::read_to_string(&path).unwrap();
    let (before, after) = yaml.split_once("accounts:\n").unwrap();
    let rest = after.find("admin:").unwrap();
    std::fs::write(&path, format!("{before}{}", &after[rest..])).unwrap();
    relay.control.reload().await.unwrap();
    let page = Browser::new(&relay)
        .ask(Method::GET, "/", &viewer)
        .await
        .body;
    let steps = ["init", "entra", "check", "authorize", "doctor"];
    let places = steps.map(|step| page.find(&format!("authrelay {step}")).unwrap());
    assert!(places.is_sorted(), "{places:?}");
    let mut client = relay.connect(Imap).await;
    let reply = client.log_in(LOGIN, PASSWORD).await;
    assert!(reply.starts_with("a NO [AUTHENTICATIONFAILED]"), "{reply}");
}
