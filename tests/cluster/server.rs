//! A Redis server of a test's own, ended with it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Server {
    child: Child,
    pub port: u16,
    folder: tempfile::TempDir,
    more: Vec<String>,
}

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With more arguments, as for TLS, a replica or persistence.
    pub fn with(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let more: Vec<_> = more.iter().map(|text| (*text).to_owned()).collect();
        let child = spawn(port, folder.path(), &more);
        let server = Self {
            child,
            port,
            folder,
            more,
        };
        server.wait();
        server
    }

    /// Until it answers.
    fn wait(&self) {
        for _ in 0..200 {
            if self.ask(&["PING"]).contains("PONG") {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server does not answer");
    }

    /// What redis-cli prints.
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// SIGKILL, without a word.
    #[allow(dead_code)]
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Anew on the same port, with what was written to disk: by default nothing.
    #[allow(dead_code)]
    pub fn restart(&mut self) {
        self.child = spawn(self.port, self.folder.path(), &self.more);
        self.wait();
    }

    /// The process, for signals.
    #[allow(dead_code)]
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

/// A port that nobody listens on at the moment.
pub fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

fn spawn(port: u16, folder: &std::path::Path, more: &[String]) -> Child {
    Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .args(["--enable-debug-command", "local"])
        .args(more)
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
