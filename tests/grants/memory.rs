//! d30: what a crash, or another process, could read of tokens.

use std::io::{Read as _, Seek as _};

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol::Imap;
use serde_json::json;

use crate::client::Client;
use crate::consenting;
use crate::endpoint::{Answer, Endpoint};
use crate::rotation::spawn;
use crate::stage::greet;

/// How often a text stands in a process's memory.
fn occurrences(pid: u32, text: &str) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let finder = memchr::memmem::Finder::new(text.as_bytes());
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let at = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(at(to) - at(from)).unwrap()];
        let read = memory
            .seek(std::io::SeekFrom::Start(at(from)))
            .and_then(|_| memory.read_exact(&mut bytes));
        if read.is_ok() {
            count += finder.find_iter(&bytes).count();
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d30_a_token_stands_in_memory_twice_at_most_and_in_no_core_file() {
    let endpoint = Endpoint::start().await;
    let relay = consenting().token_url(&endpoint.url()).start().await;
    let first = relay.sandbox.issue_token().unwrap();
    let json = json!({"access_token": first, "refresh_token": "r", "expires_in": 3599});
    endpoint.always(Answer::json(200, &json));
    assert_eq!(crate::consent(&relay).await.0, 200);
    relay.sandbox.revoke_tokens();
    let token = relay.sandbox.issue_token().unwrap();
    let json = json!({"access_token": token, "refresh_token": "s", "expires_in": 3599});
    endpoint.always(Answer::json(200, &json));
    let yaml = std::fs::read_to_string(relay.directory().join("proxy.yaml")).unwrap();
    let (without_admin, _) = yaml.split_once("admin:").unwrap();
    std::fs::write(relay.directory().join("second.yaml"), without_admin).unwrap();
    let (mut child, address) = spawn(&relay).unwrap();
    for _ in 0..5 {
        let mut client = Client::dial(Imap, address).await;
        greet(&mut client).await;
        let reply = client.log_in(LOGIN, PASSWORD).await;
        assert!(reply.starts_with("a OK "), "{reply}");
        client.ask("b LOGOUT\r\n", "b OK").await;
        client.rest().await;
    }
    let pid = child.id();
    let found = occurrences(pid, &token);
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((1..=2).contains(&found), "{found} copies");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core:?}");
}

/// Owned by root from the outside: only a process that may not be dumped is.
#[test]
fn d30_another_process_of_the_same_user_cannot_look_inside() {
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::process::CommandExt as _;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let yaml = "listeners: [{protocol: imap, bind: '127.0.0.1:0', provider: microsoft365}]\n\
         registrations: {r: {provider: microsoft365, tenant: contoso.com, client_id: c, grant: authorization_code}}\n\
         accounts: [{login: me@contoso.com, registration: r, password: p}]\n";
    std::fs::write(at.join("proxy.yaml"), yaml).unwrap();
    crate::copy_authrelay(&at.join("authrelay"));
    let nobody = 65534;
    std::os::unix::fs::chown(at, Some(nobody), Some(nobody)).unwrap();
    let mut child = std::process::Command::new(at.join("authrelay"))
        .args(["run", "--config", "proxy.yaml"])
        .current_dir(at)
        .uid(nobody)
        .gid(nobody)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    let mut line = String::new();
    // The state directory was opened behind that, and is nobody's.
    while !line.contains("listening") {
        line.clear();
        let read = std::io::BufRead::read_line(&mut log, &mut line).unwrap();
        assert!(read > 0, "{text}");
        text.push_str(&line);
    }
    let owner = std::fs::metadata(format!("/proc/{}/mem", child.id()))
        .unwrap()
        .uid();
    let state = std::fs::metadata(at.join("state")).unwrap().uid();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!((owner, state), (0, nobody));
}
