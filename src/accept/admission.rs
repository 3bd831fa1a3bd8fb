//! Session permits: limits on concurrent sessions, in total and per client address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Limits, client_network};

/// Maximum number of clients that are rejected at the same time; others wait for a permit.
const MAX_REJECTIONS: usize = 32;

/// Limits concurrent sessions, in total and per client.
#[derive(Debug, Clone)]
pub struct SessionLimiter {
    sessions: Arc<Semaphore>,
    /// Current size of the limit.
    size: Arc<Mutex<Size>>,
    rejections: Arc<Semaphore>,
    clients: Arc<Clients>,
}

#[derive(Debug)]
struct Size {
    /// Existing permits, those in use included.
    places: usize,
    wanted: usize,
    /// Whether a task is removing permits.
    shrinking: bool,
}

#[derive(Debug)]
struct Clients {
    limit: AtomicUsize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// Permit for one connection, released on drop.
#[derive(Debug)]
pub struct SessionPermit {
    /// `None` if the connection is beyond the limit and must be rejected.
    clients: Option<Arc<Clients>>,
    admitted: Option<Admitted>,
    _permit: OwnedSemaphorePermit,
}

/// One session counted for a client's address.
#[derive(Debug)]
struct Admitted {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl SessionLimiter {
    /// Creates a limiter for the configured `limits`.
    pub fn new(limits: &Limits) -> Self {
        Self {
            sessions: Arc::new(Semaphore::new(places(limits))),
            size: Arc::new(Mutex::new(Size {
                places: places(limits),
                wanted: places(limits),
                shrinking: false,
            })),
            rejections: Arc::new(Semaphore::new(MAX_REJECTIONS)),
            clients: Arc::new(Clients {
                limit: AtomicUsize::new(limits.sessions_per_client),
                counts: Mutex::default(),
            }),
        }
    }

    /// Applies the limits of another configuration. Sessions continue: a lower limit removes
    /// permits as sessions end. Call within the runtime.
    pub fn resize(&self, limits: &Limits) {
        let per_client = &self.clients.limit;
        per_client.store(limits.sessions_per_client, Ordering::Relaxed);
        let mut size = self.size.lock();
        size.wanted = places(limits);
        if size.wanted > size.places {
            self.sessions.add_permits(size.wanted - size.places);
            size.places = size.wanted;
        } else if size.wanted < size.places && !size.shrinking {
            size.shrinking = true;
            tokio::spawn(shrink(self.sessions.clone(), self.size.clone()));
        }
    }

    /// Takes a permit for an accepted connection: a session permit, or a rejection permit if all
    /// are in use. Waits if neither is available. The client's address may not be known yet; see
    /// [`SessionPermit::admit`].
    pub async fn take(&self) -> SessionPermit {
        if let Ok(permit) = self.sessions.clone().try_acquire_owned() {
            return self.session(permit);
        }
        tokio::select! {
            biased;
            Ok(permit) = self.rejections.clone().acquire_owned() => SessionPermit {
                clients: None,
                admitted: None,
                _permit: permit,
            },
            Ok(permit) = self.sessions.clone().acquire_owned() => self.session(permit),
            else => std::future::pending().await,
        }
    }

    fn session(&self, permit: OwnedSemaphorePermit) -> SessionPermit {
        SessionPermit {
            clients: Some(self.clients.clone()),
            admitted: None,
            _permit: permit,
        }
    }
}

/// Removes permits as they become free. Queues with the clients that wait for one.
async fn shrink(sessions: Arc<Semaphore>, size: Arc<Mutex<Size>>) {
    while let Ok(permit) = sessions.acquire().await {
        let mut size = size.lock();
        if size.places <= size.wanted {
            size.shrinking = false;
            return;
        }
        permit.forget();
        size.places -= 1;
    }
}

fn places(limits: &Limits) -> usize {
    limits.sessions.min(Semaphore::MAX_PERMITS)
}

impl SessionPermit {
    /// Counts the connection for its client's address. Returns false if it exceeds the limit of the
    /// address, or the total.
    pub fn admit(&mut self, address: IpAddr) -> bool {
        let clients = self.clients.as_ref();
        self.admitted = clients.and_then(|clients| clients.admit(address));
        self.admitted.is_some()
    }
}

impl Clients {
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let mut counts = self.counts.lock();
        let address = client_network(address);
        let count = counts.entry(address).or_default();
        if *count >= self.limit.load(Ordering::Relaxed) {
            return None;
        }
        *count += 1;
        Some(Admitted {
            clients: self.clone(),
            address,
        })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.clients.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(sessions: usize, sessions_per_client: usize) -> Limits {
        Limits {
            sessions,
            sessions_per_client,
            login_timeout: std::time::Duration::ZERO,
            idle_timeout: std::time::Duration::ZERO,
            upstream_timeout: std::time::Duration::ZERO,
            drain_timeout: std::time::Duration::ZERO,
            lockout: crate::config::Lockout {
                failures: 1,
                window: std::time::Duration::ZERO,
                duration: std::time::Duration::ZERO,
            },
        }
    }

    async fn take(limiter: &SessionLimiter, client: IpAddr) -> (SessionPermit, bool) {
        let mut permit = limiter.take().await;
        let admitted = permit.admit(client);
        (permit, admitted)
    }

    #[tokio::test]
    async fn one_beyond_the_limit_is_rejected_and_a_freed_permit_is_taken() {
        let limiter = SessionLimiter::new(&limits(2, 10));
        let client = IpAddr::from([10, 0, 0, 1]);
        let first = take(&limiter, client).await;
        let second = take(&limiter, client).await;
        assert!(first.1 && second.1);
        assert!(!take(&limiter, client).await.1);
        drop(first);
        assert!(take(&limiter, client).await.1);
    }

    /// An idle listener holds no permit.
    #[tokio::test]
    async fn d11_after_a_burst_every_session_can_be_had() {
        let limiter = SessionLimiter::new(&limits(2, 1000));
        let client = IpAddr::from([10, 0, 0, 1]);
        let mut burst = Vec::new();
        for _ in 0..2 + MAX_REJECTIONS {
            burst.push(take(&limiter, client).await);
        }
        let beyond = limiter.take();
        tokio::pin!(beyond);
        assert!(futures_util::poll!(&mut beyond).is_pending());
        drop(burst);
        drop(beyond.await);
        let both = (take(&limiter, client).await, take(&limiter, client).await);
        assert!(both.0.1 && both.1.1);
    }

    #[tokio::test]
    async fn a_freed_session_is_taken_while_rejections_are_sent() {
        let limiter = SessionLimiter::new(&limits(1, 100));
        let client = IpAddr::from([10, 0, 0, 1]);
        let first = take(&limiter, client).await;
        let mut rejections = Vec::new();
        for _ in 0..MAX_REJECTIONS {
            rejections.push(take(&limiter, client).await);
        }
        assert!(rejections.iter().all(|(_, admitted)| !admitted));
        drop(first);
        assert!(take(&limiter, client).await.1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn places_come_and_go_and_nobody_is_sent_away() {
        let limiter = SessionLimiter::new(&limits(1, 10));
        let client = IpAddr::from([10, 0, 0, 1]);
        let first = take(&limiter, client).await;
        assert!(!take(&limiter, client).await.1);
        limiter.resize(&limits(3, 10));
        let (second, third) = (take(&limiter, client).await, take(&limiter, client).await);
        assert!(second.1 && third.1);
        limiter.resize(&limits(1, 10));
        limiter.resize(&limits(2, 10));
        drop((first, second));
        // The removed permits were the first to become free.
        tokio::task::yield_now().await;
        let fourth = take(&limiter, client).await;
        assert!(fourth.1);
        assert!(!take(&limiter, client).await.1);
        drop((third, fourth));
        tokio::task::yield_now().await;
        let (fifth, sixth) = (take(&limiter, client).await, take(&limiter, client).await);
        assert!(fifth.1 && sixth.1);
        assert!(!take(&limiter, client).await.1);
    }

    #[tokio::test]
    async fn d28_an_ipv6_network_has_one_limit() {
        let limiter = SessionLimiter::new(&limits(10, 1));
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        let _first = take(&limiter, of("2001:db8:0:1::1")).await;
        assert!(!take(&limiter, of("2001:db8:0:1:ffff::2")).await.1);
        assert!(take(&limiter, of("2001:db8:0:2::1")).await.1);
        let _mapped = take(&limiter, of("::ffff:192.0.2.1")).await;
        assert!(!take(&limiter, of("192.0.2.1")).await.1);
        assert!(take(&limiter, of("192.0.2.2")).await.1);
    }

    #[tokio::test]
    async fn an_address_has_its_own_limit() {
        let limiter = SessionLimiter::new(&limits(10, 1));
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = take(&limiter, a).await;
        assert!(first.1);
        assert!(!take(&limiter, a).await.1);
        assert!(take(&limiter, b).await.1);
        drop(first);
        assert!(take(&limiter, a).await.1);
        drop(take(&limiter, a).await);
        assert!(limiter.clients.counts.lock().is_empty());
    }
}
