//! The relay that redeems is stopped, killed, or comes back: relays are processes here.

use std::time::{Duration, Instant};

use authrelay::wire::Protocol::Imap;

use crate::consents::{begin_at, come_back_at, consenting};
use crate::process::{Process, file_of};
use crate::provider::{Hold, Provider};
use crate::server::Server as Redis;
use crate::stage::Prepared;

/// An entry lives so long without its relay.
const LEASE: Duration = Duration::from_secs(30);

/// Two relays with a consent whose access token has expired, and the first in the middle of a
/// redemption.
struct Scene {
    provider: Provider,
    /// Requests and redemptions, that of the holder included.
    arrived: usize,
    redeemed: usize,
    _prepared: Prepared,
    redis: Redis,
    holder: Process,
    other: Process,
}

impl Scene {
    async fn start(one_use: bool, hold: Hold) -> Self {
        let redis = Redis::start();
        let provider = Provider::start(one_use).await;
        let kind = if one_use { "one_use" } else { "reusable" };
        let state = format!(
            "directory: ./state\n  key: a key that both relays have\n  store: {{url: \"redis://127.0.0.1:{}\"}}",
            redis.port
        );
        let prepared = consenting()
            .unlimited()
            .replace(
                "ca: ca.pem",
                &format!("ca: ca.pem\n    refresh_tokens: {kind}"),
            )
            .replace("directory: ./state", &state)
            .token_url(&provider.url())
            .append("limits: {upstream_timeout: 5s}\n")
            .prepare()
            .await;
        provider.stock(&prepared.sandbox);
        let (a, b) = (file_of(&prepared, "a", &[]), file_of(&prepared, "b", &[]));
        let (holder, other) = (Process::start("a", &a).await, Process::start("b", &b).await);
        for relay in [&holder, &other] {
            relay.until_metric("authrelay_relays 2\n").await;
        }
        provider.set_lifetime(1);
        let back = begin_at(holder.admin().unwrap()).await;
        let (status, page) = come_back_at(holder.admin().unwrap(), &back).await;
        assert_eq!(status, 200, "{page}");
        provider.set_lifetime(3_600);
        // Its access token ends.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let (arrived, redeemed) = (provider.arrived() + 1, provider.seen().redeemed + 1);
        provider.hold_next(hold);
        let address = holder.address(Imap);
        tokio::spawn(async move {
            let mut client = crate::client::Client::dial(Imap, address).await;
            crate::stage::greet(&mut client).await;
            client
                .log_in(authrelay::sandbox::LOGIN, authrelay::sandbox::PASSWORD)
                .await
        });
        provider.until_arrived(arrived).await;
        Self {
            provider,
            arrived,
            redeemed,
            _prepared: prepared,
            redis,
            holder,
            other,
        }
    }

    /// Logs in at the other relay until that succeeds, `within` some time; how long it took. Until
    /// then every login is refused for now.
    async fn until_other_logs_in(&self, within: Duration) -> Duration {
        let began = Instant::now();
        loop {
            let reply = self.other.log_in(Imap).await;
            let took = began.elapsed();
            if reply.starts_with("a OK ") {
                return took;
            }
            assert!(reply.contains("[UNAVAILABLE]"), "{reply}");
            assert!(took < within, "{took:?}: {reply}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Both relays log in, and no refresh token was shown again.
    async fn assert_all_is_well(&self, more: usize) {
        for relay in [&self.holder, &self.other] {
            let mut reply = String::new();
            for _ in 0..100 {
                reply = relay.log_in(Imap).await;
                if reply.starts_with("a OK ") {
                    break;
                }
                assert!(reply.contains("[UNAVAILABLE]"), "{}: {reply}", relay.name);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(reply.starts_with("a OK "), "{}: {reply}", relay.name);
        }
        let seen = self.provider.seen();
        assert_eq!(seen.shown_again, Vec::<String>::new());
        assert_eq!(
            seen.redeemed,
            self.redeemed + more,
            "{:#?}",
            self.holder.log()
        );
        drop(self.redis.ask(&["PING"]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_holder_of_a_reusable_token_is_superseded_after_its_lease() {
    let scene = Scene::start(false, Hold::After).await;
    scene.holder.signal("-STOP");
    let took = scene
        .until_other_logs_in(LEASE + Duration::from_secs(6))
        .await;
    assert!(took < LEASE + Duration::from_secs(3), "{took:?}");
    assert_eq!(scene.provider.seen().redeemed, scene.redeemed + 1);
    scene.provider.release();
    scene.holder.signal("-CONT");
    scene.assert_all_is_well(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_holder_of_a_token_that_is_good_once_is_waited_for() {
    let scene = Scene::start(true, Hold::After).await;
    scene.holder.signal("-STOP");
    let began = Instant::now();
    while began.elapsed() < LEASE + Duration::from_secs(4) {
        let reply = scene.other.log_in(Imap).await;
        assert!(reply.contains("[UNAVAILABLE]"), "{reply}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(
        scene.provider.arrived(),
        scene.arrived,
        "it alone has asked"
    );
    // The answer was there while it slept.
    scene.provider.release();
    tokio::time::sleep(Duration::from_millis(100)).await;
    scene.holder.signal("-CONT");
    let took = scene.until_other_logs_in(Duration::from_secs(20)).await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    scene.assert_all_is_well(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_holder_of_a_token_that_is_good_once_is_waited_for_until_it_is_back() {
    let mut scene = Scene::start(true, Hold::Before).await;
    scene.holder.kill();
    scene.provider.release();
    let began = Instant::now();
    while began.elapsed() < LEASE + Duration::from_secs(4) {
        let reply = scene.other.log_in(Imap).await;
        assert!(reply.contains("[UNAVAILABLE]"), "{reply}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(
        scene.provider.arrived(),
        scene.arrived,
        "nobody has asked meanwhile"
    );
    scene.holder.start_again().await;
    scene.until_other_logs_in(Duration::from_secs(20)).await;
    scene.assert_all_is_well(0).await;
}

/// A relay that stops does not leave a redemption behind: it would be gone for the others at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_is_asked_to_stop_ends_its_redemption_first() {
    let mut scene = Scene::start(true, Hold::After).await;
    let address = scene.holder.address(Imap);
    scene.holder.signal("-TERM");
    // It stops: its listeners are closed before all else.
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    scene.provider.release();
    assert_eq!(scene.holder.stop().await, Some(0));
    scene.until_other_logs_in(Duration::from_secs(5)).await;
    scene.holder.start_again().await;
    scene.assert_all_is_well(0).await;
}
