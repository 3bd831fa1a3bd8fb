//! What is on disk: sealed, private, and not to be swapped.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use authrelay::wire::Protocol::Imap;

use crate::{consent, consenting, files};

fn authrelay(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(arguments)
        .arg("--config")
        .arg(directory.join("proxy.yaml"))
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Requirement 26, and no token in clear.
#[tokio::test]
async fn r26_tokens_are_sealed_and_private() {
    let relay = consenting().start().await;
    assert_eq!(consent(&relay).await.0, 200);
    let state = relay.directory().join("state");
    let mut count = 0;
    for path in files(&state) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        // A JWT's beginning (less of it occurs in sealed text by chance), a refresh token's, the
        // names of the fields.
        for clear in ["eyJ0eXAi", "1.AX", "refresh_token"] {
            assert!(!text.contains(clear), "{}: {text}", path.display());
        }
        count += 1;
    }
    assert!(count >= 3, "key, check, record");
    let mode = std::fs::metadata(&state).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

/// A record under another login's name does not open.
#[tokio::test]
async fn r26_swapped_records_fail() {
    let relay = consenting()
        .replace(
            "accounts:\n",
            "accounts:\n  - {login: other@contoso.test, registration: sandbox, password: p}\n",
        )
        .start()
        .await;
    assert_eq!(consent(&relay).await.0, 200);
    let tokens = relay.directory().join("state/tokens");
    let record = files(&tokens)
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "json") && !path.ends_with("check.json"))
        .unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"other@contoso.test");
    let name: String = digest.as_ref()[..16]
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let text = std::fs::read_to_string(&record).unwrap();
    for text in [
        text.clone(),
        text.replace("tickets@contoso.test", "other@contoso.test"),
    ] {
        std::fs::write(tokens.join(&name).with_extension("json"), text).unwrap();
        let reply = relay
            .connect(Imap)
            .await
            .log_in("other@contoso.test", "p")
            .await;
        // authrelay: internal closes without a word.
        assert_eq!(reply, "<end>", "{}", relay.log.text());
    }
    assert!(
        relay
            .log
            .text()
            .contains("sealed with another key or for another login")
    );
}

/// Kubernetes' `fsGroup` opens everything to a group at each mount.
#[tokio::test]
async fn d20_state_of_ours_that_others_may_read_is_tightened_and_said_once() {
    let relay = consenting().start().await;
    assert_eq!(consent(&relay).await.0, 200);
    let directory = relay.directory().to_owned();
    relay.shut_down();
    let state = directory.join("state");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for path in files(&state) {
        set(&path, 0o660);
    }
    set(&state.join("tokens"), 0o2770);
    set(&state, 0o2770);
    let output = authrelay(&directory, &["accounts"]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("others could read it (mode 2770); its mode is 0700 now"),
        "{said}"
    );
    assert_eq!(mode(&state), 0o700);
    assert_eq!(mode(&state.join("tokens")), 0o700);
    for path in files(&state) {
        let kept = path.extension().is_some_and(|end| end == "lock");
        assert!(kept || mode(&path) == 0o600, "{}", path.display());
    }
    let output = authrelay(&directory, &["accounts"]);
    assert_eq!(stderr(&output), "", "said once");
}

/// A link to nothing, a folder or a pipe among the records is no record.
#[tokio::test]
async fn d20_only_files_are_records() {
    let relay = consenting().start().await;
    assert_eq!(consent(&relay).await.0, 200);
    let directory = relay.directory().to_owned();
    relay.shut_down();
    let tokens = directory.join("state/tokens");
    std::os::unix::fs::symlink("/nonexistent", tokens.join("link.json")).unwrap();
    std::fs::create_dir(tokens.join("folder.json")).unwrap();
    let pipe = Command::new("mkfifo")
        .arg(tokens.join("pipe.json"))
        .status();
    assert!(pipe.unwrap().success());
    let accounts = crate::consent::accounts(&directory);
    assert_eq!(accounts[0]["consent"], "given");
}

/// Not ours, and we are not root.
#[tokio::test]
async fn f52_state_that_cannot_be_tightened_is_refused_with_the_mode_to_set() {
    let relay = consenting().start().await;
    let directory = relay.directory().to_owned();
    relay.shut_down();
    let state = directory.join("state");
    let all = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    all(&state, 0o777);
    all(&directory, 0o755);
    all(&directory.join("proxy.yaml"), 0o644);
    let bin = directory.join("authrelay");
    crate::copy_authrelay(&bin);
    let output = Command::new(&bin)
        .args(["accounts", "--config"])
        .arg(directory.join("proxy.yaml"))
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains("others may read it (mode 0777)")
            && said.contains("set mode 0700: chmod 0700"),
        "{said}"
    );
}

/// `sudo authrelay authorize` beside a service of another user: files get the directory's owner.
#[tokio::test]
async fn f54_what_root_writes_is_the_directorys_owners() {
    let relay = consenting().start().await;
    let directory = relay.directory().to_owned();
    let state = directory.join("state");
    let service = 65534;
    for path in [files(&state), vec![state.join("tokens"), state.clone()]].concat() {
        std::os::unix::fs::chown(&path, Some(service), Some(service)).unwrap();
    }
    assert_eq!(consent(&relay).await.0, 200);
    let mut seen = 0;
    for path in files(&state) {
        let owner = std::fs::metadata(&path).unwrap().uid();
        assert_eq!(owner, service, "{}", path.display());
        seen += 1;
    }
    assert!(seen >= 4, "key, check, record, lock");
}

#[tokio::test]
async fn another_key_is_refused() {
    let relay = consenting().start().await;
    let directory = relay.directory().to_owned();
    relay.shut_down();
    std::fs::write(directory.join("state/key"), "another key of some length").unwrap();
    let output = authrelay(&directory, &["accounts"]);
    assert_eq!(output.status.code(), Some(74));
    assert!(
        stderr(&output).contains("sealed with another key"),
        "{}",
        stderr(&output)
    );
}

/// `check` says what the next start would say of the key.
#[tokio::test]
async fn check_recognizes_the_key_of_the_tokens() {
    let relay = consenting().start().await;
    let directory = relay.directory().to_owned();
    relay.shut_down();
    let check = || {
        let output = authrelay(&directory, &["check"]);
        (output.status.code(), stderr(&output))
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    let word = directory.join("state/tokens/check.json");
    let text = std::fs::read_to_string(&word).unwrap();
    for damaged in ["", &text[..text.len() / 2], "\0\0\0\0"] {
        std::fs::write(&word, damaged).unwrap();
        let (code, said) = check();
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("check.json: it is damaged"), "{said}");
        assert_eq!(authrelay(&directory, &["accounts"]).status.code(), Some(74));
    }
    std::fs::remove_file(&word).unwrap();
    assert_eq!(check().0, Some(0));
    assert_eq!(authrelay(&directory, &["accounts"]).status.code(), Some(0));
    std::fs::write(directory.join("state/key"), "another key of some length").unwrap();
    let (code, said) = check();
    assert_eq!(code, Some(78), "{said}");
    let warnings = said.lines().filter(|line| line.starts_with("warning: "));
    assert_eq!(said.lines().count() - warnings.count(), 1, "{said}");
    assert!(said.contains("state.key: "), "{said}");
    assert!(said.contains("sealed with another key"), "{said}");
}

/// d43: what is stored decides, and what nobody uses is listed.
#[tokio::test]
async fn d43_tokens_of_an_account_that_left_the_file_are_listed_and_forgotten() {
    let relay = consenting().start().await;
    assert_eq!(consent(&relay).await.0, 200);
    let other = "accounts:\n  - {login: new@contoso.test, registration: sandbox, password: p}\n";
    let keep_one = [
        ("accounts:\n", other),
        ("login: tickets@contoso.test", "login: b@contoso.test"),
    ];
    relay.rewrite(&keep_one);
    let directory = relay.directory().to_owned();
    relay.control.reload().await.unwrap();
    for running in [true, false] {
        let output = authrelay(&directory, &["accounts"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains("authrelay forget tickets@contoso.test"),
            "{running}: {text}"
        );
        if running {
            relay.shut_down();
        }
    }
    let output = authrelay(&directory, &["forget", "tickets@contoso.test"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let output = authrelay(&directory, &["forget", "tickets@contoso.test"]);
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    let output = authrelay(&directory, &["accounts"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("authrelay forget"), "{text}");
}

/// The last account that needed a consent has gone, and with it the store's use.
#[tokio::test]
async fn d43_also_where_no_account_needs_a_consent_any_more() {
    let relay = consenting().start().await;
    assert_eq!(consent(&relay).await.0, 200);
    let directory = relay.directory().to_owned();
    relay.rewrite(&[(
        "grant: authorization_code",
        "grant: client_credentials\n    client_secret: s",
    )]);
    relay.shut_down();
    let output = authrelay(&directory, &["accounts"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("authrelay forget tickets@contoso.test"),
        "{text}"
    );
    let output = authrelay(&directory, &["forget", "tickets@contoso.test"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[tokio::test]
async fn forget_deletes_and_the_running_relay_sees_it() {
    let relay = consenting().start().await;
    assert_eq!(consent(&relay).await.0, 200);
    crate::assert_logs_in(&relay, Imap).await;
    let output = authrelay(relay.directory(), &["forget", "TICKETS@contoso.test"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "the stored tokens of tickets@contoso.test are deleted\n"
    );
    let reply = crate::log_in(&relay, Imap).await;
    assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
    let again = authrelay(relay.directory(), &["forget", "tickets@contoso.test"]);
    assert!(String::from_utf8_lossy(&again.stdout).starts_with("nothing is stored"));
    let unknown = authrelay(relay.directory(), &["forget", "nobody@contoso.test"]);
    assert_eq!(unknown.status.code(), Some(64));
}

/// What was cached before a person acted is not shown afterwards.
#[tokio::test]
async fn the_state_of_a_token_follows_authorize_and_forget() {
    let relay = consenting().start().await;
    let shown = async || {
        let admin = relay.listener("admin");
        let answer = crate::http()
            .get(format!("http://{admin}/api/accounts"))
            .bearer_auth("admin-token-9Zk4")
            .send()
            .await
            .unwrap();
        let accounts: serde_json::Value = answer.json().await.unwrap();
        let state = |key: &str| accounts[0].pointer(key).unwrap().clone();
        (state("/token/state"), state("/consent"))
    };
    let reply = crate::log_in(&relay, Imap).await;
    assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
    assert_eq!(shown().await, ("refused".into(), "needed".into()));
    assert_eq!(consent(&relay).await.0, 200);
    assert_eq!(shown().await, ("valid".into(), "given".into()));
    crate::assert_logs_in(&relay, Imap).await;
    assert_eq!(shown().await, ("valid".into(), "given".into()));
    let output = authrelay(relay.directory(), &["forget", "tickets@contoso.test"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(shown().await, ("none".into(), "needed".into()));
}
