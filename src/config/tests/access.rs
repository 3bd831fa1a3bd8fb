//! Listeners behind load balancers, client certificates, timing of logins, and programs.

use super::*;

fn warnings(text: &str) -> Vec<String> {
    let config = parsed(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    config.warnings.iter().map(ToString::to_string).collect()
}

/// A load balancer on this machine forwards clients from anywhere.
#[test]
fn listeners_behind_a_balancer_are_not_loopback() {
    let behind = |more: &str| GOOD.replace("proxy_protocol: []", more);
    let text = behind("proxy_protocol: [127.0.0.1, \"fd00::/8\"]\n    allow_cleartext: true");
    let config = parsed(&text).unwrap();
    let [listener, other] = &config.listeners[..] else {
        panic!("{:?}", config.listeners);
    };
    assert_eq!(listener.proxy_protocol.len(), 2);
    assert!(!listener.is_loopback() && listener.accepts_any_password());
    assert!(other.is_loopback() && other.accepts_any_password());
    let without = text.replace("    allow: [127.0.0.0/8, \"::1\"]\n", "");
    assert_eq!(
        problems(&without),
        [
            "listeners[0].bind: serves the clients of a load balancer (proxy_protocol) and is without TLS: name the clients' networks in allow (line 9, column 5)"
        ]
    );
    let everybody = behind("proxy_protocol: 0.0.0.0/0\n    allow_cleartext: true");
    assert!(warnings(&everybody).iter().any(|warning| {
        warning.starts_with(
            "listeners[0].proxy_protocol: believes everybody who says where a client comes from",
        )
    }),);
    // The account with `any` is served by SMTP only, whose listener is behind a load balancer here.
    let any = GOOD.replace(
        "provider: own}",
        "provider: own, proxy_protocol: [10.0.0.1], tls: {mode: implicit, certificate: c, key: k}}",
    );
    let checked =
        Config::parse(&any, Path::new("proxy.yaml"), LoadMode::CheckWithoutSecrets).unwrap();
    assert!(
        checked.warnings.iter().any(|warning| warning
            .message
            .starts_with("`password: any` is not accepted on mail")),
        "{:?}",
        checked.warnings
    );
}

#[test]
fn clients_are_asked_for_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let authority = crate::certs::Authority::new("test").unwrap();
    let issued = authority.issue(&["localhost".into()]).unwrap();
    for (name, text) in [
        ("s.pem", issued.chain.as_str()),
        ("s.key", issued.key.as_str()),
        ("ca.pem", authority.pem().as_str()),
        ("none.pem", ""),
    ] {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let with = |tls: &str, more: &str| {
        let text = GOOD
            .replace(
                "{mode: none}",
                &format!("{{{tls}, certificate: s.pem, key: s.key}}"),
            )
            .replace("require_tls: true", more)
            .replace(
                "{name: osticket, ",
                "{name: osticket, certificate: HelpDesk@Contoso.COM, ",
            );
        Config::parse(&text, &directory.path().join("proxy.yaml"), LoadMode::Run)
    };
    let config = with("mode: implicit, client_ca: ca.pem", "require_tls: true").unwrap();
    assert!(config.listeners[0].requires_client_certificate());
    let ListenerTls::Implicit(identity) = &config.listeners[0].tls else {
        panic!("{:?}", config.listeners[0].tls);
    };
    let paths = &identity.files;
    assert_eq!(paths.client_ca, Some(directory.path().join("ca.pem")));
    assert_eq!(paths.key, directory.path().join("s.key"));
    assert_eq!(
        config.accounts[0].passwords[0].certificate,
        CertificateName::address("HelpDesk@contoso.com")
    );
    let wrong = |tls: &str, more: &str| with(tls, more).unwrap_err()[0].to_string();
    let empty = wrong("mode: implicit, client_ca: none.pem", "require_tls: true");
    assert!(empty.starts_with("listeners[0].tls.client_ca: "), "{empty}");
    assert!(
        empty.contains("none.pem holds no certificate in PEM"),
        "{empty}"
    );
    let in_clear = wrong("mode: starttls, client_ca: ca.pem", "require_tls: false");
    assert!(
        in_clear.contains("clients without TLS cannot present"),
        "{in_clear}"
    );
}

#[test]
fn certificate_names_compare_as_names_do() {
    let host = CertificateName::host;
    let address = CertificateName::address;
    assert_eq!(host("OsTicket.Contoso.com"), host("osticket.contoso.COM"));
    assert_eq!(address("me@Contoso.com"), address("me@contoso.com"));
    assert_ne!(address("Me@contoso.com"), address("me@contoso.com"));
    for none in [
        "",
        "a..b",
        "*.contoso.com",
        "me@contoso.com",
        "b\u{fc}cher.de",
        "a b",
        "a\0b",
    ] {
        assert_eq!(host(none), None, "{none:?}");
    }
    for none in [
        "",
        "contoso.com",
        "@contoso.com",
        "me@",
        "a b@contoso.com",
        "me@*.com",
    ] {
        assert_eq!(address(none), None, "{none:?}");
    }
}

/// Hashes of different cost are reported, since timing would reveal logins.
#[test]
fn hashes_of_different_cost_are_warned_of() {
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$Yf0sRvgbNWvVVfz6Zl4Ew5MnTcl0qPt8OjzVjnpCSXk";
    let with = |other: &str| {
        warnings(&GOOD.replace(
            "password: \"plain words\"",
            &format!("password: \"{other}\""),
        ))
    };
    assert_eq!(with(hash).len(), 1);
    let mixed = with(&hash.replace("m=19456", "m=65536"));
    let [warning, _] = &mixed[..] else {
        panic!("{mixed:?}");
    };
    assert!(
        warning.starts_with(
            "accounts[0]: 1 argon2 hashes, here the first, have the parameters argon2id m="
        ),
        "{warning}"
    );
}

/// A path is relative to the file; a name is searched in PATH.
#[test]
fn programs_are_where_the_file_is() {
    use crate::platform::testing::{HAS_SHELL, make_executable};
    if !HAS_SHELL {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("bin/print");
    std::fs::create_dir(directory.path().join("bin")).unwrap();
    std::fs::write(&script, "#!/bin/sh\necho printed\n").unwrap();
    make_executable(&script).unwrap();
    let path = directory.path().join("proxy.yaml");
    for (program, printed) in [
        ("bin/print", "printed"),
        ("./bin/print", "printed"),
        ("echo", ""),
    ] {
        let text = GOOD.replace("{env: PATH}", &format!("{{command: [{program}, x]}}"));
        let config = Config::parse(&text, &path, LoadMode::Run).unwrap();
        let expected = if printed.is_empty() { "x" } else { printed };
        assert_eq!(secret_of(&config.registrations["helpdesk"]), expected);
    }
    let text = GOOD.replace(
        "    grant: client_credentials\n    client_secret: {env: PATH}\n",
        "    grant: command\n    command: [bin/print, x]\n",
    );
    let text = text.replace("    client_id: 11111111-2222-3333-4444-555555555555\n", "");
    let config = Config::parse(&text, &path, LoadMode::Run)
        .unwrap_or_else(|problems| panic!("{problems:#?}"));
    let Grant::Command(command) = &config.registrations["helpdesk"].grant else {
        panic!();
    };
    assert_eq!(command.program, script);
}

#[test]
fn a_program_that_closes_its_output_and_lives_on_is_ended() {
    let text = GOOD.replace(
        "{env: PATH}",
        "{command: [sh, -c, 'echo x; exec >&-; sleep 60']}",
    );
    let began = std::time::Instant::now();
    let got = problems(&text);
    assert!(
        got[0].contains("sh did not end within 10 seconds"),
        "{got:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_key_beside_its_tokens_is_warned_of() {
    let beside = |state: &str| {
        let text = format!("{state}\n{GOOD}");
        let found = warnings(&text);
        found
            .iter()
            .any(|warning| warning.starts_with("state.key: the key lies beside the tokens"))
    };
    // No section, and a grant whose consents are kept.
    let device = GOOD.replace(
        "grant: client_credentials\n    client_secret: {env: PATH}",
        "grant: device_code",
    );
    assert_ne!(device, GOOD);
    let named = |warning: &String| warning.starts_with("state.key: the key lies beside");
    assert!(
        warnings(&device).iter().any(named),
        "{:?}",
        warnings(&device)
    );
    assert!(beside("state: {directory: ./state}"));
    assert!(beside(
        "state: {directory: ./state, key: {file: ./state/key}}"
    ));
    assert!(beside(
        "state: {directory: ./state, key: {file: state/sub/key}}"
    ));
    assert!(!beside("state: {directory: ./state, key: {file: ./key}}"));
    assert!(!beside("state: {directory: ./state, key: {env: PATH}}"));
    // A string is a secret like others, and the schema agrees.
    assert!(!beside(
        "state: {directory: ./state, key: literal-secret-of-some-length}"
    ));
    // Without state nothing is sealed.
    assert!(!beside(""));
}
