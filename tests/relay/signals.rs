//! Signals that come as soon as anybody can know of the process.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::stage::{Prepared, Setup};

/// Starts the relay and reads what it says up to its first listener; the signal follows at once.
fn signalled(prepared: &Prepared, signal: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["run", "--config"])
        .arg(prepared.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"listening\"") {
        line.clear();
        assert_ne!(said.read_line(&mut line).unwrap(), 0, "it has ended");
    }
    send(&child, signal);
    (child, said)
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// SIGTERM drains and SIGHUP reloads from the first line on; neither ends the process by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_right_after_the_first_listener_is_heard() {
    let prepared = Setup::default().prepare().await;
    for _ in 0..20 {
        let (mut child, mut said) = signalled(&prepared, "TERM");
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert!(child.wait().unwrap().success(), "{rest}");
        assert!(rest.contains("\"stopped\""), "{rest}");

        let (mut child, mut said) = signalled(&prepared, "HUP");
        let mut line = String::new();
        while !line.contains("configuration reloaded") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "it has ended");
        }
        send(&child, "TERM");
        said.read_to_string(&mut line).unwrap();
        assert!(child.wait().unwrap().success(), "{line}");
    }
}
