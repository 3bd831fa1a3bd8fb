//! HAProxy by `deploy/haproxy.cfg`, in front of two relays.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::server::free_port;

/// Ports of a relay's listeners.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub imap: u16,
    pub smtp: u16,
    pub admin: u16,
}

/// Ended with the test.
pub struct Balancer {
    child: Child,
    pub smtp: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Balancer {
    /// `None`: there is no HAProxy on this machine. Returns once it lets clients in.
    pub async fn start(relays: [Ports; 2]) -> Self {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/haproxy.cfg");
        let mut text = std::fs::read_to_string(file).unwrap();
        let own = Ports {
            imap: free_port(),
            smtp: free_port(),
            admin: free_port(),
        };
        let mut replace = |what: String, by: String| {
            assert!(text.contains(&what), "{what} is not in\n{text}");
            text = text.replace(&what, &by);
        };
        for (port, by) in [(1143, own.imap), (1587, own.smtp), (8025, own.admin)] {
            replace(format!("bind :{port}"), format!("bind 127.0.0.1:{by}"));
        }
        for (name, ports) in ["relay-a", "relay-b"].iter().zip(relays) {
            let check = format!("check port {}", ports.admin);
            for (port, by) in [(1143, ports.imap), (1587, ports.smtp), (8025, ports.admin)] {
                replace(format!("{name}:{port}"), format!("127.0.0.1:{by} {check}"));
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, text).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.expect("haproxy is installed");
        let mut balancer = Self {
            child,
            smtp: ([127, 0, 0, 1], own.smtp).into(),
            _folder: folder,
        };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(balancer.smtp).await.is_ok() {
                return balancer;
            }
            let ended = balancer.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("HAProxy does not let anybody in");
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
