//! Commands that need neither a network nor a relay, with files and values of every kind: exit codes,
//! one line for each error, and nothing half-written.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use aws_lc_rs::digest::{SHA256, digest};

/// Runs the program in a folder: exit code, stdout and stderr.
fn run_with(folder: &Path, arguments: &[&str], input: &[u8]) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    run_with(folder, arguments, b"")
}

/// Runs the program by a shell line in which it is `$0`.
fn run_by_shell(folder: &Path, line: &str) -> (Option<i32>, String) {
    let output = Command::new("bash")
        .args(["-c", line, env!("CARGO_BIN_EXE_authrelay")])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), error)
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// SHA-256 in hexadecimal digits.
fn hash(body: &str) -> String {
    let octets = digest(&SHA256, body.as_bytes());
    let octets = octets.as_ref().iter();
    octets.map(|octet| format!("{octet:02x}")).collect()
}

/// A chain of records, one line each.
fn chain(count: usize) -> Vec<Vec<u8>> {
    let mut prev = "0".repeat(64);
    let line = |number| {
        let body = format!(
            r#"{{"v":1,"time":"2026-11-25T13:22:28.001Z","event":"login","session":"{number}","prev":"{prev}"}}"#
        );
        prev = hash(&body);
        format!("{},\"hash\":\"{prev}\"}}\n", &body[..body.len() - 1]).into_bytes()
    };
    (0..count).map(line).collect()
}

/// A line that is no text, or too long for a record, is one error; the records behind it are exported.
#[test]
fn what_is_no_record_stops_neither_an_export_nor_the_count_of_lines() {
    let folder = tempfile::tempdir().unwrap();
    let records = chain(3);
    let long = [b"\"".to_vec(), vec![b'x'; 9_000_000], b"\n".to_vec()].concat();
    for (what, bad) in [("no text", b"{\"a\xff\":1}\n".to_vec()), ("long", long)] {
        let text = [&records[0], &bad, &records[1], &records[2]];
        let text: Vec<u8> = text.into_iter().flatten().copied().collect();
        std::fs::write(folder.path().join("audit"), &text).unwrap();
        for (input, stdin) in [("audit", &[][..]), ("-", &text)] {
            let arguments = ["audit", "export", "--format", "cef", input];
            let (code, output, error) = run_with(folder.path(), &arguments, stdin);
            assert_eq!(code, Some(1), "{what}: {error}");
            assert_eq!(output.lines().count(), 3, "{what}: {error}");
            assert_eq!(
                error,
                format!("{input}:2: is not an audit record\n"),
                "{what}"
            );
        }
        let (code, _, error) = run(folder.path(), &["audit", "verify", "audit"]);
        assert_eq!(
            (code, &*error),
            (Some(1), "audit:2: is not an audit record\n")
        );
    }
}

/// A whole record of the greatest length with more behind it is not that record.
#[test]
fn a_line_is_verified_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let longest = 4 * 1024 * 1024;
    let head = r#"{"v":1,"time":"2026-11-25T13:22:28.001Z","event":"login","x":""#;
    let tail = format!(r#"","prev":"{}"}}"#, "0".repeat(64));
    let filling = longest - head.len() - tail.len() - r#","hash":"""#.len() - 64;
    let body = format!("{head}{}{tail}", "x".repeat(filling));
    let hash = hash(&body);
    let line = format!("{},\"hash\":\"{hash}\"}}", &body[..body.len() - 1]);
    assert_eq!(line.len(), longest);
    std::fs::write(folder.path().join("audit"), format!("{line}behind\n")).unwrap();
    let (code, _, error) = run(folder.path(), &["audit", "verify", "audit"]);
    assert_eq!(
        (code, &*error),
        (Some(1), "audit:1: is not an audit record\n")
    );
}

#[test]
fn certificates_are_for_host_names_and_addresses() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "",
        " ",
        "a b",
        "a..b",
        "[::1]",
        "https://relay.test",
        "me@relay.test",
        "localhost.",
        "*",
        "*.*.test",
        "*.192.0.2.1",
        "256.1.1.1",
        "a\nb",
        "é.test",
    ] {
        let (code, output, error) = run(folder.path(), &["certs", &format!("--name={name}")]);
        assert_eq!((code, &*output), (Some(64), ""), "{name:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with("--name: "), "{error}");
    }
    assert!(names(folder.path()).is_empty());
    let long = format!("{}.test", "x".repeat(60));
    for name in [
        "relay.test",
        "*.relay.test",
        "192.0.2.1",
        "::1",
        "xn--e1afmkfd.test",
        &long,
    ] {
        let (code, _, error) = run(folder.path(), &["certs", "--force", "--name", name]);
        assert_eq!(code, Some(0), "{name}: {error}");
    }
}

/// A disk that is full leaves what was there, whole, and nothing else.
#[cfg(target_os = "linux")]
#[test]
fn certificates_are_written_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    // The chain is over 1 KiB, the CA under it.
    let limited = |arguments: &str| {
        run_by_shell(
            folder.path(),
            &format!("trap '' XFSZ; ulimit -f 1; exec $0 certs {arguments}"),
        )
    };
    let (code, error) = limited("");
    assert_eq!(code, Some(74), "{error}");
    assert!(names(&certs).is_empty(), "{:?}", names(&certs));

    assert_eq!(run(folder.path(), &["certs"]).0, Some(0));
    let files = || {
        let read = |name: &String| std::fs::read(certs.join(name)).unwrap();
        names(&certs).iter().map(read).collect::<Vec<_>>()
    };
    let before = files();
    assert_eq!(before.len(), 3);
    let (code, error) = limited("--force");
    assert_eq!(code, Some(74), "{error}");
    assert_eq!(files(), before);

    std::fs::remove_file(certs.join("server.key")).unwrap();
    std::fs::create_dir(certs.join("server.key")).unwrap();
    let authority = std::fs::read(certs.join("ca.pem")).unwrap();
    let (code, _, error) = run(folder.path(), &["certs", "--force"]);
    assert_eq!(code, Some(74), "{error}");
    assert_eq!(std::fs::read(certs.join("ca.pem")).unwrap(), authority);
    assert_eq!(names(&certs), ["ca.pem", "server.key", "server.pem"]);
}

const INIT: &str =
    "init --provider microsoft365 --tenant contoso.com --client-id 1 --grant client_credentials";

/// A first start that fails can be repeated: nothing of it is in the way.
#[cfg(target_os = "linux")]
#[test]
fn init_leaves_nothing_where_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let line = format!("trap '' XFSZ; ulimit -f 1; exec $0 {INIT} --login a@contoso.com");
    let (code, error) = run_by_shell(folder.path(), &line);
    assert_eq!(code, Some(74), "{error}");
    assert!(
        names(folder.path()).is_empty(),
        "{:?}",
        names(folder.path())
    );

    for name in ["proxy.yaml", "client-secret"] {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", folder.path().join(name)).unwrap();
        let line = format!("exec $0 {INIT} --login a@contoso.com");
        let (code, error) = run_by_shell(folder.path(), &line);
        assert_eq!(code, Some(74), "{error}");
        assert!(error.contains("init never overwrites"), "{error}");
        assert_eq!(names(folder.path()), [name]);
    }
}

/// What `import` writes and `check` would refuse is named beside it.
#[test]
fn an_import_names_what_is_to_be_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let original = "davmail.imapPort=1143\ndavmail.oauth.clientId=a\\u001bb\n\
         davmail.oauth.me@contoso.com.refreshToken=t\n";
    std::fs::write(folder.path().join("davmail.properties"), original).unwrap();
    let (code, output, error) = run(folder.path(), &["import", "davmail.properties"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(
        error.contains("correct this in proxy.yaml: registrations.davmail.client_id: must not contain control characters"),
        "{error}"
    );
    std::fs::write(folder.path().join("proxy.yaml"), output).unwrap();
    assert_eq!(run(folder.path(), &["check", "--no-secrets"]).0, Some(78));
}

/// Java writes properties in ISO 8859-1.
#[test]
fn davmails_properties_may_be_in_iso_8859_1() {
    let folder = tempfile::tempdir().unwrap();
    let original = b"davmail.imapPort=1143\ndavmail.oauth.clientId=abc\ndavmail.ssl.keystoreFile=/home/J\xf6rg/k\n";
    std::fs::write(folder.path().join("davmail.properties"), original).unwrap();
    let (code, output, error) = run(folder.path(), &["import", "davmail.properties"]);
    assert_eq!(code, Some(0), "{error}");
    assert!(output.contains("/home/Jörg/k"), "{output}");
    std::fs::write(folder.path().join("other"), b"[a\xf6]\n").unwrap();
    assert_eq!(run(folder.path(), &["import", "other"]).0, Some(74));
}

/// The folder of token files has an editor's copy of one.
#[test]
fn two_token_files_of_one_login_are_one_account() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    std::fs::create_dir(&tokens).unwrap();
    let token = r#"{"refresh_token": "t", "user": "me@contoso.com"}"#;
    for name in ["me", "me.bak"] {
        std::fs::write(tokens.join(name), token).unwrap();
    }
    let common = r#"{"client_id": "a", "token_endpoint": "https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token"}"#;
    std::fs::write(folder.path().join("sasl-xoauth2.conf"), common).unwrap();
    let arguments = ["import", "sasl-xoauth2.conf", "--tokens", "tokens"];
    let (code, output, error) = run(folder.path(), &arguments);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(
        output.matches("login: me@contoso.com").count(),
        1,
        "{output}"
    );
    assert!(
        error.contains("me.bak: another token file is of me@contoso.com"),
        "{error}"
    );
    assert!(
        error.contains("me@contoso.com: its refresh token was moved"),
        "{error}"
    );
}
