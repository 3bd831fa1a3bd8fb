//! `authrelay check`: what it finds before `run` would, and what it warns of.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// A good file; `{…}` marks are filled in by the tests.
const GOOD: &str = "\
listeners:
  - {protocol: imap, bind: '127.0.0.1:11143'}
registrations:
  app:
    provider: microsoft365
    tenant: contoso.onmicrosoft.com
    client_id: 11111111-2222-3333-4444-555555555555
    grant: client_credentials
    client_secret: SECRET
accounts:
  - {login: tickets@contoso.com, registration: app, password: PASSWORD}
";

pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn with(self, name: &str, contents: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.0.path().join(name), contents).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The exit code of `check`, and everything that it said.
    pub(crate) fn check(&self, text: &str) -> (Option<i32>, String) {
        self.command("check", text)
    }

    pub(crate) fn command(&self, command: &str, text: &str) -> (Option<i32>, String) {
        let path = self.path().join("proxy.yaml");
        std::fs::write(&path, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_authrelay"))
            .args([command, "--config"])
            .arg(&path)
            .env("WRAPPED", "\"in quotes of its own\"")
            .env("LINE", "a secret and its line end\n")
            .env("PLAIN", "a secret")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    #[track_caller]
    pub(crate) fn refuses(&self, text: &str, expected: &str) {
        let (code, said) = self.check(text);
        assert!(
            code == Some(78) && said.contains(expected),
            "{code:?}: {said}"
        );
    }

    #[track_caller]
    pub(crate) fn warns(&self, text: &str, expected: &str) {
        let (code, said) = self.check(text);
        let warned = said
            .lines()
            .any(|line| line.starts_with("warning: ") && line.contains(expected));
        assert!(code == Some(0) && warned, "{code:?}: {said}");
    }

    #[track_caller]
    pub(crate) fn is_silent_about(&self, text: &str, unexpected: &str) {
        let (code, said) = self.check(text);
        assert!(
            code == Some(0) && !said.contains(unexpected),
            "{code:?}: {said}"
        );
    }
}

pub(crate) fn with(secret: &str) -> String {
    GOOD.replace("SECRET", secret)
}

#[test]
fn d34_check_says_what_run_would() {
    let folder = Folder::new().with("file", "").with("short", "abc\n");
    std::os::unix::fs::symlink("/nowhere/else", folder.path().join("nowhere")).unwrap();
    let text = with("s3cret-of-the-app");
    for (more, expected) in [
        (
            "admin: {bind: '127.0.0.1:11143'}\n",
            "admin.bind: the listener imap-11143 is on the same address",
        ),
        (
            "admin: {bind: '0.0.0.0:11143', tls: {certificate: c, key: k}}\n",
            "admin.tls.certificate: cannot read",
        ),
        ("audit: {path: file/audit.jsonl}\n", "audit.path: "),
        ("log: {file: file/relay.log}\n", "log.file: "),
        ("log: {file: .}\n", "log.file: is a folder"),
        (
            "audit: {path: both}\nlog: {file: ./both}\n",
            "audit.path: is also log.file",
        ),
        (
            "log: {rotate: 10MB}\n",
            "log.rotate: has no effect without log.file",
        ),
        ("state: {directory: file}\n", "state.directory: "),
        ("state: {directory: nowhere}\n", "state.directory: "),
        ("state: {key: a}\n", "state.key: has fewer than 16 octets"),
        (
            "state: {key: {env: PLAIN}}\n",
            "state.key: has fewer than 16 octets",
        ),
        (
            "state: {key: {file: short}}\n",
            "state.key: has fewer than 16 octets",
        ),
        (
            "admin: {bind: '127.0.0.1:0', token: a}\n",
            "admin.token: has fewer than 16 octets",
        ),
        (
            "admin: {bind: '127.0.0.1:0', token: {file: short}}\n",
            "admin.token: has fewer than 16 octets",
        ),
        (
            "admin: {bind: '127.0.0.1:0', viewer_token: fifteen-octets-}\n",
            "admin.viewer_token: has fewer than 16 octets",
        ),
    ] {
        folder.refuses(&format!("{more}{text}"), expected);
    }
    // What is not there yet is made.
    let good = "state: {directory: new, key: {file: new-key}}\nadmin: {bind: '127.0.0.1:0', token: sixteen-octets-x}\nlog: {file: relay.log, rotate: 1MB, keep: 3}\n";
    folder.is_silent_about(&format!("{good}{text}"), "warning: state");
}

/// Clients are known by their IPv4 addresses: such a network would let nobody in.
#[test]
fn d34_ipv4_networks_in_ipv6s_form_are_ipv4_networks() {
    let text = with("s3cret-of-the-app").replace(
        "bind: '127.0.0.1:11143'",
        "bind: '127.0.0.1:11143', allow: '::ffff:10.0.0.0/104'",
    );
    Folder::new().warns(
        &text,
        "listeners[0].allow: is an IPv4 network in IPv6's form, and read as 10.0.0.0/8",
    );
}

#[test]
fn d34_an_expired_certificate_of_an_application_is_warned_of() {
    let folder = Folder::new();
    for (days, name) in [(-1, "old"), (9, "soon"), (300, "good")] {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let mut certificate = rcgen::CertificateParams::new(Vec::new()).unwrap();
        certificate.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        let certificate = certificate.self_signed(&key).unwrap();
        std::fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
        let key = key.serialize_pem();
        std::fs::write(folder.path().join(format!("{name}.key")), key).unwrap();
    }
    let text = |name: &str| {
        with("x").replace(
            "client_secret: x",
            &format!("certificate: {{certificate: {name}.pem, key: {name}.key}}"),
        )
    };
    folder.warns(
        &text("old"),
        "registrations.app.certificate.certificate: the certificate has expired",
    );
    folder.warns(
        &text("soon"),
        "registrations.app.certificate.certificate: the certificate expires in",
    );
    folder.is_silent_about(&text("good"), "certificate");
}

#[test]
fn d35_an_unknown_key_may_be_a_secret() {
    let folder = Folder::new();
    for (from, to) in [
        ("SECRET", "{GOCSPX-s3cret9}"),
        ("SECRET", "{GOCSPX-s3cret9: }"),
        ("SECRET", "{s3cret9, s3cret9}"),
        ("SECRET", "{s3cret9, s3cret9: x, s3cret9: y}"),
        ("PASSWORD", "{file: a, s3cret9: b}"),
        ("PASSWORD}", "a, s3cret9}"),
        ("PASSWORD}", "a, s3cret9, s3cret9}"),
        (
            "grant: client_credentials",
            "grant: client_credentials\n    s3cret9:",
        ),
        ("  - {protocol", "  - {s3cret9, protocol"),
    ] {
        let text = GOOD
            .replace(from, to)
            .replace("SECRET", "x")
            .replace("PASSWORD", "p");
        let (code, said) = folder.check(&text);
        assert_eq!(code, Some(78), "{to}: {said}");
        assert!(!said.contains("s3cret9"), "{to}: {said}");
        assert!(
            said.contains("is not a known key; the keys here are "),
            "{to}: {said}"
        );
    }
    let slip = GOOD.replace("client_secret", "client_sercet");
    folder.refuses(
        &slip,
        "registrations.app.client_sercet: is not a known key; did you mean client_secret?",
    );
}

#[test]
fn f50_what_is_wrapped_around_a_secret_is_said() {
    let folder = Folder::new()
        .with("bom", "\u{feff}a secret")
        .with("quoted", "'a secret'\n")
        .with("lines", "a secret\n\n")
        .with("good", "a secret\n");
    let at = "registrations.app.client_secret: ";
    for (secret, expected) in [
        ("{env: WRAPPED}", "is in quotes"),
        ("{file: bom}", "begins with a byte order mark"),
        ("{file: quoted}", "is in quotes"),
        ("{file: lines}", "begins or ends with white space"),
        ("{command: [printf, \"'x'\"]}", "is in quotes"),
        (
            "0a1b2c3d-1111-2222-3333-0123456789ab",
            "looks like the secret's id",
        ),
        ("abc #def", "ends before \" #\""),
    ] {
        folder.warns(&with(secret), &format!("{at}{expected}"));
    }
    for secret in [
        "{env: LINE}",
        "{file: good}",
        "'abc #def'",
        "abc#def",
        "{env: PLAIN}",
    ] {
        folder.is_silent_about(&with(secret), at);
    }
    let password = with("x").replace("PASSWORD", "{file: bom}");
    folder.warns(
        &password,
        "accounts[0].password: begins with a byte order mark",
    );
}

/// The value is what was meant, but YAML reads it otherwise.
#[test]
fn f50_a_broken_line_with_a_secret_says_to_quote_it() {
    let folder = Folder::new();
    for secret in [
        "@bc", "%abc", "`abc", "a: b: c", "\"a\"b", "*x", "&x y: z", "[a",
    ] {
        let (code, said) = folder.check(&with(secret));
        assert_eq!(code, Some(78), "{secret}: {said}");
        assert!(said.contains("quote"), "{secret}: {said}");
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[test]
fn f51_ports_that_speak_otherwise_are_warned_of() {
    let folder = Folder::new();
    let text = |keys: &str| format!("providers: {{microsoft365: {{{keys}}}}}\n{}", with("x"));
    for (keys, expected) in [
        (
            "smtp: {port: 465}",
            "providers.microsoft365.smtp: port 465 usually speaks TLS at once",
        ),
        (
            "imap: {port: 993, tls: starttls}",
            "port 993 usually speaks TLS at once",
        ),
        (
            "pop3: {tls: starttls, port: 995}",
            "port 995 usually speaks TLS at once",
        ),
        ("smtp: {tls: implicit}", "port 587 usually begins in clear"),
        ("imap: {port: 143}", "port 143 usually begins in clear"),
    ] {
        folder.warns(&text(keys), expected);
    }
    for keys in [
        "smtp: {port: 465, tls: implicit}",
        "imap: {port: 143, tls: starttls}",
        "smtp: {port: 2525}",
    ] {
        folder.is_silent_about(&text(keys), "usually");
    }
}

#[test]
fn programs_that_are_not_there_are_warned_of() {
    let folder = Folder::new().with("token", "#!/bin/sh\n");
    let command = |program: &str| {
        format!(
            "{}notify: [{{events: [consent], command: [sh, -c, true]}}]\n",
            GOOD.replace(
                "grant: client_credentials",
                &format!("grant: command\n    scope: x\n    command: [{program}]")
            )
            .replace("    client_secret: SECRET\n", "")
            .replace("    client_id: 11111111-2222-3333-4444-555555555555\n", "")
            .replace("    tenant: contoso.onmicrosoft.com\n", "")
            .replace("PASSWORD", "a-password-1")
        )
    };
    for program in ["/nowhere/token", "./tokens", "no-such-program"] {
        folder.warns(&command(program), "there is no program");
    }
    for program in ["/bin/sh", "./token", "sh"] {
        folder.is_silent_about(&command(program), "there is no program");
    }
    let hook = command("sh").replace("[sh, -c, true]", "[/nowhere/page-me]");
    folder.warns(&hook, "notify[0].command: there is no program");
}

#[test]
fn f44_scopes_that_are_known_to_be_refused_are_warned_of() {
    let folder = Folder::new();
    let scope = |scope: &str| with(&format!("x\n    scope: {scope}"));
    for delegated in [
        "https://outlook.office.com/IMAP.AccessAsUser.All",
        "[https://outlook.office.com/SMTP.Send, offline_access]",
        "https://outlook.office365.com/POP.AccessAsUser.All",
    ] {
        folder.warns(&scope(delegated), "acts for a person");
    }
    folder.is_silent_about(&scope("https://outlook.office365.com/.default"), "person");
    folder.is_silent_about(
        &scope("https://outlook.office.com/SMTP.Send")
            .replace("client_credentials", "authorization_code"),
        "person",
    );
    let google = "\
listeners: [{protocol: imap, bind: '127.0.0.1:0'}]
registrations: {r: {provider: google, grant: authorization_code, client_id: c, scope: SCOPE}}
accounts: [{login: a@b.test, registration: r, password: p}]
";
    folder.warns(
        &google.replace("SCOPE", "https://mail.google.com"),
        "with its trailing slash",
    );
    folder.is_silent_about(
        &google.replace("SCOPE", "https://mail.google.com/"),
        "slash",
    );
}

/// Clients refuse a certificate before its time as they do after it.
#[test]
fn a_certificate_that_is_not_valid_yet_is_warned_of() {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut early = rcgen::CertificateParams::new(vec!["relay.test".to_owned()]).unwrap();
    early.not_before = time::OffsetDateTime::now_utc() + time::Duration::days(2);
    let early = early.self_signed(&key).unwrap().pem();
    let folder = Folder::new()
        .with("chain", early)
        .with("key", key.serialize_pem());
    let tls = "{protocol: imap, tls: {mode: implicit, certificate: chain, key: key},";
    let text = with("s").replace("{protocol: imap,", tls);
    folder.warns(
        &text,
        "listeners[0].tls.certificate: the certificate is not valid yet",
    );
}

/// A file that cannot be read says so and no more.
#[test]
fn d34_files_that_cannot_be_read_are_named() {
    let folder = Folder::new();
    for source in ["{file: missing}", "{file: .}"] {
        let expected = "registrations.app.client_secret.file: cannot read";
        folder.refuses(&with(source), expected);
    }
    // These are made at the first start, unless something else is there.
    for (section, key) in [
        ("state: {key: {file: .}}\n", "state.key"),
        (
            "admin: {bind: '127.0.0.1:18025', token: {file: .}}\n",
            "admin.token",
        ),
        (
            "admin: {bind: '127.0.0.1:18025', viewer_token: {file: .}}\n",
            "admin.viewer_token",
        ),
    ] {
        let text = section.to_owned() + &with("s");
        folder.refuses(&text, &format!("{key}.file: cannot read"));
    }
}

/// Apple's systems refuse certificates of more than 825 days; others ask for an end.
#[test]
fn d29_certificates_end() {
    let folder = Folder::new();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder.path());
        command.output().unwrap()
    };
    let made = run(env!("CARGO_BIN_EXE_authrelay"), &["certs"]);
    assert!(made.status.success(), "{made:?}");
    for (file, days) in [("certs/server.pem", 825), ("certs/ca.pem", 3650)] {
        let ends_within = |days: u64| {
            let seconds = (days * 86_400).to_string();
            let arguments = ["x509", "-noout", "-in", file, "-checkend", &seconds];
            !run("openssl", &arguments).status.success()
        };
        assert!(!ends_within(days - 1) && ends_within(days + 1), "{file}");
        let began = run("openssl", &["x509", "-noout", "-in", file, "-startdate"]);
        let began = String::from_utf8(began.stdout).unwrap();
        let year = time::OffsetDateTime::now_utc().year();
        assert!(began.contains(&year.to_string()), "{began}");
    }
    let tls = "certificate: certs/server.pem, key: certs/server.key";
    let text = with("x").replace(
        "bind: '127.0.0.1:11143'",
        &format!("bind: '127.0.0.1:0', tls: {{mode: implicit, {tls}}}"),
    );
    folder.is_silent_about(&text, "expires");
}

#[test]
fn the_log_may_go_to_a_file() {
    let folder = Folder::new();
    let path = folder.path().join("proxy.yaml");
    let text = with("x").replace("PASSWORD", "p").replace("11143", "0");
    std::fs::write(
        &path,
        format!("log: {{file: relay.log, format: text}}\n{text}"),
    )
    .unwrap();
    let log = folder.path().join("relay.log");
    let mut relay = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["run", "--config"])
        .arg(&path)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let wait_for = |what: &str| {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !std::fs::read_to_string(&log)
            .unwrap_or_default()
            .contains(what)
        {
            assert!(std::time::Instant::now() < end, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    };
    wait_for("listening");
    let mode = std::fs::metadata(&log).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // As logrotate does.
    std::fs::rename(&log, folder.path().join("old")).unwrap();
    let signal = |name: &str| {
        let pid = relay.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    };
    signal("HUP");
    wait_for("configuration reloaded");
    signal("TERM");
    assert_eq!(relay.wait().unwrap().code(), Some(0));
    // What cannot be opened: 74.
    std::fs::write(&path, format!("log: {{file: relay.log/none}}\n{text}")).unwrap();
    let (code, said) = folder.command("run", &format!("log: {{file: relay.log/none}}\n{text}"));
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("log.file: "), "{said}");
}

/// `init` with these arguments, in a folder of its own, without a terminal.
fn init(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .arg("init")
        .args(arguments)
        .current_dir(folder.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

const INIT: [&str; 12] = [
    "--provider",
    "microsoft365",
    "--tenant",
    "contoso.onmicrosoft.com",
    "--client-id",
    "11111111-2222-3333-4444-555555555555",
    "--grant",
    "client_credentials",
    "--login",
    "tickets@contoso.com",
    "--login",
    "*@contoso.com",
];

#[test]
fn init_writes_a_file_that_check_finds_good() {
    for (grant, files) in [
        ("client_credentials", 2),
        ("authorization_code", 1),
        ("device_code", 1),
        ("password", 1),
        ("managed_identity", 1),
    ] {
        let folder = Folder::new();
        let arguments = INIT.map(|word| {
            if word == "client_credentials" {
                grant
            } else {
                word
            }
        });
        let arguments = [&arguments[..], &["--protocols", "IMAP,smtp"]].concat();
        let (code, said) = init(&folder, &arguments);
        assert_eq!(code, Some(0), "{grant}: {said}");
        let names = std::fs::read_dir(folder.path()).unwrap();
        for entry in names.map(Result::unwrap) {
            let mode = entry.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{entry:?}");
        }
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            files,
            "{grant}"
        );
        let text = std::fs::read_to_string(folder.path().join("proxy.yaml")).unwrap();
        let (code, checked) = folder.check(&text);
        assert!(
            code == Some(0) && !checked.contains("warning"),
            "{grant}: {checked}\n{text}"
        );
        assert!(!text.contains("pop3") && text.contains("# "), "{text}");
        for step in [
            "authrelay entra tickets@contoso.com",
            "authrelay doctor",
            "port 1143",
            "port 1587",
        ] {
            assert!(said.contains(step), "{step}: {said}");
        }
        let consents = matches!(grant, "authorization_code" | "device_code");
        assert_eq!(said.contains("authrelay authorize"), consents, "{said}");
        // Each login's password is printed once, and only its hash is in the file.
        let made: Vec<_> = said
            .lines()
            .filter_map(|line| line.trim().strip_prefix("tickets@contoso.com  "))
            .collect();
        assert_eq!(made.len(), usize::from(grant != "password"), "{said}");
        for password in made {
            assert!(
                password.len() == 24 && !text.contains(password),
                "{password}"
            );
            assert_eq!(text.matches("$argon2id$").count(), 2);
        }
        let (code, again) = init(&folder, &arguments);
        assert_eq!(code, Some(74), "{again}");
        assert!(again.contains("never overwrites"), "{again}");
        assert_eq!(
            std::fs::read_to_string(folder.path().join("proxy.yaml")).unwrap(),
            text
        );
    }
}

#[test]
fn init_names_what_it_would_ask_for() {
    for (flag, at) in [
        ("--provider", 0),
        ("--tenant", 2),
        ("--client-id", 4),
        ("--grant", 6),
    ] {
        let folder = Folder::new();
        let arguments: Vec<_> = (0..INIT.len())
            .filter(|index| *index != at && *index != at + 1)
            .map(|index| INIT[index])
            .collect();
        let (code, said) = init(&folder, &arguments);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.starts_with(flag), "{said}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
    let folder = Folder::new();
    let (code, said) = init(&folder, &INIT[..8]);
    assert!(code == Some(64) && said.starts_with("--login"), "{said}");
    // What is given and wrong writes nothing either.
    for (word, by) in [
        ("tickets@contoso.com", "two words*"),
        ("client_credentials", "magic"),
        ("microsoft365", "contoso"),
        ("contoso.onmicrosoft.com", "common"),
    ] {
        let arguments = INIT.map(|one| if one == word { by } else { one });
        let (code, said) = init(&folder, &arguments);
        assert_eq!(code, Some(64), "{by}: {said}");
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "{by}: {said}"
        );
    }
}

/// A first look at the program needs no account.
#[test]
fn a_file_without_accounts_is_good_and_warned_of() {
    let folder = Folder::new();
    let listeners = "listeners:\n  - {protocol: imap, bind: '127.0.0.1:11143'}\n";
    for accounts in ["", "accounts: []\n", "accounts: []\nregistrations: {}\n"] {
        let text = format!("{listeners}{accounts}");
        folder.warns(&text, "accounts: there is no account");
    }
    let account = "accounts: [{login: a@contoso.com, registration: app, password: p}]\n";
    folder.refuses(
        &format!("{listeners}{account}"),
        "registrations: is missing",
    );
    folder.refuses("accounts: []\n", "listeners: is missing");
}
