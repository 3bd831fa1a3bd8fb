//! The relay as a process that is told to end, to reload, and how large its files may get.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol;
use serde_json::Value;

use crate::client::Client;
use crate::stage::{Prepared, Setup, greet};

const PATIENCE: Duration = Duration::from_secs(30);

/// How a command ended, and all that it said.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub said: String,
}

/// Runs the program to its end.
pub fn authrelay(arguments: &[&str]) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Done {
        code: output.status.code().unwrap(),
        said: text(&output.stdout) + &text(&output.stderr),
    }
}

/// `authrelay run`; killed with this.
pub struct Daemon {
    pub prepared: Prepared,
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    addresses: Vec<(String, SocketAddr)>,
}

impl Daemon {
    pub async fn start(setup: Setup) -> Self {
        Self::started(setup, "", &[]).await
    }

    /// With further words behind `run`.
    pub async fn with_options(setup: Setup, options: &[&str]) -> Self {
        Self::started(setup, "", options).await
    }

    /// Files of the process get no larger than so many octets.
    pub async fn with_file_size(setup: Setup, octets: u64) -> Self {
        // dash counts in blocks of 512. Ignored, the signal leaves EFBIG.
        let limit = format!("trap '' XFSZ; ulimit -S -f {};", octets / 512);
        Self::started(setup, &limit, &[]).await
    }

    /// The process opens no more than so many descriptors.
    pub async fn with_descriptors(setup: Setup, most: usize) -> Self {
        Self::started(setup, &format!("ulimit -n {most};"), &[]).await
    }

    async fn started(setup: Setup, before: &str, options: &[&str]) -> Self {
        let setup = setup.append("log: {format: json}\n");
        let prepared = setup.prepare().await;
        let (child, log) = spawn(&prepared, before, options);
        let mut daemon = Self {
            prepared,
            child,
            log,
            addresses: Vec::new(),
        };
        daemon.find_addresses().await;
        daemon
    }

    /// The same configuration, another process.
    pub async fn start_again(&mut self) {
        (self.child, self.log) = spawn(&self.prepared, "", &[]);
        self.find_addresses().await;
    }

    async fn find_addresses(&mut self) {
        self.wait_for_count("listening", 3).await;
        let address = |record: &Value| {
            let text = |key: &str| record[key].as_str().unwrap().to_owned();
            (text("listener"), text("address").parse().unwrap())
        };
        self.addresses = self.said("listening").iter().map(address).collect();
    }

    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        let named = |(name, _): &&(String, SocketAddr)| name == protocol.name();
        self.addresses.iter().find(named).unwrap().1
    }

    /// A client that has presented the right password, and the answer.
    pub async fn log_in(&self, protocol: Protocol) -> (Client, String) {
        let mut client = Client::dial(protocol, self.address(protocol)).await;
        greet(&mut client).await;
        let reply = client.log_in(LOGIN, PASSWORD).await;
        (client, reply)
    }

    /// Where the audit is, as these tests configure it.
    pub fn audit(&self) -> PathBuf {
        self.prepared.path().with_file_name("audit.jsonl")
    }

    /// The administrators' listener, which opens after the clients'.
    pub async fn admin(&self) -> SocketAddr {
        self.wait_for_count("admin listening", 1).await;
        let listening = self.said("admin listening");
        listening[0]["address"].as_str().unwrap().parse().unwrap()
    }

    /// What `/metrics` answers.
    pub async fn metrics(&self) -> String {
        let mut client = Client::dial(Protocol::Imap, self.admin().await).await;
        client
            .send("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            .await;
        client.rest().await
    }

    /// Lines of the log with this message.
    pub fn said(&self, message: &str) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        let named = log.iter().filter(|record| record["message"] == message);
        named.cloned().collect()
    }

    /// Everything on stderr, line by line.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    pub async fn wait_for_count(&self, message: &str, count: usize) {
        let end = Instant::now() + PATIENCE;
        while self.said(message).len() < count {
            let log = self.log.lock().unwrap();
            assert!(Instant::now() < end, "not {count} × {message}: {log:#?}");
            drop(log);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let signal = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(signal.unwrap().success());
    }

    /// No limit to the size of files any more.
    pub fn lift_file_size(&self) {
        let lift = Command::new("prlimit")
            .args(["--fsize=unlimited", "--pid", &self.child.id().to_string()])
            .status();
        assert!(lift.unwrap().success());
    }

    /// SIGTERM, and the end.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "it does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(self.child.wait().unwrap().success());
        self.wait_for_count("stopped", 1).await;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(prepared: &Prepared, before: &str, options: &[&str]) -> (Child, Arc<Mutex<Vec<Value>>>) {
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("{before} exec \"$@\""), "sh"])
        .args([env!("CARGO_BIN_EXE_authrelay"), "run"])
        .args(options)
        .arg("--config")
        .arg(prepared.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let log: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = log.clone();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // What is no record shows as the text it is.
            let record = serde_json::from_str(&line).unwrap_or(Value::String(line));
            kept.lock().unwrap().push(record);
        }
    });
    (child, log)
}
