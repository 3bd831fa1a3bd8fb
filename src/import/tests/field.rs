//! Files as people have them (F08 and its kind), and what becomes of each.

use super::super::*;
use crate::config::{Config, Grant, LoadMode, LoginPattern};

/// Imports a sample from the field, and reads the result without secrets.
fn sample(text: &str) -> (Imported, Config) {
    read(import(text, &[]).unwrap())
}

pub(super) fn read(imported: Imported) -> (Imported, Config) {
    let config = Config::parse(
        &imported.yaml,
        std::path::Path::new("proxy.yaml"),
        LoadMode::CheckWithoutSecrets,
    );
    let config = config.unwrap_or_else(|problems| panic!("{problems:#?}\n{}", imported.yaml));
    (imported, config)
}

pub(super) fn assert_noted(imported: &Imported, text: &str) {
    let notes = imported.notes.join("\n");
    assert!(notes.contains(text), "{text:?} is not in\n{notes}");
}

fn first(config: &Config) -> &crate::config::Account {
    config.accounts.first().unwrap()
}

#[test]
fn f08_without_permission_url_and_flow_it_is_app_only() {
    let (imported, config) = sample(include_str!("../samples/app-only-without-flow.config"));
    let account = first(&config);
    assert!(matches!(
        account.registration.grant,
        Grant::ClientCredentials(_)
    ));
    assert_noted(&imported, "next: ");
    assert_noted(&imported, "authrelay doctor");
}

#[test]
fn f08_a_permission_url_wins_over_the_flow() {
    let (imported, config) = sample(include_str!(
        "../samples/permission-url-beside-app-only.config"
    ));
    let account = first(&config);
    assert!(matches!(
        account.registration.grant,
        Grant::AuthorizationCode(_)
    ));
    assert_eq!(
        account.scope(),
        [
            "https://outlook.office365.com/IMAP.AccessAsUser.All",
            "offline_access"
        ]
    );
    assert_noted(
        &imported,
        "permission_url beside oauth2_flow client_credentials",
    );
}

#[test]
fn f08_what_an_account_lacks_comes_from_its_domain_then_from_all() {
    let (imported, config) = sample(include_str!("../samples/inherits-from-domain.config"));
    assert_eq!(config.accounts.len(), 2, "{}", imported.yaml);
    for account in &config.accounts {
        assert!(matches!(
            account.registration.grant,
            Grant::ClientCredentials(_)
        ));
        assert_eq!(account.registration.tenant, "contoso.test");
    }
    assert_noted(&imported, "[@contoso.test] has no client_id");
    let both = include_str!("../samples/inherits-from-domain.config").replace(
        "[SMTP",
        "[@]\noauth2_scope = x\nclient_id = cccccccc-2222-3333-4444-555555555555\n[SMTP",
    );
    let (imported, config) = sample(&both);
    // The catch-all section completes the domain's account.
    let domain = config
        .accounts
        .iter()
        .find(|account| matches!(account.login, LoginPattern::Domain(_)));
    let domain = domain.unwrap_or_else(|| panic!("{}", imported.yaml));
    assert_eq!(
        domain.registration.client_id,
        "cccccccc-2222-3333-4444-555555555555"
    );
    let off = both.replace(
        "allow_catch_all_accounts = True",
        "allow_catch_all_accounts = False",
    );
    assert_noted(
        &import(&off, &[]).unwrap(),
        "[noreply@contoso.test] has no token_url",
    );
}

#[test]
fn f08_a_catch_all_alone_is_an_account_for_any_login() {
    let (imported, config) = sample(include_str!("../samples/catch-all-alone.config"));
    assert_eq!(first(&config).login, LoginPattern::Any, "{}", imported.yaml);
    assert!(matches!(
        first(&config).registration.grant,
        Grant::AuthorizationCode(_)
    ));
}

#[test]
fn f08_listeners_with_tls_keep_their_address() {
    let text = include_str!("../samples/tls-listener-on-one-address.config");
    let (_, config) = sample(text);
    assert_eq!(
        config.listeners.first().unwrap().bind.to_string(),
        "10.1.0.5:1465"
    );
    for (address, bind) in [
        ("local_address = 10.1.0.5   ", "10.1.0.5:1465"),
        ("local_address = 0.0.0.0", "0.0.0.0:1465"),
        ("local_address = ::", "[::]:1465"),
        ("local_address =", "[::]:1465"),
        ("", "[::]:1465"),
    ] {
        let (_, config) = sample(&text.replace("local_address = 10.1.0.5", address));
        assert_eq!(
            config.listeners.first().unwrap().bind.to_string(),
            bind,
            "{address:?}"
        );
    }
    let clear = text.replace("local_key_path", "unrelated_key_path");
    let (imported, config) = sample(&clear);
    assert!(config.listeners.first().unwrap().bind.ip().is_loopback());
    assert_noted(&imported, "put on 127.0.0.1");
}

#[test]
fn f08_other_servers_become_the_providers_endpoints() {
    let (imported, config) = sample(include_str!("../samples/other-servers.config"));
    let provider = &first(&config).registration.provider;
    let imap = provider.imap.as_ref().unwrap();
    assert_eq!(
        (imap.host.as_str(), imap.port),
        ("imap.relay.contoso.test", 143)
    );
    assert_eq!(imap.tls, crate::config::UpstreamTls::StartTls);
    let smtp = provider.smtp.as_ref().unwrap();
    assert_eq!((smtp.host.as_str(), smtp.port), ("smtp.office365.com", 25));
    assert_noted(&imported, "smtp-hve.office365.com:587 (starttls) there");
}

#[test]
fn f08_delegated_scopes_of_an_application_become_its_default_scope() {
    let (imported, config) = sample(include_str!("../samples/delegated-scopes-app-only.config"));
    assert_eq!(
        first(&config).scope(),
        ["https://outlook.office365.com/.default"]
    );
    assert_noted(
        &imported,
        "SMTP.Send offline_access is what a person delegates",
    );
}

#[test]
fn f08_the_password_may_be_the_client_secret() {
    let text = include_str!("../samples/password-is-the-secret.config");
    let (imported, config) = sample(text);
    let account = first(&config);
    assert!(account.passwords.is_empty(), "{}", imported.yaml);
    assert!(account.registration.grant.needs_client_password());
    // A secret in the file takes precedence, as in the other proxy.
    let own = text.replace("oauth2_flow", "client_secret = s\noauth2_flow");
    let (_, config) = sample(&own);
    assert!(!first(&config).registration.grant.needs_client_password());
}

#[test]
fn f08_davmail_becomes_listeners_and_an_account_a_person() {
    let text = "davmail.mode=O365Manual\ndavmail.url=https\\://outlook.office365.com/EWS/Exchange.asmx\n\
                davmail.imapPort=1143\ndavmail.popPort=\ndavmail.smtpPort=1025\ndavmail.caldavPort=1080\n\
                davmail.allowRemote=true\ndavmail.oauth.tenantId=contoso.test\n\
                davmail.oauth.clientId=aaaaaaaa-2222-3333-4444-555555555555\n\
                davmail.oauth.box@contoso.test.refreshToken={AES}abc\n\
                davmail.enableProxy=true\ndavmail.proxyHost=proxy.test\ndavmail.proxyPort=3128\n";
    let (imported, config) = sample(text);
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(
        first(&config).login,
        LoginPattern::Exact("box@contoso.test".into())
    );
    let registration = &first(&config).registration;
    assert_eq!(
        (
            registration.tenant.as_str(),
            registration.provider.name.as_str()
        ),
        ("contoso.test", "microsoft365")
    );
    assert!(registration.provider.egress.is_some());
    for note in [
        "davmail.caldavPort",
        "allowRemote",
        "authrelay authorize LOGIN",
        "sealed with",
    ] {
        assert_noted(&imported, note);
    }
    assert!(!imported.yaml.contains("{AES}"));
    let (_, config) = sample("davmail.mode=O365ROPC\ndavmail.imapPort=1143\n");
    assert!(first(&config).registration.grant.needs_client_password());
}

#[test]
fn f08_sasl_xoauth2_moves_its_refresh_tokens() {
    let text = r#"{"client_id": "aaaaaaaa-2222-3333-4444-555555555555", "client_secret": "s",
        "token_endpoint": "https://login.microsoftonline.com/contoso.test/oauth2/v2.0/token", "use_sasl": 1}"#;
    let tokens = [
        (
            "box@contoso.test".to_owned(),
            r#"{"access_token": "a", "expiry": "0", "refresh_token": "r-1"}"#.to_owned(),
        ),
        (
            "other".to_owned(),
            r#"{"user": "other@contoso.test", "refresh_token": "r-2"}"#.to_owned(),
        ),
        ("notes.txt".to_owned(), "nothing".to_owned()),
    ];
    let (imported, config) = read(import(text, &tokens).unwrap());
    let logins: Vec<_> = imported
        .consents
        .iter()
        .map(|consent| consent.login.as_str())
        .collect();
    assert_eq!(logins, ["box@contoso.test", "other@contoso.test"]);
    assert_eq!(config.accounts.len(), 2);
    assert_eq!(first(&config).registration.tenant, "contoso.test");
    assert!(!imported.yaml.contains("r-1"), "{}", imported.yaml);
    for note in ["use_sasl has no counterpart", "notes.txt", "relayhost"] {
        assert_noted(&imported, note);
    }
    let (imported, _) = read(import(text, &[]).unwrap());
    assert_noted(&imported, "--tokens FOLDER");
}
