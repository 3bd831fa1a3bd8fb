//! Whole files. Every imported configuration passes `check`.

mod field;
mod variants;

use std::sync::Arc;

use super::*;
use crate::config::{Config, Grant, LoadMode, LoginPattern};
use crate::wire::Protocol;

const FILE: &str = "\
[Email OAuth 2.0 Proxy configuration file]
documentation = Explains, over
\tseveral lines; with = signs
warning = and so on

[Server setup]
documentation = servers

[IMAP-1993]
server_address = outlook.office365.com
server_port = 993
local_address = 127.0.0.1

[POP-1995]
server_address = outlook.office365.com
server_port = 995

[SMTP-1587]
server_address = smtp-mail.outlook.com
server_port = 587
server_starttls = True
local_address = ::1
local_starttls = True
local_certificate_path = certs/server.pem
local_key_path = certs/server.key
plugins = {'LogPlugin': {}}

[IMAP-2993]
server_address = imap.example.net
server_port = 993
local_address = 127.0.0.1

# an ordinary person
[me@contoso.com]
permission_url = https://login.microsoftonline.com/common/oauth2/v2.0/authorize
token_url = https://login.microsoftonline.com/common/oauth2/v2.0/token
oauth2_scope = https://outlook.office365.com/IMAP.AccessAsUser.All https://outlook.office365.com/POP.AccessAsUser.All https://outlook.office365.com/SMTP.Send offline_access
redirect_uri = http://localhost
client_id = 11111111-2222-3333-4444-555555555555
client_secret = s3cr#t;x
token_salt = AAAA
refresh_token = gAAAA
last_activity = 1700000000

[you@contoso.com]
permission_url = https://login.microsoftonline.com/common/oauth2/v2.0/authorize
token_url = https://login.microsoftonline.com/common/oauth2/v2.0/token
oauth2_scope = https://outlook.office365.com/IMAP.AccessAsUser.All https://outlook.office365.com/POP.AccessAsUser.All https://outlook.office365.com/SMTP.Send offline_access
redirect_uri = http://localhost
client_id = 11111111-2222-3333-4444-555555555555
client_secret = s3cr#t;x

[@contoso.com]
token_url = https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token
oauth2_scope = https://outlook.office365.com/.default
oauth2_flow = client_credentials
client_id = 22222222-2222-3333-4444-555555555555
client_secret = app-secret

[device@outlook.com]
permission_url = https://login.microsoftonline.com/consumers/oauth2/v2.0/devicecode
token_url = https://login.microsoftonline.com/consumers/oauth2/v2.0/token
oauth2_scope = https://outlook.office.com/IMAP.AccessAsUser.All offline_access
oauth2_flow = device
client_id = 33333333-2222-3333-4444-555555555555

[pw@contoso.cn]
token_url = https://login.partner.microsoftonline.cn/contoso.cn/oauth2/token
oauth2_resource = https://partner.outlook.cn
oauth2_flow = password
client_id = 44444444-2222-3333-4444-555555555555

[me@example.net]
permission_url = https://login.example.net/authorize
token_url = https://login.example.net/token
oauth2_scope = mail offline
client_id = abc
use_pkce = True
strange_key = 1

[emailproxy]
delete_account_token_on_password_error = True
encrypt_client_secret_on_first_use = False
allow_catch_all_accounts = True
";

/// Loads the configuration with the files it names.
fn config(imported: &Imported) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let issued = crate::certs::Authority::new("test")
        .and_then(|authority| authority.issue(&["localhost".into()]))
        .unwrap();
    write("certs/server.pem", &issued.chain);
    write("certs/server.key", &issued.key);
    for login in [
        "me@contoso.com",
        "you@contoso.com",
        "any-at-contoso.com",
        "device@outlook.com",
        "me@example.net",
    ] {
        write(&format!("passwords/{login}"), "secret");
    }
    Config::parse(
        &imported.yaml,
        &directory.path().join("proxy.yaml"),
        LoadMode::Run,
    )
    .unwrap_or_else(|problems| {
        panic!("{problems:#?}\n{}", imported.yaml);
    })
}

#[test]
fn a_whole_file_becomes_a_configuration_that_check_takes() {
    let imported = import(FILE, &[]).unwrap();
    let config = config(&imported);
    let listeners: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| {
            (
                listener.protocol,
                listener.bind.to_string(),
                listener.provider.name.clone(),
            )
        })
        .collect();
    let mut expected = [
        (Protocol::Imap, "127.0.0.1:1993", "microsoft365"),
        (Protocol::Pop3, "127.0.0.1:1995", "microsoft365"),
        (Protocol::Smtp, "[::1]:1587", "outlook"),
        (Protocol::Imap, "127.0.0.1:2993", "google"),
    ]
    .map(|(protocol, bind, provider)| (protocol, bind.to_owned(), provider.to_owned()));
    // A server of no known service gets the first provider.
    expected[3].2 = listeners
        .iter()
        .find(|(_, bind, _)| bind == "127.0.0.1:2993")
        .unwrap()
        .2
        .clone();
    let mut listeners = listeners;
    listeners.sort();
    expected.sort();
    assert_eq!(listeners, expected);

    let account = |login: &str| {
        let pattern = match login.strip_prefix("*@") {
            Some(domain) => LoginPattern::Domain(domain.into()),
            None => LoginPattern::Exact(login.into()),
        };
        let found = config
            .accounts
            .iter()
            .find(|account| account.login == pattern);
        found
            .unwrap_or_else(|| panic!("{login}\n{}", imported.yaml))
            .clone()
    };
    let me = account("me@contoso.com");
    assert!(Arc::ptr_eq(
        &me.registration,
        &account("you@contoso.com").registration
    ));
    assert_eq!(me.registration.tenant, "common");
    assert!(matches!(
        me.registration.grant,
        Grant::AuthorizationCode(Some(_))
    ));
    assert_eq!(me.registration.scope, None, "the preset's own");
    let domain = account("*@contoso.com");
    assert!(matches!(
        domain.registration.grant,
        Grant::ClientCredentials(_)
    ));
    assert_eq!(domain.scope(), ["https://outlook.office365.com/.default"]);
    let device = account("device@outlook.com");
    assert_eq!(device.registration.provider.name, "outlook");
    assert!(matches!(device.registration.grant, Grant::DeviceCode(None)));
    assert_eq!(
        device.scope(),
        [
            "https://outlook.office.com/IMAP.AccessAsUser.All",
            "offline_access"
        ]
    );
    let password = account("pw@contoso.cn");
    assert_eq!(password.registration.provider.name, "microsoft365-china");
    assert_eq!(password.scope(), ["https://partner.outlook.cn/.default"]);
    assert!(password.passwords.is_empty());
    let own = account("me@example.net");
    assert_eq!(
        own.registration.provider.imap.as_ref().unwrap().host,
        "imap.example.net"
    );
    assert_eq!(own.scope(), ["mail", "offline"]);
}

#[test]
fn everything_without_counterpart_is_named() {
    let notes = import(FILE, &[]).unwrap().notes.join("\n");
    for expected in [
        "[SMTP-1587] plugins have no counterpart",
        "[POP-1995] listens on every interface there",
        "[me@example.net] strange_key has no counterpart",
        "[me@contoso.com] redirect_uri http://localhost:",
        "[pw@contoso.cn] uses Entra's v1 endpoint",
        "[pw@contoso.cn] oauth2_resource is v1's word",
        "delete_account_token_on_password_error has no counterpart",
        "encrypt_client_secret_on_first_use has no counterpart",
        "local passwords: email-oauth2-proxy keeps none",
        "stored tokens cannot be moved",
    ] {
        assert!(notes.contains(expected), "{expected}\n{notes}");
    }
    assert!(
        !notes.contains("gAAAA") && !notes.contains("s3cr#t"),
        "{notes}"
    );
}

#[test]
fn values_are_read_as_python_reads_them() {
    let imported = import(FILE, &[]).unwrap();
    assert!(imported.yaml.contains("s3cr#t;x"), "{}", imported.yaml);
    let google = "[IMAP-2993]\nserver_address: imap.gmail.com\nlocal_address=127.0.0.1\n\
                  [a@b.test]\ntoken_url = https://oauth2.googleapis.com/token\noauth2_scope = https://mail.google.com/\n\
                  oauth2_flow = service_account\nclient_id = file\nclient_secret = /etc/key.json\n";
    let imported = import(google, &[]).unwrap();
    assert!(
        imported.yaml.contains("file: /etc/key.json"),
        "{}",
        imported.yaml
    );
    assert!(imported.yaml.contains("protocol: imap") && imported.yaml.contains("provider: google"));
}

#[test]
fn other_files_are_refused() {
    assert!(import("", &[]).is_err());
    assert!(import("listeners: []\n", &[]).is_err());
    assert!(import("[unrelated]\na = b\n", &[]).is_err());
}

#[test]
fn names_of_the_file_stay_within_their_comment() {
    let file = "[IMAP-1993]\nserver_address = outlook.office365.com\nx\rlisteners: 1\r = y\n";
    let imported = import(file, &[]).unwrap();
    let (comments, _) = imported.yaml.split_once("\n\n").unwrap();
    assert!(!comments.contains('\r'), "{comments:?}");
    assert!(comments.lines().all(|line| line.starts_with('#')));
}
