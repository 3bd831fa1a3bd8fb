//! Tests of the reader: a valid file, files with every kind of mistake, and texts that must never
//! appear in messages.

mod access;
mod audit;
mod editors;
mod grants;
mod mistakes;
mod reference;
mod sending;
mod shape;
mod wildcards;

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::wire::Protocol;

/// A valid file, in which tests change parts.
const GOOD: &str = r#"
log: {format: text, level: debug}
limits:
  sessions: 20
  idle_timeout: 1h
  lockout: {failures: 3, window: 1m, duration: 30s}
listeners:
  - protocol: imap
    bind: 127.0.0.1:1143
    tls: {mode: none}
    require_tls: true
    allow: [127.0.0.0/8, "::1"]
    proxy_protocol: []
  - {name: mail, protocol: smtp, bind: "[::1]:1587", provider: own}
providers:
  microsoft365:
    imap: {host: imap.contoso.com}
    ip: v4
  own:
    smtp: {host: smtp.example.com}
    token_url: http://127.0.0.1:8080/token
    mechanism: oauthbearer
registrations:
  helpdesk:
    provider: microsoft365
    tenant: contoso.onmicrosoft.com
    client_id: 11111111-2222-3333-4444-555555555555
    grant: client_credentials
    client_secret: {env: PATH}
  own:
    provider: own
    client_id: me
    grant: client_credentials
    client_secret: "literal"
    scope: [mail, "https://mail.example.com/"]
accounts:
  - login: Tickets@Contoso.com
    registration: helpdesk
    passwords:
      - {name: osticket, password: "plain words", allow: 10.1.2.3/16, protocols: [imap]}
      - name: scanner
        password: $argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$Yf0sRvgbNWvVVfz6Zl4Ew5MnTcl0qPt8OjzVjnpCSXk
  - login: "*@Example.com"
    registration: own
    mailbox: {smtp: outgoing@example.com}
    password: any
    protocols: smtp
"#;

fn parsed(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, Path::new("proxy.yaml"), LoadMode::Run)
}

fn problems(text: &str) -> Vec<String> {
    parsed(text)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn secret_of(registration: &Registration) -> &str {
    match registration.grant.credential() {
        Some(ClientCredential::Secret(secret)) => secret.expose(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_file_means_what_it_says() {
    let config = parsed(GOOD).unwrap();
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.log.level, tracing::Level::DEBUG);
    assert_eq!(config.limits.sessions, 20);
    assert_eq!(config.limits.sessions_per_client, 1000);
    assert_eq!(config.limits.idle_timeout, Duration::from_secs(3600));
    assert_eq!(config.limits.lockout.duration, Duration::from_secs(30));

    let [imap, smtp] = &config.listeners[..] else {
        panic!("{:?}", config.listeners);
    };
    assert_eq!(imap.name, "imap-1143");
    assert_eq!(imap.provider.name, "microsoft365");
    assert_eq!(imap.allow.as_ref().unwrap().len(), 2);
    assert_eq!(
        (smtp.name.as_str(), smtp.protocol),
        ("mail", Protocol::Smtp)
    );
    assert_eq!(smtp.provider.name, "own");

    let microsoft = &config.providers["microsoft365"];
    let endpoint = |host: &str, port, tls| Endpoint {
        host: host.into(),
        port,
        tls,
    };
    assert_eq!(
        microsoft.imap,
        Some(endpoint("imap.contoso.com", 993, UpstreamTls::Implicit))
    );
    assert_eq!(
        microsoft.smtp,
        Some(endpoint("smtp.office365.com", 587, UpstreamTls::StartTls))
    );
    assert_eq!(microsoft.ip, IpPreference::V4);
    let own = &config.providers["own"];
    assert_eq!(
        own.smtp,
        Some(endpoint("smtp.example.com", 465, UpstreamTls::Implicit))
    );
    assert_eq!((&own.imap, own.mechanism), (&None, Mechanism::Oauthbearer));

    let helpdesk = &config.registrations["helpdesk"];
    assert_eq!(
        helpdesk.token_url.as_str(),
        "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token"
    );
    assert_eq!(
        config.accounts[0].scope(),
        ["https://outlook.office365.com/.default"]
    );
    assert_eq!(secret_of(helpdesk), std::env::var("PATH").unwrap());
    assert_eq!(
        config.accounts[1].scope(),
        ["mail", "https://mail.example.com/"]
    );

    let [tickets, domain] = &config.accounts[..] else {
        panic!("{:?}", config.accounts);
    };
    assert_eq!(
        tickets.login,
        LoginPattern::Exact("tickets@contoso.com".into())
    );
    assert_eq!(tickets.mailbox, Mailbox::default());
    let [osticket, scanner] = &tickets.passwords[..] else {
        panic!("{:?}", tickets.passwords);
    };
    assert_eq!(osticket.name.as_deref(), Some("osticket"));
    assert_eq!(
        osticket.allow.as_deref(),
        Some(&["10.1.0.0/16".parse().unwrap()][..])
    );
    assert!(osticket.protocols.contains(&Protocol::Imap));
    assert!(!osticket.protocols.contains(&Protocol::Smtp));
    assert!(matches!(osticket.password, PasswordCheck::Plain(_)));
    assert!(matches!(scanner.password, PasswordCheck::Hash(_)));
    assert_eq!(domain.login, LoginPattern::Domain("example.com".into()));
    assert_eq!(
        domain.mailbox.of(Protocol::Smtp),
        Some("outgoing@example.com")
    );
    assert!(matches!(domain.passwords[0].password, PasswordCheck::Any));
    assert_eq!(domain.protocols, [Protocol::Smtp]);

    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "accounts[1].password: any: anyone who reaches the listener opens this mailbox, with any password (line 46, column 5)"
        ]
    );
}

#[test]
fn secrets_come_from_files_and_commands_and_lose_one_line_end() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "from a file\r\n").unwrap();
    let with = |source: &str| {
        let text = GOOD.replace("{env: PATH}", source);
        Config::parse(&text, &directory.path().join("proxy.yaml"), LoadMode::Run)
    };
    let secret = |source: &str| {
        let config = with(source).unwrap();
        secret_of(&config.registrations["helpdesk"]).to_owned()
    };
    assert_eq!(secret("{file: secret}"), "from a file");
    assert_eq!(secret(r#"{command: [printf, 'a b\n\n']}"#), "a b\n");
    let wrong = |source: &str| with(source).unwrap_err()[0].message.clone();
    let missing = wrong("{file: missing}");
    assert!(missing.starts_with("cannot read "), "{missing}");
    assert_eq!(
        wrong("{env: AUTHRELAY_TEST_NOT_SET}"),
        "the environment variable AUTHRELAY_TEST_NOT_SET is not set"
    );
    assert_eq!(
        wrong("{command: ['false']}"),
        "false failed: exit status: 1"
    );
    assert_eq!(wrong("{command: ['true']}"), "is an empty secret");
    assert!(wrong("{command: [/nowhere/x]}").starts_with("cannot run /nowhere/x: "));
    assert_eq!(
        wrong("{env: PATH, file: secret}"),
        "must have exactly one of env, file and command"
    );
}

#[test]
fn sources_may_be_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.yaml");
    let text = GOOD
        .replace("{env: PATH}", "{file: missing}")
        .replace("{mode: none}", "{mode: starttls, certificate: c, key: k}");
    std::fs::write(&path, text).unwrap();
    // The secret, the certificate, the key.
    assert_eq!(Config::load(&path, LoadMode::Check).unwrap_err().len(), 3);
    let checked = Config::load(&path, LoadMode::CheckWithoutSecrets).unwrap();
    assert_eq!(
        (checked.listeners.len(), checked.registrations.len()),
        (2, 2)
    );
    let missing = Config::load(
        &directory.path().join("none"),
        LoadMode::CheckWithoutSecrets,
    )
    .unwrap_err();
    assert!(
        missing[0].to_string().contains("none: cannot be read: "),
        "{missing:?}"
    );
}

#[test]
fn a_listeners_certificate_and_key_belong_together() {
    let directory = tempfile::tempdir().unwrap();
    let authority = crate::certs::Authority::new("test").unwrap();
    for name in ["a", "b"] {
        let issued = authority.issue(&["localhost".into()]).unwrap();
        std::fs::write(directory.path().join(format!("{name}.pem")), issued.chain).unwrap();
        std::fs::write(directory.path().join(format!("{name}.key")), issued.key).unwrap();
    }
    std::fs::write(directory.path().join("empty"), "").unwrap();
    let with = |certificate: &str, key: &str| {
        let tls = format!("{{mode: implicit, certificate: {certificate}, key: {key}}}");
        let text = GOOD.replace("{mode: none}", &tls);
        Config::parse(&text, &directory.path().join("proxy.yaml"), LoadMode::Run)
    };
    let config = with("a.pem", "a.key").unwrap();
    let ListenerTls::Implicit(identity) = &config.listeners[0].tls else {
        panic!("{:?}", config.listeners[0].tls);
    };
    assert_eq!(identity.chain.len(), 2);
    let wrong = |certificate: &str, key: &str| with(certificate, key).unwrap_err()[0].to_string();
    assert_eq!(
        wrong("a.pem", "b.key"),
        "listeners[0].tls.key: is not the key of that certificate (line 10, column 47)"
    );
    assert!(wrong("empty", "a.key").contains("holds no certificate in PEM"));
    assert!(wrong("a.pem", "a.pem").contains("holds no private key in PEM"));
    assert!(wrong("none", "a.key").contains("cannot read "));
}
