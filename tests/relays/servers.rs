//! The store behind TLS, and behind Sentinel.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use authrelay::certs::Authority;
use authrelay::wire::Protocol::Imap;

use crate::checks::{prepared, run};
use crate::pair::Pair;
use crate::server::{Server as Redis, free_port};
use crate::stage::Setup;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_may_be_behind_tls_with_an_authority_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("store CA").unwrap();
    let issued = authority.issue(&["localhost".into()]).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let ca = write("ca.pem", &authority.pem());
    let (chain, key) = (
        write("redis.pem", &issued.chain),
        write("redis.key", &issued.key),
    );
    let port = free_port();
    let tls = port.to_string();
    let more = [
        "--tls-port",
        &tls,
        "--tls-cert-file",
        &chain,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "p@ss",
    ];
    // redis-cli has to log in as well.
    let redis = Redis::with(&more[..10]);
    redis.ask(&["CONFIG", "SET", "requirepass", "p@ss"]);
    let store = format!("url: \"rediss://:p%40ss@localhost:{port}\", ca: \"{ca}\"");
    let pair = Pair::with(redis, &store, Setup::default()).await;
    pair.assert_logs_in(0).await;
    pair.assert_logs_in(1).await;
    assert_eq!(pair.one.sandbox.seen().token_requests, 1);
}

/// A Sentinel that is ended with the test.
struct Sentinel {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Sentinel {
    /// With `mymaster` on this port of loopback.
    fn of(master: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let file = folder.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {master} 1\nsentinel down-after-milliseconds mymaster 1000\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("redis-sentinel");
        let command = command.arg(&file).stdout(Stdio::null());
        Self {
            child: command.spawn().expect("redis-sentinel is installed"),
            port,
            _folder: folder,
        }
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string()]).args(arguments);
        String::from_utf8_lossy(&cli.output().unwrap().stdout).into_owned()
    }

    async fn until(&self, arguments: &[&str], says: &str) {
        for _ in 0..200 {
            if self.ask(arguments).contains(says) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sentinel that is cut off from the others names a former master for as long as that lasts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_names_a_dead_master_is_passed_over() {
    let master = Redis::start();
    let stale = Sentinel::of(free_port());
    let current = Sentinel::of(master.port);
    let masters = ["SENTINEL", "MASTERS"];
    stale.until(&masters, "mymaster").await;
    current.until(&masters, "mymaster").await;
    let (first, second) = (stale.port, current.port);
    let store = format!("url: \"redis+sentinel://127.0.0.1:{first},127.0.0.1:{second}/mymaster\"");
    let pair = Pair::with(master, &store, Setup::default()).await;
    pair.assert_logs_in(0).await;
    pair.assert_logs_in(1).await;
    assert_eq!(pair.one.sandbox.seen().token_requests, 1);
    let file = prepared(&store).await;
    let output = run(file.path(), &["check", "--online"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("cannot be used"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_by_sentinel_is_followed() {
    let master = Redis::start();
    let of = master.port.to_string();
    let replica = Redis::with(&["--replicaof", "127.0.0.1", &of]);
    let sentinel = Sentinel::of(master.port);
    let replicas = ["SENTINEL", "REPLICAS", "mymaster"];
    sentinel.until(&replicas, &replica.port.to_string()).await;
    let port = sentinel.port;
    let store = format!("url: \"redis+sentinel://127.0.0.1:{port}/mymaster\"");
    let pair = Pair::with(master, &store, Setup::default()).await;
    pair.assert_logs_in(0).await;
    pair.assert_logs_in(1).await;
    assert_eq!(pair.one.sandbox.seen().token_requests, 1);
    let started = sentinel.ask(&["SENTINEL", "FAILOVER", "mymaster"]);
    assert!(started.contains("OK"), "{started}");
    // Each relay puts what it has into the new master, and asks it from then on.
    let mut followed = false;
    for _ in 0..300 {
        let marker = replica.ask(&["SCARD", "authrelay:back"]);
        let role = replica.ask(&["ROLE"]);
        followed = role.contains("master") && marker.contains('2');
        if followed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        followed,
        "{}\n{}",
        replica.ask(&["KEYS", "*"]),
        pair.one.log.text()
    );
    pair.one.sandbox.revoke_tokens();
    pair.assert_logs_in(0).await;
    let reply = pair.log_in(1, Imap).await;
    assert!(reply.starts_with("a OK "), "{reply}");
}
