//! All problems at once, each with its position and a remedy.

use super::*;

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    let text = r#"limits:
  sesions: 5
  idle_timeout: 10m
  login_timeout: 60
listeners:
  - {protocol: imap, bind: localhost:1143}
  - {protocol: imap, bind: 0.0.0.0:1144}
  - {protocol: smtp, bind: 127.0.0.1:25, provider: microsft365}
  - {protocol: smtp, bind: 127.0.0.1:25}
  - {protocol: ldap}
audit: {on_full: wait}
registrations:
  a:
    provider: microsoft365
    tenant: common
    client_id: x
    grant: client_credentials
    client_secret: y
    key: z
  b: {provider: microsoft365, client_id: x, grant: client_credentials, client_secret: y}
  c: {provider: microsoft365, tenant: t, client_id: x, grant: client_credentials, client_secret: z}
accounts:
  - {login: a@b, registration: c}
  - {login: A@B, registration: d, password: p}
  - {login: "*@*.b", registration: c, password: $2y$12$abcdefghijk}
  - {login: x, registration: c, password: p, passwords: [{name: n, password: p}]}
  - {login: y, registration: a, password: p}
  - {login: y, registration: c, password: p, login: z}
"#;
    let expected = [
        "limits.sesions: is not a known key; did you mean sessions? (line 2, column 3)",
        "limits.idle_timeout: must be at least 30m if there is an IMAP listener (RFC 9051 §5.4) (line 3, column 3)",
        "limits.login_timeout: must be a time with its unit, as in 30s, 5m or 1h (line 4, column 3)",
        "listeners[0].bind: requires an address, not a name: write 127.0.0.1:1143 or \"[::1]:1143\" (line 6, column 22)",
        "listeners[1].bind: is not loopback, and passwords would cross the network in clear: set tls, or allow_cleartext: true with allow (line 7, column 22)",
        "listeners[2].provider: there is no such provider; write aol, fastmail, google, microsoft365, microsoft365-china, microsoft365-dod, microsoft365-hve, microsoft365-us, outlook or yahoo, or describe yours under providers (line 8, column 42)",
        "listeners[4].bind: is missing; write an address and port, as in 127.0.0.1:1143 (line 10, column 5)",
        "listeners[4].protocol: must be imap, pop3 or smtp (line 10, column 6)",
        "audit: has neither path nor syslog nor http: nothing would be recorded (line 11, column 1)",
        "audit.on_full: must be continue or refuse (line 11, column 9)",
        "registrations.a.tenant: the grant client_credentials requires the tenant's own domain or id, as in contoso.onmicrosoft.com (line 15, column 5)",
        "registrations.a.key: has no effect with the grant client_credentials; remove it (line 19, column 5)",
        "registrations.b: tenant is missing; write the tenant's domain or id, as in contoso.onmicrosoft.com (line 20, column 3)",
        "accounts[0].password: is missing; write a hash from `authrelay hash-password`, {file: PATH} or {env: NAME} (line 23, column 5)",
        "accounts[1].registration: there is no such registration; write c, or describe it under registrations (line 24, column 18)",
        "accounts[2].login: must be *@domain, as in *@contoso.com (line 25, column 6)",
        "accounts[2].password: looks like a hash other than argon2; make one with `authrelay hash-password` (line 25, column 39)",
        "accounts[3].passwords: is given in addition to password; put that one into the list (line 26, column 46)",
        "accounts[5].login: is given a second time (first at line 28); keep one (line 28, column 46)",
    ];
    let got = problems(text);
    assert_eq!(got, expected, "{got:#?}");
}

/// Single mistakes, which an earlier one would hide.
#[test]
fn single_mistakes() {
    for (from, to, expected) in [
        (
            "bind: \"[::1]:1587\"",
            "bind: 127.0.0.1:1143",
            "listeners[1]: the listener imap-1143 is on the same address (127.0.0.1:1143)",
        ),
        (
            "bind: 127.0.0.1:1143",
            "bind: 192.0.2.1:1143\n    allow_cleartext: true",
            "",
        ),
        (
            "name: mail",
            "name: imap-1143",
            "listeners[1]: another listener is named imap-1143; give this one a name of its own",
        ),
        (
            ", provider: own}",
            "}",
            "listeners[1].provider: is missing; write whose capabilities to show before login: microsoft365 or own",
        ),
        (
            "{mode: none}",
            "{mode: none, key: x}",
            "listeners[0].tls.key: has no effect with mode none; write mode starttls or implicit",
        ),
        (
            "{mode: none}",
            "{mode: none, \"mod\\x0ee\": none}",
            "listeners[0].tls.(key): is not a known key; did you mean mode?",
        ),
        (
            "proxy_protocol: []",
            "proxy_protocol: [10.0.0.0/8]",
            "listeners[0].bind: serves the clients of a load balancer (proxy_protocol), and passwords would cross the network in clear: set tls, or allow_cleartext: true with allow",
        ),
        (
            "proxy_protocol: []",
            "proxy_protocol: balancer.test",
            "listeners[0].proxy_protocol: must be an address or a network, as in 10.1.0.0/16 or ::1",
        ),
        (
            "{mode: none}",
            "{mode: none, client_ca: x}",
            "listeners[0].tls.client_ca: has no effect with mode none; write mode starttls or implicit",
        ),
        (
            "{name: osticket, ",
            "{name: osticket, certificate: \"*.contoso.com\", ",
            "accounts[0].passwords[0].certificate: must be a name as the client's certificate bears it in its subjectAltName: a host (dNSName, IDNA in its xn-- form) or an address (rfc822Name)",
        ),
        (
            "{name: osticket, ",
            "{name: osticket, certificate: osticket.contoso.com, ",
            "accounts[0]: passwords[0] requires a certificate, and no listener of its protocols asks clients for one: set tls.client_ca there, or remove certificate",
        ),
        (
            "login: Tickets@Contoso.com",
            "login: \"*@example.com\"",
            "accounts[1]: another account has the same login (line 37); give it further passwords instead",
        ),
        (
            "{host: imap.contoso.com}",
            "{host: imap.contoso.com, tls: none}",
            "providers.microsoft365.imap.tls: must be implicit or starttls: there is no way to the upstream without TLS",
        ),
        (
            "http://127.0.0.1:8080/token",
            "http://login.example.com/token",
            "providers.own.token_url: must begin with https:// (http:// is for loopback addresses only)",
        ),
        (
            "http://127.0.0.1:8080/token",
            "https://me:pw@login.example.com/token",
            "providers.own.token_url: must not contain a user name or password",
        ),
        (
            "    scope: [mail, \"https://mail.example.com/\"]\n",
            "",
            "registrations.own: scope is missing, and the provider own has none for the grant client_credentials; write what the identity provider calls access to the mail service",
        ),
        (
            "protocols: smtp",
            "protocols: [smtp, imap]",
            "accounts[1].protocols: the provider own has no imap",
        ),
        (
            "name: scanner",
            "name: osticket",
            "accounts[0].passwords[1]: another password of this account has the same name",
        ),
        (
            "$Yf0sRvgbNWvVVfz6Zl4Ew5MnTcl0qPt8OjzVjnpCSXk",
            "",
            "accounts[0].passwords[1].password: is not a complete argon2id, argon2i or argon2d hash; quote it as `authrelay hash-password` prints it",
        ),
        (
            "$argon2id$",
            "$argon2x$",
            "accounts[0].passwords[1].password: is not a complete argon2id, argon2i or argon2d hash; quote it as `authrelay hash-password` prints it",
        ),
        (
            "failures: 3",
            "failures: 0",
            "limits.lockout.failures: must be a whole number from 1 to 1000000",
        ),
        (
            "allow: 10.1.2.3/16",
            "allow: 10.1.2.3/33",
            "accounts[0].passwords[0].allow: must be an address or a network, as in 10.1.0.0/16 or ::1",
        ),
        (
            "mailbox: {smtp: outgoing@example.com}",
            "mailbox: \"two words\"",
            "accounts[1].mailbox: must be one mailbox's address",
        ),
        (
            "log: {format: text, level: debug}",
            "log:",
            "log: is empty; write its keys below it, indented, or remove it",
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replace(from, to);
        match expected {
            "" => assert!(parsed(&text).is_ok(), "{to}: {:?}", parsed(&text)),
            expected => {
                let got = problems(&text);
                let [only] = &got[..] else {
                    panic!("{to}: {got:#?}");
                };
                assert!(only.starts_with(expected), "{to}: {only}");
            }
        }
    }
}

/// Passwords cross a network in clear only if the file allows it twice.
#[test]
fn passwords_in_clear_off_loopback_want_it_said_twice() {
    let bind = |address: &str, more: &str| {
        let text = GOOD
            .replace("    allow: [127.0.0.0/8, \"::1\"]\n", "")
            .replace(
                "bind: 127.0.0.1:1143",
                &format!("bind: \"{address}\"{more}"),
            );
        parsed(&text)
            .err()
            .map(|problems| problems[0].message.clone())
    };
    let refused = bind("0.0.0.0:1143", "").unwrap();
    assert!(refused.contains("passwords would cross the network in clear"));
    let refused = bind("[::]:1143", "\n    allow_cleartext: true").unwrap();
    assert!(refused.contains("name the clients' networks in allow"));
    assert_eq!(
        bind(
            "10.0.0.1:1143",
            "\n    allow_cleartext: true\n    allow: 10.0.0.0/8"
        ),
        None
    );
    assert_eq!(bind("127.8.8.8:1143", ""), None);
}

#[test]
fn any_password_wants_a_listener_that_takes_it() {
    let text = GOOD.replace("password: any", "password: any # here");
    assert!(parsed(&text).is_ok());
    let open = |listener: &str| listener.replace("[::1]:1587\"", "[::]:1587\", tls: TLS");
    let directory = tempfile::tempdir().unwrap();
    let issued = crate::certs::Authority::new("test")
        .and_then(|authority| authority.issue(&["localhost".into()]))
        .unwrap();
    std::fs::write(directory.path().join("c"), issued.chain).unwrap();
    std::fs::write(directory.path().join("k"), issued.key).unwrap();
    let tls = "{mode: implicit, certificate: c, key: k}";
    let path = directory.path().join("proxy.yaml");
    let one_open = open(GOOD).replace("TLS", tls);
    let config = Config::parse(&one_open, &path, LoadMode::Run).unwrap();
    let warned = config.warnings.iter().any(|warning| {
        warning
            .message
            .contains("is not accepted on mail, which has neither")
    });
    assert!(warned, "{:?}", config.warnings);
    let both_open = one_open
        .replace("127.0.0.1:1143", "0.0.0.0:1143")
        .replace("{mode: none}", tls)
        .replace("    allow: [127.0.0.0/8, \"::1\"]\n", "");
    let refused = Config::parse(&both_open, &path, LoadMode::Run).unwrap_err();
    assert!(
        refused[0].message.contains("and there is none"),
        "{refused:?}"
    );
}

/// A secret may follow any key, be quoted wrongly, or become a key itself.
#[test]
fn no_problem_shows_a_secret() {
    let canary = "cAnArY-77";
    for (from, to) in [
        ("{env: PATH}", format!("[{canary}]")),
        ("{env: PATH}", format!("{{value: {canary}}}")),
        ("{env: PATH}", format!("{{a: b, $x$y={canary}: }}")),
        ("{env: PATH}", format!("{{x, {canary}$: }}")),
        ("{env: PATH}", format!("\"{canary}\n")),
        ("{env: PATH}", format!("'{canary}'x")),
        ("{env: PATH}", format!("!{canary} x")),
        ("{env: PATH}", format!("*{canary}")),
        ("\"plain words\"", format!("\"{canary}\\x01\"")),
        ("\"plain words\"", format!("$2b$10${canary}")),
        ("\"plain words\"", format!("$argon2id${canary}")),
        ("password: any", format!("password: {{secret: {canary}}}")),
        ("password: any", format!("password: [{canary}]")),
    ] {
        let text = GOOD.replace(from, &to);
        let shown = format!("{:?}", problems(&text));
        assert!(!shown.contains(canary), "{to}: {shown}");
        let shown = format!("{:?}", parsed(&GOOD.replace("literal", canary)));
        assert!(!shown.contains(canary));
    }
}
