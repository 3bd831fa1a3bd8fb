//! `notify` and `reload: watch`: what needs a person is told once when it begins and once when it
//! is over; files that change are taken over.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use authrelay::sandbox::{Fault, LOGIN};
use authrelay::wire::Protocol::Imap;
use serde_json::Value;

use crate::stage::{Relay, Setup};
use crate::{assert_logs_in, consent, consenting, http, log_in};

/// How long anything may take that is looked at every few seconds.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a hook that writes into a file was told, line by line.
struct Told(tempfile::TempDir);

impl Told {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// The hook, for these events.
    fn hook(&self, events: &str) -> String {
        let file = self.0.path().join("told");
        format!(
            "notify: [{{events: [{events}], command: [sh, -c, 'cat >>{}']}}]\n",
            file.display()
        )
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.0.path().join("told")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// As many as there should be, and no more.
    async fn wait(&self, count: usize) -> Vec<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines();
            assert!(lines.len() <= count, "{lines:#?}");
            if lines.len() == count {
                return lines;
            }
            assert!(Instant::now() < end, "not {count}: {lines:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[track_caller]
fn assert_alert(alert: &Value, event: &str, state: &str, subject: &str) {
    assert_eq!(
        (&alert["event"], &alert["state"], &alert["subject"]),
        (&event.into(), &state.into(), &subject.into()),
        "{alert:#}"
    );
    let time = alert["time"].as_str().unwrap();
    assert!(time.len() == 20 && time.ends_with('Z'), "{alert:#}");
    assert!(!alert["relay"].as_str().unwrap().is_empty());
    assert!(!alert["detail"].as_str().unwrap().is_empty());
    // All keys are there, whatever they hold.
    assert!(alert["remedy"].is_string(), "{alert:#}");
    assert_eq!(alert.as_object().unwrap().len(), 7, "{alert:#}");
}

async fn counted(relay: &Relay, outcome: &str) -> u64 {
    let admin = relay.listener("admin");
    let text = http()
        .get(format!("http://{admin}/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let name = format!("authrelay_notifications_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_is_asked_for_once_and_told_when_it_is_given() {
    let told = Told::new();
    let relay = consenting()
        .append(&told.hook("consent, upstream"))
        .start()
        .await;
    let begun = told.wait(1).await;
    assert_alert(&begun[0], "consent", "begin", LOGIN);
    assert!(
        begun[0]["remedy"]
            .as_str()
            .unwrap()
            .contains("authrelay authorize")
    );
    // A login that fails for the same reason is nothing new.
    log_in(&relay, Imap).await;
    assert_eq!(consent(&relay).await.0, 200);
    let over = told.wait(2).await;
    assert_alert(&over[1], "consent", "end", LOGIN);
    assert_logs_in(&relay, Imap).await;
    assert_eq!(
        (counted(&relay, "ok").await, counted(&relay, "failed").await),
        (2, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_secret_is_told_for_its_registration() {
    let told = Told::new();
    let relay = Setup::default()
        .append(&told.hook("credential, consent"))
        .start()
        .await;
    relay.sandbox.set_fault(Some(Fault::SecretExpired));
    log_in(&relay, Imap).await;
    log_in(&relay, Imap).await;
    let begun = told.wait(1).await;
    assert_alert(&begun[0], "credential", "begin", "sandbox");
    assert!(
        begun[0]["detail"]
            .as_str()
            .unwrap()
            .contains("AADSTS7000222")
    );
    relay.sandbox.set_fault(None);
    let end = Instant::now() + PATIENCE;
    while told.lines().len() < 2 {
        assert!(Instant::now() < end, "{:#?}", told.lines());
        log_in(&relay, Imap).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_alert(&told.lines()[1], "credential", "end", "sandbox");
}

fn in_days(days: i64) -> time::Date {
    time::OffsetDateTime::now_utc().date() + time::Duration::days(days)
}

/// A secret that ends within six days, whose alerts are sent.
fn with_secret_that_ends_soon(told: &Told) -> Setup {
    Setup::default()
        .replace(
            "    client_id: ",
            &format!("    client_secret_expires: {}\n    client_id: ", in_days(6)),
        )
        .append(&told.hook("credential"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_ends_soon_is_told() {
    let told = Told::new();
    let _relay = with_secret_that_ends_soon(&told).start().await;
    let begun = told.wait(1).await;
    assert_alert(&begun[0], "credential", "begin", "sandbox");
    assert!(
        begun[0]["detail"]
            .as_str()
            .unwrap()
            .contains("ends in 5 days"),
        "{begun:#?}"
    );
}

/// A secret that ends soon may be refused before that.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_secret_is_told_though_its_end_was() {
    let told = Told::new();
    let relay = with_secret_that_ends_soon(&told).start().await;
    told.wait(1).await;
    relay.sandbox.set_fault(Some(Fault::SecretExpired));
    for _ in 0..2 {
        log_in(&relay, Imap).await;
    }
    let alerts = told.wait(3).await;
    assert_alert(&alerts[1], "credential", "end", "sandbox");
    assert_alert(&alerts[2], "credential", "begin", "sandbox");
    let detail = alerts[2]["detail"].as_str().unwrap();
    assert!(detail.contains("AADSTS7000222"), "{detail}");
    // It is still refused, however near its end comes meanwhile.
    let expires = |days| format!("client_secret_expires: {}", in_days(days));
    relay.rewrite(&[(&expires(6), &expires(1))]);
    relay.control.reload().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    told.wait(3).await;
}

/// What no account needs any more is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_consent_of_a_removed_account_is_told_to_be_over() {
    let told = Told::new();
    let relay = consenting().append(&told.hook("consent")).start().await;
    told.wait(1).await;
    relay.rewrite(&[(&format!("login: {LOGIN}"), "login: other@contoso.test")]);
    reload(&relay).await;
    let mut alerts = told.wait(3).await.split_off(1);
    alerts.sort_by_key(|alert| alert["state"].to_string());
    assert_alert(&alerts[0], "consent", "begin", "other@contoso.test");
    assert_alert(&alerts[1], "consent", "end", LOGIN);
}

/// A condition that a login would end ends with the account or registration for which it began.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_reload_removes_is_told_to_be_over() {
    for (event, fault, subject) in [
        ("upstream", Fault::AuthRefused, LOGIN),
        ("credential", Fault::SecretExpired, "sandbox"),
    ] {
        let told = Told::new();
        let relay = Setup::default()
            .append("admin: {bind: \"127.0.0.1:0\", token: admin-token-9Zk4}\n")
            .append(&told.hook(event))
            .start()
            .await;
        relay.sandbox.set_fault(Some(fault));
        log_in(&relay, Imap).await;
        assert_alert(&told.wait(1).await[0], event, "begin", subject);
        relay.rewrite(&[
            (&format!("login: {LOGIN}"), "login: other@contoso.test"),
            ("  sandbox:\n", "  renamed:\n"),
            ("registration: sandbox", "registration: renamed"),
        ]);
        reload(&relay).await;
        assert_alert(&told.wait(2).await[1], event, "end", subject);
    }
}

/// However many accounts there are, each is told when it begins and when it is over.
#[tokio::test(flavor = "multi_thread")]
async fn every_account_is_told() {
    const ACCOUNTS: usize = 300;
    let told = Told::new();
    let first = format!("  - login: {LOGIN}\n    registration: sandbox\n");
    let account = |number| {
        format!("  - {{login: a{number}@contoso.test, registration: sandbox, password: p}}\n")
    };
    let more: String = (1..ACCOUNTS).map(account).collect();
    let relay = consenting()
        .replace(&first, &format!("{more}{first}"))
        .append(&told.hook("consent"))
        .start()
        .await;
    let subjects = |alerts: &[Value]| -> BTreeSet<String> {
        let subjects = alerts.iter().map(|alert| alert["subject"].to_string());
        subjects.collect()
    };
    let begun = told.wait(ACCOUNTS).await;
    assert_eq!(subjects(&begun).len(), ACCOUNTS);
    relay.rewrite(&[(&more, "")]);
    reload(&relay).await;
    let ended = told.wait(2 * ACCOUNTS - 1).await.split_off(ACCOUNTS);
    assert!(ended.iter().all(|alert| alert["state"] == "end"));
    assert_eq!(subjects(&ended).len(), ACCOUNTS - 1);
}

/// A hook that comes later is told what is open, and so no end without its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_hook_is_told_what_is_open() {
    let (first, second) = (Told::new(), Told::new());
    let relay = consenting().append(&first.hook("consent")).start().await;
    let begun = first.wait(1).await;
    let (one, other) = (first.hook("consent"), second.hook("reload, consent"));
    let both = format!(
        "{}, {}",
        one.trim_end().trim_end_matches(']'),
        other.split_once('[').unwrap().1
    );
    relay.rewrite(&[(&one, &both)]);
    reload(&relay).await;
    assert_eq!(second.wait(1).await, begun);
    let (status, page) = consent(&relay).await;
    assert_eq!(status, 200, "{page}");
    for told in [&first, &second] {
        assert_alert(&told.wait(2).await[1], "consent", "end", LOGIN);
    }
}

async fn reload(relay: &Relay) {
    let admin = relay.listener("admin");
    let reload = http().post(format!("http://{admin}/api/reload"));
    let reload = reload.bearer_auth("admin-token-9Zk4").send().await.unwrap();
    assert_eq!(reload.status(), 200, "{}", reload.text().await.unwrap());
}

/// A certificate that ends after so many days, and its key, as files of the setup.
fn ending(setup: Setup, days: i64) -> Setup {
    let (certificate, key) = certificate(days);
    let tls =
        "provider: microsoft365, tls: {mode: implicit, certificate: soon.pem, key: soon.key}}";
    setup
        .file("soon.pem", &certificate)
        .file("soon.key", &key)
        .replace("provider: microsoft365}", tls)
}

fn certificate(days: i64) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    certificate.not_after = time::OffsetDateTime::now_utc() + time::Duration::hours(days * 24 + 12);
    let certificate = certificate.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// d29: told for each listener until another certificate is there.
#[tokio::test(flavor = "multi_thread")]
async fn d29_a_listeners_certificate_that_ends_soon_is_told() {
    let told = Told::new();
    let relay = ending(Setup::default(), 5)
        .append(&told.hook("credential"))
        .start()
        .await;
    let mut begun = told.wait(3).await;
    begun.sort_by_key(|alert| alert["subject"].to_string());
    for (alert, protocol) in begun.iter().zip(["imap", "pop3", "smtp"]) {
        assert_alert(
            alert,
            "credential",
            "begin",
            &format!("listener {protocol}"),
        );
        let detail = alert["detail"].as_str().unwrap();
        assert!(detail.ends_with("soon.pem) ends in 5 days"), "{detail}");
    }
    let (certificate, key) = certificate(100);
    std::fs::write(relay.directory().join("soon.key"), key).unwrap();
    std::fs::write(relay.directory().join("soon.pem"), certificate).unwrap();
    let over = told.wait(6).await;
    let ended = over.iter().filter(|alert| alert["state"] == "end");
    assert_eq!(ended.count(), 3, "{over:#?}");
}

/// d29: a certificate in place of another, which ends soon as well, is told.
#[tokio::test(flavor = "multi_thread")]
async fn d29_another_end_that_is_near_is_told() {
    let told = Told::new();
    let relay = ending(Setup::default(), 10)
        .append(&told.hook("credential"))
        .start()
        .await;
    let told_of = |alerts: &[Value], state: &str, detail: &str| {
        let is_it = |alert: &&Value| {
            alert["state"] == state && alert["detail"].as_str().unwrap().ends_with(detail)
        };
        alerts.iter().filter(is_it).count()
    };
    let begun = told.wait(3).await;
    assert_eq!(told_of(&begun, "begin", "ends in 10 days"), 3, "{begun:#?}");
    let (certificate, key) = certificate(5);
    std::fs::write(relay.directory().join("soon.key"), key).unwrap();
    std::fs::write(relay.directory().join("soon.pem"), certificate).unwrap();
    let all = told.wait(9).await;
    assert_eq!(told_of(&all, "end", "it was replaced"), 3, "{all:#?}");
    assert_eq!(told_of(&all, "begin", "ends in 5 days"), 3, "{all:#?}");
}

/// d29: whoever reads the log alone is reminded each day.
#[test]
fn d29_what_ends_soon_is_in_the_log_each_day() {
    crate::clock::still(|clock| async move {
        let relay = ending(Setup::default(), 5).start().await;
        relay.log.wait_for("listening").await;
        let warned = || relay.log.named("a credential ends soon").len();
        assert_eq!(warned(), 0, "said by the configuration's warnings");
        for day in 1..=3 {
            clock.advance(Duration::from_secs(12 * 3600)).await;
            assert_eq!(warned(), 3 * (day - 1), "once a day");
            clock.advance(Duration::from_secs(12 * 3600)).await;
            let told = async {
                while warned() < 3 * day {
                    tokio::task::yield_now().await;
                }
            };
            crate::clock::patient("the daily warnings", told).await;
            assert_eq!(warned(), 3 * day);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_service_that_refuses_is_told_until_a_login_succeeds() {
    let told = Told::new();
    let relay = Setup::default()
        .unlimited()
        .append(&told.hook("upstream"))
        .start()
        .await;
    relay.sandbox.set_fault(Some(Fault::AuthRefused));
    log_in(&relay, Imap).await;
    let begun = told.wait(1).await;
    assert_alert(&begun[0], "upstream", "begin", LOGIN);
    relay.sandbox.set_fault(None);
    assert_logs_in(&relay, Imap).await;
    assert_alert(&told.wait(2).await[1], "upstream", "end", LOGIN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_file_is_told_until_one_is_taken() {
    let told = Told::new();
    let relay = consenting().append(&told.hook("reload")).start().await;
    let admin = relay.listener("admin");
    let reload = || {
        let request = http().post(format!("http://{admin}/api/reload"));
        request.bearer_auth("admin-token-9Zk4").send()
    };
    relay.rewrite(&[("protocol: pop3", "protocol: pop4")]);
    for _ in 0..2 {
        assert_eq!(reload().await.unwrap().status(), 422);
    }
    let begun = told.wait(1).await;
    let path = relay.directory().join("proxy.yaml").display().to_string();
    assert_alert(&begun[0], "reload", "begin", &path);
    assert!(
        begun[0]["detail"]
            .as_str()
            .unwrap()
            .contains("must be imap, pop3 or smtp")
    );
    relay.rewrite(&[("protocol: pop4", "protocol: pop3")]);
    for _ in 0..2 {
        assert_eq!(reload().await.unwrap().status(), 200);
    }
    assert_alert(&told.wait(2).await[1], "reload", "end", &path);
}

/// A reload does not let the end of a condition overtake its beginning.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_hook_is_told_the_end_after_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (started, go, told) = (path("started"), path("go"), path("told"));
    // The hook is busy with a beginning until it may go on.
    let script = format!(
        "read line; case $line in *begin*) touch {started}; until test -e {go}; do sleep 0.05; done; sleep 0.5;; esac; echo $line >>{told}"
    );
    let relay = consenting()
        .append(&format!(
            "notify: [{{events: reload, timeout: 60s, command: [sh, -c, '{script}']}}]\n"
        ))
        .start()
        .await;
    let admin = relay.listener("admin");
    let reload = || {
        let request = http().post(format!("http://{admin}/api/reload"));
        request.bearer_auth("admin-token-9Zk4").send()
    };
    let wait = async |what: &dyn Fn() -> bool| {
        let end = Instant::now() + PATIENCE;
        while !what() {
            assert!(Instant::now() < end);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    relay.rewrite(&[("protocol: pop3", "protocol: pop4")]);
    assert_eq!(reload().await.unwrap().status(), 422);
    wait(&|| std::path::Path::new(&started).exists()).await;
    // Other settings of the same hook are no reason either.
    relay.rewrite(&[("protocol: pop4", "protocol: pop3"), ("60s", "50s")]);
    assert_eq!(reload().await.unwrap().status(), 200);
    std::fs::write(&go, "").unwrap();
    let text = || std::fs::read_to_string(&told).unwrap_or_default();
    wait(&|| text().lines().count() == 2).await;
    let states: Vec<_> = text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].clone())
        .collect();
    assert_eq!(states, ["begin", "end"]);
}

/// One request, answered with a status.
fn answer(socket: &TcpListener, status: &str) -> (String, String) {
    let (mut stream, _) = socket.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    (head, String::from_utf8(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_told_again_where_it_fails() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x", socket.local_addr().unwrap());
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for status in ["503 Service Unavailable", "204 No Content"] {
            let request = answer(&socket, status);
            let _ = sender.send((Instant::now(), request));
        }
    });
    let relay = consenting()
        .append(&format!(
            "notify: [{{events: consent, url: '{url}', headers: {{Authorization: Bearer hook-canary}}}}]\n"
        ))
        .start()
        .await;
    let (first, (head, body)) = requests.recv_timeout(PATIENCE).unwrap();
    let lower = head.to_lowercase();
    assert!(
        lower.starts_with("post /x ") && lower.contains("content-type: application/json"),
        "{head}"
    );
    assert!(
        lower.contains("authorization: bearer hook-canary"),
        "{head}"
    );
    let alert: Value = serde_json::from_str(&body).unwrap();
    assert_alert(&alert, "consent", "begin", LOGIN);
    let (second, (_, again)) = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(body, again);
    assert!(
        second - first >= Duration::from_secs(5),
        "{:?}",
        second - first
    );
    let end = Instant::now() + PATIENCE;
    while counted(&relay, "ok").await == 0 {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(counted(&relay, "failed").await, 1);
    assert!(!relay.log.text().contains("hook-canary"));
}

/// A hook that hangs is ended as a whole, and holds up nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_hangs_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let relay = consenting()
        .append(&format!(
            "notify: [{{events: consent, timeout: 1s, command: [sh, -c, 'sleep 1000 & echo $! >{}; wait']}}]\n",
            pid.display()
        ))
        .start()
        .await;
    let end = Instant::now() + PATIENCE;
    while counted(&relay, "failed").await == 0 {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pid = std::fs::read_to_string(&pid).unwrap();
    let alive = || {
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    while alive() {
        assert!(Instant::now() < end, "the hook's child lives on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// By content: a mounted secret is a link that is swapped, whatever its times say.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(folder.path().join("one"), "first-password").unwrap();
    std::fs::write(folder.path().join("two"), "other-password").unwrap();
    std::os::unix::fs::symlink("one", &secret).unwrap();
    let account = format!(
        "  - {{login: second@contoso.test, registration: sandbox, mailbox: {LOGIN}, password: {{file: {}}}}}\n",
        secret.display()
    );
    let relay = Setup::default()
        .replace(
            "accounts:\n",
            &format!("reload: watch\naccounts:\n{account}"),
        )
        .start()
        .await;
    let log_in = async |password: &str| {
        let reply = relay
            .connect(Imap)
            .await
            .log_in("second@contoso.test", password)
            .await;
        crate::stage::is_success(Imap, &reply)
    };
    assert!(log_in("first-password").await);
    std::os::unix::fs::symlink("two", folder.path().join("new")).unwrap();
    std::fs::rename(folder.path().join("new"), &secret).unwrap();
    let end = Instant::now() + PATIENCE;
    while !log_in("other-password").await {
        assert!(Instant::now() < end, "not reloaded");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(!log_in("first-password").await);
}
