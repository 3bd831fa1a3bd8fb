//! What the relay logged, as records.

use std::io;
use std::sync::{Arc, Mutex};

use authrelay::config;
use authrelay::logging;
use serde_json::Value;
use tokio::sync::watch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::clock::patient;

/// Captures the log of this thread while it lives.
#[derive(Clone)]
pub struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    bell: Arc<watch::Sender<()>>,
    /// Whoever logs a line with this panics, once.
    trap: Arc<Mutex<Option<&'static str>>>,
}

impl Log {
    pub fn capture(settings: &config::Log) -> (Self, DefaultGuard) {
        let log = Self {
            text: Arc::default(),
            bell: Arc::new(watch::Sender::new(())),
            trap: Arc::default(),
        };
        let subscriber = logging::subscriber(settings, false, log.clone()).0;
        let guard = tracing::subscriber::set_default(subscriber);
        (log, guard)
    }

    /// Makes the task that logs a line with `text` panic: a bug, planted into a session.
    pub fn panic_at(&self, text: &'static str) {
        *self.trap.lock().unwrap() = Some(text);
    }

    /// Everything, as it was written.
    pub fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    /// Every line, parsed: a line that is no JSON object fails the test.
    pub fn records(&self) -> Vec<Value> {
        let text = self.text();
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        text.lines().map(parse).collect()
    }

    /// Those with this message.
    pub fn named(&self, message: &str) -> Vec<Value> {
        let mut records = self.records();
        records.retain(|record| record["message"] == message);
        records
    }

    /// `side: kind` of every fault, in order.
    pub fn faults(&self) -> Vec<String> {
        let records = self.named("fault");
        let fault = |record: &Value| record["fault"].as_str().unwrap().to_owned();
        records.iter().map(fault).collect()
    }

    /// Waits for the end of the first session and gives a text of its record.
    pub async fn of_session(&self, key: &str) -> String {
        let session = self.sessions(1).await.remove(0);
        session[key].as_str().unwrap().to_owned()
    }

    /// Waits for the end of `count` sessions and gives their records.
    pub async fn sessions(&self, count: usize) -> Vec<Value> {
        let mut bell = self.bell.subscribe();
        patient("the end of sessions", async {
            loop {
                let sessions = self.named("session");
                if sessions.len() >= count {
                    return sessions;
                }
                bell.changed().await.unwrap();
            }
        })
        .await
    }

    /// Waits for a record with this message.
    pub async fn wait_for(&self, message: &str) {
        let mut bell = self.bell.subscribe();
        patient(message, async {
            while self.named(message).is_empty() {
                bell.changed().await.unwrap();
            }
        })
        .await;
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let trapped = self
            .trap
            .lock()
            .unwrap()
            .take_if(|trap| memchr::memmem::find(bytes, trap.as_bytes()).is_some());
        if let Some(trap) = trapped {
            panic!("planted at {trap}");
        }
        self.text.lock().unwrap().extend_from_slice(bytes);
        self.bell.send_replace(());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
