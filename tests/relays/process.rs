//! Relays as processes of their own, which signals can stop, and what their log says.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::wire::Protocol;
use serde_json::Value;

use crate::client::Client;
use crate::stage::{Prepared, greet};

/// A relay that serves by `NAME.yaml`; killed with the test.
pub struct Process {
    child: Child,
    pub name: String,
    file: PathBuf,
    log: Arc<Mutex<Vec<Value>>>,
}

/// Writes `NAME.yaml` beside the stage's `proxy.yaml`: a state directory and an audit file of its own.
pub fn file_of(prepared: &Prepared, name: &str, replace: &[(&str, &str)]) -> PathBuf {
    let yaml = std::fs::read_to_string(prepared.path()).unwrap();
    let mut yaml = yaml.replace("directory: ./state", &format!("directory: ./state-{name}"));
    yaml = yaml.replace("audit.jsonl", &format!("audit-{name}.jsonl"));
    for (text, by) in replace {
        assert!(yaml.contains(text), "{text} is not in\n{yaml}");
        yaml = yaml.replace(text, by);
    }
    yaml.push_str("log: {format: json, level: info}\n");
    let path = prepared.path().with_file_name(format!("{name}.yaml"));
    std::fs::write(&path, yaml).unwrap();
    path
}

impl Process {
    /// Starts the relay; returns once it serves.
    pub async fn start(name: &str, file: &Path) -> Self {
        let mut relay = Self::spawn(name, file);
        relay.until_it_serves().await;
        relay
    }

    fn spawn(name: &str, file: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_authrelay"))
            .args(["run", "--name", name, "--config"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (lines, to) = (BufReader::new(child.stderr.take().unwrap()), log.clone());
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let record = serde_json::from_str(&line).unwrap_or(Value::String(line));
                to.lock().unwrap().push(record);
            }
        });
        Self {
            child,
            name: name.to_owned(),
            file: file.to_owned(),
            log,
        }
    }

    async fn until_it_serves(&mut self) {
        for _ in 0..600 {
            let is_up = self.address_of("smtp").is_some() && self.admin().is_some();
            if is_up {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {:#?}", self.log());
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} does not serve: {:#?}", self.name, self.log());
    }

    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }

    fn address_of(&self, listener: &str) -> Option<SocketAddr> {
        let log = self.log.lock().unwrap();
        let record = log
            .iter()
            .find(|record| record["message"] == "listening" && record["listener"] == listener)?;
        record["address"].as_str()?.parse().ok()
    }

    pub fn admin(&self) -> Option<SocketAddr> {
        let log = self.log.lock().unwrap();
        let record = log.iter().find(|it| it["message"] == "admin listening")?;
        record["address"].as_str()?.parse().ok()
    }

    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        self.address_of(protocol.name()).unwrap()
    }

    /// Presents the account's credentials; the reply to them.
    pub async fn log_in(&self, protocol: Protocol) -> String {
        let mut client = Client::dial(protocol, self.address(protocol)).await;
        greet(&mut client).await;
        client.log_in(LOGIN, PASSWORD).await
    }

    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.admin().unwrap());
        let http = crate::consents::http();
        http.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// Until the metrics have this line.
    pub async fn until_metric(&self, line: &str) {
        for _ in 0..600 {
            if self.metrics().await.contains(line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{line}\n{}", self.metrics().await);
    }

    /// Sends a signal, as `-STOP`.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits until it has; its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        if self.child.try_wait().unwrap().is_none() {
            self.signal("-TERM");
        }
        for _ in 0..1_600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} does not end: {:#?}", self.name, self.log());
    }

    /// Starts it again by the same file.
    pub async fn start_again(&mut self) {
        // Meanwhile the system may have given its ports to connections of others.
        let addresses = ["imap", "smtp"].map(|listener| self.address_of(listener));
        for address in addresses.into_iter().chain([self.admin()]).flatten() {
            for _ in 0..600 {
                if std::net::TcpListener::bind(address).is_ok() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        }
        let again = Self::spawn(&self.name, &self.file);
        let before = std::mem::replace(self, again);
        drop(before);
        self.until_it_serves().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
