//! `run --confine` gives up what the configuration does not need: not even the relay's own reload reads a file elsewhere, as no one could who had taken the process over.

use authrelay::sandbox::PASSWORD;
use authrelay::wire::Protocol::Imap;

use crate::daemon::{Daemon, authrelay};
use crate::stage::{Setup, is_success};

const CONFINED: &str = "confined by the kernel to the files and TCP ports of the configuration";
const REFUSED: &str = "configuration not reloaded: the old one stays in force";

/// Writes the configuration with another source of the password, and has it read.
fn reload(relay: &Daemon, source: &str) {
    let path = relay.prepared.path();
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once("    password: ").unwrap();
    let (_, after) = rest.split_once('\n').unwrap();
    std::fs::write(&path, format!("{before}    password: {source}\n{after}")).unwrap();
    relay.signal("HUP");
}

async fn assert_serves(relay: &Daemon) {
    let (_client, reply) = relay.log_in(Imap).await;
    assert!(is_success(Imap, &reply), "{reply}");
}

#[tokio::test]
async fn a_confined_relay_cannot_read_a_file_outside() {
    let relay = Daemon::with_options(Setup::default(), &["--confine"]).await;
    if relay.said(CONFINED).is_empty() {
        println!("not tried here: {:#?}", relay.log());
        return;
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.id())).unwrap();
    assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");

    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    let folder = relay.prepared.path().parent().unwrap().to_owned();
    std::os::unix::fs::symlink(&file, folder.join("link")).unwrap();
    let attempts = [
        format!("{{file: {}}}", file.display()),
        "{file: ./link}".to_owned(),
        format!("{{command: [cat, {}]}}", file.display()),
    ];
    for (count, source) in attempts.iter().enumerate() {
        reload(&relay, source);
        relay.wait_for_count(REFUSED, count + 1).await;
        // There is nothing wrong with it but for this process.
        let path = relay.prepared.path();
        let checked = authrelay(&["check", "--config", path.to_str().unwrap()]);
        assert_eq!(checked.code, 0, "{checked:?}");
        let log = format!("{:#?}", relay.log());
        assert_eq!(
            log.matches("has confined itself at its start").count(),
            count + 1,
            "{source}: {log}"
        );
        assert_serves(&relay).await;
    }

    std::fs::write(folder.join("inside"), PASSWORD).unwrap();
    reload(&relay, "{file: ./inside}");
    relay.wait_for_count("configuration reloaded", 1).await;
    assert_serves(&relay).await;
}

#[tokio::test]
async fn commands_leave_a_relay_unconfined() {
    let (literal, command) = (
        format!("password: \"{PASSWORD}\""),
        format!("password: {{command: [printf, '%s', '{PASSWORD}']}}"),
    );
    let setup = Setup::default().replace(&literal, &command);
    let relay = Daemon::with_options(setup, &["--confine"]).await;
    let said = "not confined: the configuration names commands, which would be confined, too";
    assert_eq!(relay.said(said).len(), 1, "{:#?}", relay.log());
    assert_serves(&relay).await;
}
