//! Registrations of every grant.

use super::reference::by_schema;
use super::*;

/// A file with one registration of the given keys.
fn with(provider: &str, keys: &str) -> Result<Config, Vec<String>> {
    let password = if keys.contains("grant: password") {
        ""
    } else {
        ", password: p"
    };
    let text = format!(
        "listeners: [{{protocol: imap, bind: '127.0.0.1:0'}}]\n\
         registrations:\n  r: {{provider: {provider}, {keys}}}\n\
         accounts: [{{login: a@b.test, registration: r, protocols: [imap, smtp]{password}}}]\n"
    );
    Config::parse(&text, Path::new("proxy.yaml"), LoadMode::Run)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

fn problem(provider: &str, keys: &str) -> String {
    let problems = with(provider, keys).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].clone()
}

#[test]
fn scopes_follow_grant_provider_and_protocols() {
    for (provider, keys, scope) in [
        (
            "microsoft365",
            "tenant: t, client_id: c, grant: authorization_code",
            "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access",
        ),
        (
            "microsoft365-us",
            "tenant: t, client_id: c, grant: device_code",
            "https://outlook.office365.us/IMAP.AccessAsUser.All https://outlook.office365.us/SMTP.Send offline_access",
        ),
        (
            "microsoft365-china",
            "tenant: t, client_id: c, grant: client_credentials, client_secret: s",
            "https://partner.outlook.cn/.default",
        ),
        (
            "microsoft365",
            "tenant: organizations, client_id: c, grant: password",
            "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access",
        ),
        (
            "microsoft365",
            "grant: managed_identity",
            "https://outlook.office365.com/.default",
        ),
        (
            "outlook",
            "client_id: c, grant: authorization_code",
            "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send offline_access",
        ),
        (
            "google",
            "client_id: c, grant: authorization_code, client_secret: s",
            "https://mail.google.com/",
        ),
        ("yahoo", "client_id: c, grant: authorization_code", "mail-w"),
        (
            "fastmail",
            "client_id: c, grant: authorization_code",
            "https://www.fastmail.com/dev/protocol-imap https://www.fastmail.com/dev/protocol-smtp",
        ),
        (
            "google",
            "client_id: c, grant: authorization_code, scope: [a, b]",
            "a b",
        ),
    ] {
        let config = with(provider, keys).unwrap();
        assert_eq!(
            config.accounts[0].scope().join(" "),
            scope,
            "{provider} {keys}"
        );
    }
}

#[test]
fn endpoints_carry_the_tenant_and_consents_want_state() {
    let config = with(
        "microsoft365",
        "tenant: common, client_id: c, grant: authorization_code",
    )
    .unwrap();
    let registration = &config.registrations["r"];
    assert_eq!(
        registration.authorize_url.as_ref().unwrap().as_str(),
        "https://login.microsoftonline.com/common/oauth2/v2.0/authorize"
    );
    assert!(registration.device_url.is_none());
    assert!(config.state.wanted && registration.grant.needs_consent());
    assert!(
        matches!(config.state.key, GeneratedSecret::File(ref path) if path.ends_with("state/key"))
    );
    let config = with("outlook", "client_id: c, grant: device_code").unwrap();
    assert_eq!(
        config.registrations["r"]
            .device_url
            .as_ref()
            .unwrap()
            .as_str(),
        "https://login.microsoftonline.com/consumers/oauth2/v2.0/devicecode"
    );
    let config = with("microsoft365", "grant: command, command: [print-token, x]").unwrap();
    assert!(!config.state.wanted);
    let Grant::Command(command) = &config.registrations["r"].grant else {
        panic!()
    };
    assert_eq!(
        (command.program.to_str().unwrap(), &command.arguments[..]),
        ("print-token", &["x".to_owned()][..])
    );
    let config = with("microsoft365", "grant: managed_identity, client_id: i").unwrap();
    let Grant::ManagedIdentity { client_id, url } = &config.registrations["r"].grant else {
        panic!()
    };
    assert_eq!(client_id.as_deref(), Some("i"));
    assert_eq!(url.host_str(), Some("169.254.169.254"));
}

#[test]
fn what_a_grant_does_not_take_is_refused() {
    for (provider, keys, expected) in [
        (
            "microsoft365",
            "tenant: t, client_id: c, grant: implicit",
            "registrations.r.grant: must be client_credentials, authorization_code, device_code, password, service_account, managed_identity or command",
        ),
        (
            "microsoft365",
            "tenant: common, client_id: c, grant: password",
            "registrations.r.tenant: the grant password requires the tenant's own domain or id",
        ),
        (
            "microsoft365",
            "tenant: t, client_id: c, grant: authorization_code, command: [x]",
            "registrations.r.command: has no effect with the grant authorization_code",
        ),
        (
            "microsoft365",
            "tenant: t, client_id: c, grant: client_credentials",
            "registrations.r.client_secret: is missing",
        ),
        (
            "microsoft365",
            "tenant: t, client_id: c, grant: device_code, client_secret: s, federated: {file: /etc/hostname}",
            "registrations.r.grant: has more than one of client_secret, certificate and federated",
        ),
        (
            "google",
            "client_id: c, grant: device_code",
            "registrations.r: the provider google has no device_url",
        ),
        (
            "google",
            "client_id: c, grant: client_credentials, client_secret: s",
            "registrations.r: scope is missing, and the provider google has none for the grant client_credentials",
        ),
        (
            "microsoft365",
            "grant: managed_identity, url: 'http://192.0.2.1/token'",
            "registrations.r.url: must begin with https://",
        ),
        (
            "google",
            "grant: service_account, key: 'not json'",
            "registrations.r.key: is not a JSON key of a service account",
        ),
    ] {
        let got = problem(provider, keys);
        assert!(got.starts_with(expected), "{keys}: {got}");
    }
    let text = "listeners: [{protocol: imap, bind: '127.0.0.1:0'}]\n\
                registrations: {r: {provider: outlook, client_id: c, grant: password, tenant: t}}\n\
                accounts: [{login: a, registration: r, password: p}]";
    assert!(
        problems(text)[0]
            .starts_with("accounts[0].password: has no effect with the grant password")
    );
}

#[test]
fn certificates_sign_with_rsa_keys_encrypted_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let status = std::process::Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&directory)
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "openssl {arguments}");
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.pem -subj /CN=app -days 2");
    openssl("pkcs8 -topk8 -in rsa.key -out sealed.key -passout pass:open-sesame");
    openssl("rsa -in rsa.key -traditional -out pkcs1.key");
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ec.key -out ec.pem -subj /CN=app -days 2",
    );
    let with = |certificate: &str| {
        let text = format!(
            "listeners: [{{protocol: imap, bind: '127.0.0.1:0'}}]\n\
             registrations:\n  r: {{provider: microsoft365, tenant: t, client_id: c, grant: client_credentials, certificate: {certificate}}}\n\
             accounts: [{{login: a@b.test, registration: r, password: p}}]\n"
        );
        Config::parse(&text, &directory.path().join("proxy.yaml"), LoadMode::Run)
    };
    let thumbprint = |certificate: &str| {
        let config = with(certificate).unwrap();
        match config.registrations["r"].grant.credential() {
            Some(ClientCredential::Certificate(key)) => key.thumbprint.clone(),
            other => panic!("{other:?}"),
        }
    };
    let plain = thumbprint("{certificate: rsa.pem, key: rsa.key}");
    assert_eq!(plain.len(), 43, "SHA-256 in base64url");
    assert_eq!(plain, thumbprint("{certificate: rsa.pem, key: pkcs1.key}"));
    assert_eq!(
        plain,
        thumbprint("{certificate: rsa.pem, key: sealed.key, passphrase: open-sesame}")
    );
    for (certificate, expected) in [
        (
            "{certificate: rsa.pem, key: sealed.key}",
            "is encrypted; write its passphrase as passphrase",
        ),
        (
            "{certificate: rsa.pem, key: sealed.key, passphrase: wrong}",
            "cannot be decrypted with this passphrase",
        ),
        (
            "{certificate: ec.pem, key: ec.key}",
            "is not an RSA private key in PEM",
        ),
        (
            "{certificate: ec.pem, key: rsa.key}",
            "is not the key of that certificate",
        ),
        (
            "{certificate: rsa.pem}",
            "is missing; write the path of its private key",
        ),
    ] {
        let got = with(certificate).unwrap_err()[0].to_string();
        assert!(got.contains(expected), "{certificate}: {got}");
    }
}

/// Reader and schema take the same dates.
#[test]
fn d45_a_date_is_only_a_date() {
    let text = |date: &str| {
        format!(
            "listeners:\n  - {{protocol: imap, bind: 127.0.0.1:1143}}\nregistrations:\n  c: {{provider: microsoft365, tenant: t, \
             client_id: x, grant: client_credentials, client_secret: z, client_secret_expires: {date}}}\n\
             accounts:\n  - {{login: a@b.test, registration: c, password: long-enough-pw}}\n"
        )
    };
    for date in [
        "2027-05-01T10:00:00Z",
        "2027-121",
        "2027-W18-6",
        "2027-13-01",
        "27-05-01",
    ] {
        let got = problems(&text(date));
        assert!(got[0].contains("must be a date"), "{date}: {got:?}");
        assert!(!by_schema(&text(date)), "{date}");
    }
    for date in ["2027-05-01", "20270501", "'20270501'"] {
        assert!(parsed(&text(date)).is_ok(), "{date}");
        assert!(by_schema(&text(date)), "{date}");
    }
}
