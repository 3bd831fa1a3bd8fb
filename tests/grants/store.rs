//! What is on disk: sealed, private, and not to be swapped.

use std::os::unix::fs::PermissionsExt as _;
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

#[tokio::test]
async fn state_that_others_may_read_is_refused() {
    let relay = consenting().start().await;
    assert_eq!(consent(&relay).await.0, 200);
    let directory = relay.directory().to_owned();
    relay.shut_down();
    let state = directory.join("state");
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(&state, 0o750);
    for command in ["run", "accounts"] {
        let output = authrelay(&directory, &[command]);
        assert_eq!(output.status.code(), Some(74), "{}", stderr(&output));
        let said = stderr(&output);
        assert!(
            said.contains("others may read it (mode 0750); set mode 0700"),
            "{said}"
        );
    }
    set(&state, 0o700);
    set(&state.join("key"), 0o640);
    let output = authrelay(&directory, &["run"]);
    assert_eq!(output.status.code(), Some(74));
    assert!(
        stderr(&output).contains("set mode 0600"),
        "{}",
        stderr(&output)
    );
    set(&state.join("key"), 0o600);
    std::fs::write(state.join("key"), "another key").unwrap();
    let output = authrelay(&directory, &["accounts"]);
    assert_eq!(output.status.code(), Some(74));
    assert!(
        stderr(&output).contains("sealed with another key"),
        "{}",
        stderr(&output)
    );
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
