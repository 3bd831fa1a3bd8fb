//! Legal syntax that few files have, and files that lack something.

use super::field::{assert_noted, read};
use super::*;

const APPLICATION: &str = "token_url = https://login.microsoftonline.com/contoso.test/oauth2/v2.0/token\n\
    oauth2_flow = client_credentials\noauth2_scope = https://outlook.office365.com/.default\n\
    client_id = aaaaaaaa-2222-3333-4444-555555555555\nclient_secret = not-a-real-secret\n";
const SERVER: &str = "[IMAP-1993]\nserver_address = outlook.office365.com\nserver_port = 993\n\
    local_address = 127.0.0.1\n";

/// Imports a file, whose result `check --no-secrets` must take.
fn taken(text: &str, tokens: &[TokenFile]) -> (Imported, Config) {
    read(import(text, tokens).unwrap())
}

#[test]
fn default_section_completes_servers_and_accounts() {
    let text = format!(
        "[DEFAULT]\nserver_port = 993\n{APPLICATION}\n[IMAP-1993]\nserver_address = outlook.office365.com\n\
         local_address = 127.0.0.1\n[a@contoso.test]\nlast_activity = 1\n[b@contoso.test]\nclient_secret = own\n"
    );
    let (imported, config) = taken(&text, &[]);
    assert_eq!(config.accounts.len(), 2, "{}", imported.yaml);
    assert!(
        !imported
            .notes
            .iter()
            .any(|note| note.contains("default") || note.contains("[IMAP"))
    );
}

#[test]
fn two_endpoints_of_one_host_are_two_providers() {
    let account = |realm: &str| {
        format!(
            "[{realm}@example.net]\npermission_url = https://sso.example.net/realms/{realm}/auth\n\
             token_url = https://sso.example.net/realms/{realm}/token\noauth2_scope = mail\nclient_id = c\n"
        )
    };
    let server = SERVER.replace("outlook.office365.com", "imap.example.net");
    let (imported, config) = taken(&(server + &account("a") + &account("b")), &[]);
    for account in &config.accounts {
        let url = account.registration.provider.token_url.to_string();
        let realm = account.login.to_string().replace("@example.net", "");
        assert!(
            url.contains(&format!("realms/{realm}/")),
            "{}",
            imported.yaml
        );
    }
}

#[test]
fn what_a_file_lacks_is_named_and_the_result_is_taken() {
    let own = "[a@example.net]\npermission_url = https://sso.example.net/auth\ntoken_url = https://sso.example.net/token\n\
               oauth2_scope = mail\nclient_id = c\n";
    let without = |key: &str| APPLICATION.replace(key, &format!("#{key}"));
    let server = SERVER.replace("outlook.office365.com", "imap.example.net");
    for (text, note) in [
        (
            format!("{SERVER}[a@contoso.test]\n{}", without("client_id")),
            "has no client_id",
        ),
        (
            format!("{server}{}", own.replace("oauth2_scope", "#")),
            "has no oauth2_scope",
        ),
        (
            format!("{server}{}", own.replace("https", "http")),
            "https is written in place of http",
        ),
        (
            format!("[a@contoso.test]\n{APPLICATION}"),
            "there are no servers",
        ),
        (own.to_owned(), "no server leads to its mail service"),
        (
            format!("{SERVER}{own}"),
            "put together from the servers of the file",
        ),
        (
            SERVER.replace("127.0.0.1", "10.1.0.5"),
            "listens on 10.1.0.5 there",
        ),
    ] {
        assert_noted(&taken(&text, &[]).0, note);
    }
}

#[test]
fn davmails_file_is_read_as_java_reads_it() {
    let text = "! comment\r\n davmail.imapPort 1143\r\ndavmail.smtpPort : 1025\r\ndavmail.popPort\t1110\r\n\
        davmail.mode = O365\\\r\n    DeviceCode\r\n\
        davmail.oauth.clientId = aaaaaaaa-2222-3333-4444-\\\r\n   555555555555\r\n\
        davmail.oauth.tenantId = contoso\\u002etest\r\n\
        davmail.ssl.keystoreFile=C\\:\\\\Program Files\\\\\\ud83d\\ude00\\\\keys.p12\r\ndavmail.allowRemote=true\r\n\
        davmail.oauth.a@contoso.test.refreshToken={AES}x\\=\\=\r\n";
    let (imported, config) = taken(text, &[]);
    assert_eq!(config.listeners.len(), 3, "{}", imported.yaml);
    let registration = &config.accounts.first().unwrap().registration;
    assert!(matches!(registration.grant, Grant::DeviceCode(_)));
    assert_eq!(registration.tenant, "contoso.test");
    assert_eq!(
        registration.client_id,
        "aaaaaaaa-2222-3333-4444-555555555555"
    );
    assert_noted(&imported, "C:\\Program Files\\\u{1f600}\\keys.p12");
}

#[test]
fn davmails_keys_without_counterpart_are_named() {
    let text = "davmail.mode=O365Interactive\ndavmail.imapPort=99999\ndavmail.smtpPort=1025\n\
        davmail.bindAddress=mail.contoso.test\ndavmail.smtpSaveInSent=true\ndavmail.logFilePath=/var/log/x\n\
        davmail.imapAutoExpunge=false\ndavmail.keepDelay=\nlog4j.rootLogger=WARN\ndavmail.ssl.keyPass=geheim\n";
    let (imported, _) = taken(text, &[]);
    for note in [
        "davmail.logFilePath, davmail.smtpSaveInSent, log4j.rootLogger: without a counterpart",
        "davmail.imapport 99999 is not a port",
        "davmail.bindAddress mail.contoso.test is a name",
    ] {
        assert_noted(&imported, note);
    }
    assert!(!imported.yaml.contains("geheim"));
}

#[test]
fn sasl_xoauth2s_json_may_have_comments() {
    let text = "// the app\n{\n /* its id */ \"client_id\": \"aaaaaaaa-2222-3333-4444-555555555555\", // id\n\
        \"client_secret\": \"a//b/*c,}\\\"\",\n \"token_endpoint\": \
        \"https://login.microsoftonline.com/contoso.test/oauth2/v2.0/token\", // end\n}\n";
    let token = "{\"refresh_token\": \"r-1\", }  // token\n".to_owned();
    let (imported, config) = taken(text, &[("box@contoso.test".into(), token)]);
    assert_eq!(config.accounts.len(), 1);
    assert_eq!(imported.consents.len(), 1);
    assert!(imported.yaml.contains("a//b/*c,}\""), "{}", imported.yaml);
    // A comment's beginning is not its end.
    let (imported, _) = taken(&text.replace("/* its id */", "/*/ its, id */"), &[]);
    assert!(imported.yaml.contains("aaaaaaaa-2222"), "{}", imported.yaml);
    // Nothing else than comments and commas at the end is more than JSON.
    assert!(import(&text.replace("\"client_id\"", "'client_id'"), &[]).is_err());
}

#[test]
fn sasl_xoauth2s_own_endpoint_moves_its_consents() {
    let text = "{\"client_id\": \"c\", \"token_endpoint\": \"https://sso.example.net/token\"}";
    let tokens = [
        (
            "box@example.net".to_owned(),
            "{\"refresh_token\": \"r-1\"}".to_owned(),
        ),
        ("backup.tar".to_owned(), String::new()),
    ];
    let (imported, _) = taken(text, &tokens);
    assert_eq!(imported.consents.len(), 1);
    assert_noted(&imported, "no server leads to its mail service");
    assert_noted(&imported, "backup.tar");
}
