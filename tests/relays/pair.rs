//! Two relays with one `proxy.yaml`, one `state.key` and one shared store.

use std::net::SocketAddr;
use std::time::Duration;

use authrelay::config::{Config, LoadMode};
use authrelay::sandbox::{LOGIN, PASSWORD};
use authrelay::server::{Control, Server};
use authrelay::wire::Protocol;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::link::{Fault, Link};
use crate::server::Server as Redis;
use crate::stage::{Relay, Setup, greet, is_success};

/// A relay that serves, the second of a pair.
pub struct Second {
    addresses: Vec<(String, SocketAddr)>,
    pub control: std::sync::Arc<Control>,
    #[allow(dead_code)]
    stop: CancellationToken,
    #[allow(dead_code)]
    serving: JoinHandle<std::io::Result<()>>,
}

pub struct Pair {
    pub redis: Redis,
    pub one: Relay,
    pub two: Second,
}

impl Pair {
    pub async fn start(setup: Setup) -> Self {
        let redis = Redis::start();
        let store = format!("url: \"redis://127.0.0.1:{}\"", redis.port);
        Self::with(redis, &store, setup).await
    }

    /// With what stands under `state.store`.
    pub async fn with(redis: Redis, store: &str, setup: Setup) -> Self {
        let state =
            format!("directory: ./state\n  key: a key that both relays have\n  store: {{{store}}}");
        let one = setup.replace("directory: ./state", &state).start().await;
        let two = Second::start(&one, "two").await;
        let pair = Self { redis, one, two };
        pair.until_both_are_there().await;
        pair
    }

    /// With a link between the second relay and Redis.
    pub async fn linked(setup: Setup) -> (Self, Link) {
        let redis = Redis::start();
        let url = |port: u16| format!("redis://127.0.0.1:{port}");
        let state = format!(
            "directory: ./state\n  key: a key that both relays have\n  store: {{url: \"{}\"}}",
            url(redis.port)
        );
        let one = setup.replace("directory: ./state", &state).start().await;
        let link = Link::to(redis.port, Fault::None).await;
        let replace = [(url(redis.port), url(link.port))];
        let two = Second::start_with(&one, "two", &replace).await;
        let pair = Self { redis, one, two };
        pair.until_both_are_there().await;
        (pair, link)
    }

    /// With the state of the first relay in a directory of the test's.
    pub async fn with_state_in(directory: &std::path::Path, setup: Setup) -> Self {
        let redis = Redis::start();
        let directory = format!("directory: {}", directory.display());
        let state = format!(
            "{directory}\n  key: a key that both relays have\n  store: {{url: \"redis://127.0.0.1:{}\"}}",
            redis.port
        );
        let one = setup.replace("directory: ./state", &state).start().await;
        let other = [(directory, "directory: ./state-two".to_owned())];
        let two = Second::start_with(&one, "two", &other).await;
        let pair = Self { redis, one, two };
        pair.until_both_are_there().await;
        pair
    }

    /// Until a relay's metrics have this line.
    pub async fn until_metric(&self, relay: usize, line: &str) {
        for _ in 0..600 {
            if self.metrics(relay).await.contains(line) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{relay}: {line}\n{}", self.metrics(relay).await);
    }

    /// Until each relay knows of the other.
    async fn until_both_are_there(&self) {
        for control in [&self.one.control, &self.two.control] {
            let service = control.current().active();
            let member = service.state.sharing.as_ref().unwrap().member().clone();
            let there = async {
                while member.relays() < 2 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let waited = tokio::time::timeout(Duration::from_secs(20), there).await;
            waited.expect("the relays see each other");
        }
    }

    pub fn address(&self, relay: usize, protocol: Protocol) -> SocketAddr {
        self.listener(relay, protocol.name())
    }

    pub fn listener(&self, relay: usize, name: &str) -> SocketAddr {
        match relay {
            0 => self.one.listener(name),
            _ => self.two.listener(name),
        }
    }

    pub async fn connect(&self, relay: usize, protocol: Protocol) -> Client {
        let mut client = Client::dial(protocol, self.address(relay, protocol)).await;
        greet(&mut client).await;
        client
    }

    pub async fn log_in(&self, relay: usize, protocol: Protocol) -> String {
        let mut client = self.connect(relay, protocol).await;
        client.log_in(LOGIN, PASSWORD).await
    }

    pub async fn assert_logs_in(&self, relay: usize) {
        let reply = self.log_in(relay, Protocol::Imap).await;
        let good = is_success(Protocol::Imap, &reply);
        assert!(good, "{relay}: {reply}\n{}", self.one.log.text());
    }

    pub async fn metrics(&self, relay: usize) -> String {
        let service = match relay {
            0 => self.one.control.current().active(),
            _ => self.two.control.current().active(),
        };
        service.state.metrics.text()
    }

    /// How many operations a relay has asked of the store, but for beats.
    pub async fn operations(&self, relay: usize) -> u64 {
        let text = self.metrics(relay).await;
        let lines = text.lines().filter(|line| {
            line.starts_with("authrelay_store_operations_total")
                && !["\"beat\"", "\"hold\"", "\"renew\""]
                    .iter()
                    .any(|it| line.contains(it))
        });
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }
}

impl Second {
    /// As the first, with a state directory of its own.
    pub async fn start(first: &Relay, name: &str) -> Self {
        Self::start_with(first, name, &[]).await
    }

    /// With other texts in its configuration.
    pub async fn start_with(first: &Relay, name: &str, replace: &[(String, String)]) -> Self {
        let yaml = std::fs::read_to_string(first.directory().join("proxy.yaml")).unwrap();
        let yaml = yaml.replace("directory: ./state", &format!("directory: ./state-{name}"));
        let yaml = yaml.replace("audit.jsonl", &format!("audit-{name}.jsonl"));
        let replaced = |yaml: String, (text, by): &(String, String)| yaml.replace(text, by);
        let yaml = replace.iter().fold(yaml, replaced);
        let path = first.directory().join(format!("{name}.yaml"));
        std::fs::write(&path, yaml).unwrap();
        let config = Config {
            relay: Some(name.to_owned()),
            ..Config::load(&path, LoadMode::Run).unwrap_or_else(|problems| panic!("{problems:?}"))
        };
        let server = Server::bind(&config).unwrap();
        let addresses = server.addresses();
        let control = server.control().clone();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(server.serve(stop.clone().cancelled_owned()));
        Self {
            addresses,
            control,
            stop,
            serving,
        }
    }

    pub fn listener(&self, name: &str) -> SocketAddr {
        self.addresses
            .iter()
            .find(|(other, _)| other == name)
            .unwrap()
            .1
    }

    #[allow(dead_code)]
    pub async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
    }
}
