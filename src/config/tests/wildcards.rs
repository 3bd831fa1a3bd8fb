//! Accounts that the file does not list one by one: `login: "*"`, clients whose password is the
//! client secret, and senders that are mailboxes.

use super::*;

fn with(registration: &str, account: &str) -> Result<Config, Vec<String>> {
    let text = format!(
        "listeners: [{{protocol: smtp, bind: '127.0.0.1:0'}}]\n\
         registrations:\n  r: {{provider: microsoft365, tenant: t, client_id: c, {registration}}}\n\
         accounts: [{{registration: r, {account}}}]\n"
    );
    Config::parse(&text, Path::new("proxy.yaml"), LoadMode::Run)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

const SECRET: &str = "grant: client_credentials, client_secret: s3cret";
const CLIENT: &str = "grant: client_credentials, client_secret: {client: password}";
const ANY: &str = "login: '*', password: p";

#[track_caller]
fn has_problem(registration: &str, account: &str, expected: &str) {
    let problems = with(registration, account).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains(expected), "{problems:#?}");
}

#[test]
fn f60_one_account_for_every_address() {
    let text = GOOD.replace(
        "accounts:\n",
        "accounts:\n  - {login: '*', registration: helpdesk, password: p}\n",
    );
    let config = parsed(&text).unwrap();
    let logins = Logins::new(&config.accounts);
    let found = |login: &str| logins.find(login).map(|account| account.login.to_string());
    assert_eq!(
        found("tickets@contoso.com").as_deref(),
        Some("tickets@contoso.com")
    );
    assert_eq!(found("me@Example.com").as_deref(), Some("*@example.com"));
    assert_eq!(found("Else@fabrikam.com").as_deref(), Some("*"));
    for login in ["*", "*@fabrikam.com", "me", "me@", "@x", "a b@x.test", ""] {
        assert_eq!(found(login), None, "{login}");
    }
    let account = logins.find("Else@fabrikam.com").unwrap();
    assert_eq!(
        account.mailbox_of(Protocol::Imap, "else@fabrikam.com"),
        "else@fabrikam.com"
    );
    has_problem(
        SECRET,
        "login: '*', password: any",
        "must not have `password: any`",
    );
    has_problem(
        SECRET,
        "login: '*', passwords: [{name: a, password: any}]",
        "must not have `password: any`",
    );
    has_problem(
        SECRET,
        "login: '*x', password: p",
        "only as *@domain, as in *@contoso.com, or as *",
    );
}

#[test]
fn a_client_secret_that_the_client_presents_needs_no_password_and_refuses_one() {
    let config = with(CLIENT, "login: a@b.test").unwrap();
    let registration = &config.accounts[0].registration;
    assert!(registration.grant.needs_client_password());
    assert!(config.accounts[0].passwords.is_empty());
    assert!(with(CLIENT, "login: '*'").is_ok());
    has_problem(
        CLIENT,
        "login: a@b.test, password: p",
        "accounts[0].password: has no effect with client_secret: {client: password}",
    );
    has_problem(
        CLIENT,
        "login: a@b.test, passwords: [{name: n, password: p}]",
        "accounts[0].passwords: has no effect with client_secret: {client: password}",
    );
    has_problem(
        &format!("{CLIENT}, certificate: {{certificate: a.pem, key: a.key}}"),
        "login: a@b.test",
        "more than one of client_secret, certificate and federated",
    );
    for grant in ["authorization_code", "device_code", "password"] {
        has_problem(
            &format!("grant: {grant}, client_secret: {{client: password}}"),
            "login: a@b.test, password: p",
            "may be {client: password} only with the grant client_credentials",
        );
    }
    has_problem(
        "grant: client_credentials, client_secret: {client: name}",
        "login: a@b.test",
        "client_secret.client: must be password",
    );
}

#[test]
fn f62_a_sender_is_a_mailbox_where_the_file_names_the_senders() {
    let sender = |more: &str| {
        format!(
            "login: scan@contoso.com, password: p, protocols: smtp, mailbox: {{smtp: sender}}{more}"
        )
    };
    let good = ", smtp: {senders: ['*@contoso.com']}";
    let config = with(SECRET, &sender(good)).unwrap();
    let mailbox = &config.accounts[0].mailbox;
    assert!(mailbox.smtp_is_sender && mailbox.smtp.is_none());
    assert!(with(CLIENT, &sender(good).replace(", password: p", "")).is_ok());
    has_problem(SECRET, &sender(""), "in smtp.senders");
    has_problem(
        SECRET,
        &sender(", smtp: {recipients: '*'}"),
        "in smtp.senders",
    );
    has_problem(
        SECRET,
        &sender(", smtp: {senders: [a@b.test, '*']}"),
        "must not have \"*\"",
    );
    has_problem(
        SECRET,
        &sender(", smtp: {senders: a@b.test, from: mailbox}"),
        "remove smtp.from: mailbox",
    );
    has_problem(
        "grant: authorization_code",
        &sender(good),
        "takes the grant client_credentials, not authorization_code",
    );
    // Over IMAP it would be a mailbox named `sender`.
    let imap = with(SECRET, "login: a, password: p, mailbox: {imap: sender}").unwrap();
    assert_eq!(imap.accounts[0].mailbox.of(Protocol::Imap), Some("sender"));
}

#[test]
fn f22_line_ends_stay_unless_asked_for() {
    let line_ends = |policy: &str| {
        let config = with(SECRET, &format!("{ANY}, smtp: {{{policy}}}")).unwrap();
        config.accounts[0].smtp.as_ref().unwrap().line_ends
    };
    assert_eq!(line_ends("max_size: 1MB"), LineEnds::Keep);
    assert_eq!(line_ends("line_ends: keep"), LineEnds::Keep);
    assert_eq!(line_ends("line_ends: crlf"), LineEnds::Crlf);
    has_problem(
        SECRET,
        &format!("{ANY}, smtp: {{line_ends: lf}}"),
        "line_ends: must be keep or crlf",
    );
}

#[test]
fn the_margin_of_tokens_is_the_providers() {
    let margins = |keys: &str| {
        let text = GOOD.replace("    ip: v4\n", &format!("    ip: v4\n{keys}"));
        let config = parsed(&text).unwrap();
        ["microsoft365", "microsoft365-hve", "own"].map(|name| config.providers[name].token_margin)
    };
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    assert_eq!(margins(""), [5, 20, 5].map(minutes));
    assert_eq!(margins("    token_margin: 10m\n"), [10, 20, 5].map(minutes));
    let text = GOOD.replace("    ip: v4\n", "    ip: v4\n    token_margin: 2d\n");
    assert!(problems(&text)[0].contains("token_margin: must be at most 1day"));
}

#[test]
fn high_volume_email_is_submission_only() {
    let hve = presets().remove("microsoft365-hve").unwrap();
    let smtp = hve.smtp.as_ref().unwrap();
    assert_eq!(
        (smtp.host.as_str(), smtp.port, smtp.tls),
        ("smtp.hve.mx.microsoft", 587, UpstreamTls::StartTls)
    );
    assert!(hve.imap.is_none() && hve.pop3.is_none() && hve.smtp_limits.is_none());
    assert_eq!(
        hve.preset.scopes.application,
        ["https://outlook.office.com/.default"]
    );
}

#[test]
fn refresh_tokens_are_good_once_unless_a_preset_or_the_file_says_otherwise() {
    use super::super::RefreshTokens::{OneUse, Reusable};
    let kinds = |keys: &str| {
        let text = GOOD.replace("    ip: v4\n", &format!("    ip: v4\n{keys}"));
        let config = parsed(&text).unwrap();
        ["microsoft365", "google", "fastmail", "own"]
            .map(|name| config.providers[name].refresh_tokens)
    };
    assert_eq!(kinds(""), [Reusable, Reusable, OneUse, OneUse]);
    let other = kinds("    refresh_tokens: one_use\n");
    assert_eq!(other, [OneUse, Reusable, OneUse, OneUse]);
    let text = GOOD.replace("    ip: v4\n", "    ip: v4\n    refresh_tokens: twice\n");
    assert!(
        problems(&text)[0].contains("refresh_tokens: must be"),
        "{:?}",
        problems(&text)
    );
}

/// A shared store requires an existing key, and TLS except on loopback.
#[test]
fn a_shared_store_is_checked() {
    let with = |state: &str| format!("{GOOD}\nstate:\n{state}");
    let good = "  key: a key that all relays have\n  store: {url: \"redis://127.0.0.1:6379/2\"}\n";
    let config = parsed(&with(good)).unwrap();
    let store = config.state.store.as_ref().unwrap();
    assert_eq!(store.address(), "127.0.0.1:6379");
    assert!(config.state.wanted && store.database == 2 && store.tls.is_none());
    for (from, to, expected) in [
        (
            "  key: a key that all relays have\n",
            "",
            "state.key: is missing; write the key that all relays",
        ),
        (
            "a key that all relays have",
            "{file: /nonexistent/key}",
            "state.key: names a file that is absent",
        ),
        (
            "127.0.0.1:6379",
            "redis.test:6379",
            "state.store.url: would cross the network without TLS",
        ),
        (
            "redis://127",
            "http://127",
            "state.store.url: must be redis://HOST:PORT",
        ),
        (
            "/2\"}",
            "/2\", insecure: perhaps}",
            "state.store.insecure: must be true or false",
        ),
        (
            "/2\"}",
            "/2\", more: 1}",
            "is not a known key; the keys here are url, ca, insecure",
        ),
    ] {
        let text = with(good).replace(from, to);
        assert!(
            problems(&text)
                .iter()
                .any(|problem| problem.contains(expected)),
            "{:?}",
            problems(&text)
        );
    }
    for (from, to) in [
        ("redis://127.0.0.1:6379/2\"", "rediss://redis.test\""),
        ("127.0.0.1:6379/2\"", "redis.test/2\", insecure: true"),
        (
            "redis://127.0.0.1:6379/2",
            "redis+sentinel://127.0.0.1,[::1]:7/mymaster",
        ),
        ("{url: \"redis://127.0.0.1:6379/2\"}", "file"),
    ] {
        let text = with(good).replace(from, to);
        parsed(&text).unwrap_or_else(|problems| panic!("{to}: {problems:?}"));
    }
}
