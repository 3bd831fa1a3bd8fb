//! Seats: how many sessions there may be, in all and of one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

/// Clients beyond the limit that are told so at the same time; the rest wait to be accepted.
const TOLD_AT_ONCE: usize = 32;

/// All seats of a server.
#[derive(Debug, Clone)]
pub struct Seats {
    sessions: Arc<Semaphore>,
    /// How many sessions there may be.
    size: Arc<Mutex<Size>>,
    told: Arc<Semaphore>,
    clients: Arc<Clients>,
}

#[derive(Debug)]
struct Size {
    /// Places that there are, taken ones included.
    places: usize,
    wanted: usize,
    /// Somebody is taking places away.
    shrinking: bool,
}

#[derive(Debug)]
struct Clients {
    limit: AtomicUsize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// A place kept before anybody came: listeners wait for clients, and must not hold a session's
/// place meanwhile, or the last places could not be had.
#[derive(Debug)]
pub enum Reserved {
    /// To be told that there is no session to be had, or to find one.
    Told(OwnedSemaphorePermit),
    /// For a session, while everybody at the door is being told.
    Session(OwnedSemaphorePermit),
}

/// A place for one connection, free again when dropped.
#[derive(Debug)]
pub struct Seat {
    /// `None`: it is one too many.
    clients: Option<Arc<Clients>>,
    admitted: Option<Admitted>,
    _permit: OwnedSemaphorePermit,
}

/// A client's share of the limit of its address.
#[derive(Debug)]
struct Admitted {
    clients: Arc<Clients>,
    address: IpAddr,
}

impl Seats {
    /// As many as `limits` allows.
    pub fn new(limits: &Limits) -> Self {
        Self {
            sessions: Arc::new(Semaphore::new(places(limits))),
            size: Arc::new(Mutex::new(Size {
                places: places(limits),
                wanted: places(limits),
                shrinking: false,
            })),
            told: Arc::new(Semaphore::new(TOLD_AT_ONCE)),
            clients: Arc::new(Clients {
                limit: AtomicUsize::new(limits.sessions_per_client),
                counts: Mutex::default(),
            }),
        }
    }

    /// As many as `limits` allows from now on. Nobody is sent away: where there are fewer, places
    /// go as sessions end. Called within the runtime.
    pub fn resize(&self, limits: &Limits) {
        let per_client = &self.clients.limit;
        per_client.store(limits.sessions_per_client, Ordering::Relaxed);
        let mut size = lock(&self.size);
        size.wanted = places(limits);
        if size.wanted > size.places {
            self.sessions.add_permits(size.wanted - size.places);
            size.places = size.wanted;
        } else if size.wanted < size.places && !size.shrinking {
            size.shrinking = true;
            tokio::spawn(shrink(self.sessions.clone(), self.size.clone()));
        }
    }

    /// Keeps a place for whoever comes next.
    pub async fn reserve(&self) -> Reserved {
        tokio::select! {
            biased;
            Ok(permit) = self.told.clone().acquire_owned() => Reserved::Told(permit),
            Ok(permit) = self.sessions.clone().acquire_owned() => Reserved::Session(permit),
            else => std::future::pending().await,
        }
    }

    /// Gives the place to a connection. Whose it is may have to be announced first: see
    /// [`Seat::admit`].
    pub fn seat(&self, reserved: Reserved) -> Seat {
        let (clients, permit) = match reserved {
            Reserved::Session(permit) => (Some(self.clients.clone()), permit),
            Reserved::Told(told) => match self.sessions.clone().try_acquire_owned() {
                Ok(permit) => (Some(self.clients.clone()), permit),
                Err(_) => (None, told),
            },
        };
        Seat {
            clients,
            admitted: None,
            _permit: permit,
        }
    }
}

/// Takes places away as they become free, in one queue with those who are at the door.
async fn shrink(sessions: Arc<Semaphore>, size: Arc<Mutex<Size>>) {
    while let Ok(permit) = sessions.acquire().await {
        let mut size = lock(&size);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seat {
    /// Counts the connection for its client's address; false: it is one too many, of that address
    /// or in all.
    pub fn admit(&mut self, address: IpAddr) -> bool {
        self.admitted = match &self.clients {
            Some(clients) => clients.admit(address),
            None => None,
        };
        self.admitted.is_some()
    }
}

impl Clients {
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut counts = self
            .clients
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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

    /// A seat, and whether the client has it.
    async fn sit(seats: &Seats, client: IpAddr) -> (Seat, bool) {
        sit_on(seats, seats.reserve().await, client)
    }

    fn sit_on(seats: &Seats, reserved: Reserved, client: IpAddr) -> (Seat, bool) {
        let mut seat = seats.seat(reserved);
        let admitted = seat.admit(client);
        (seat, admitted)
    }

    #[tokio::test]
    async fn one_beyond_the_limit_is_told_and_a_freed_seat_is_taken() {
        let seats = Seats::new(&limits(2, 10));
        let client = IpAddr::from([10, 0, 0, 1]);
        let first = sit(&seats, client).await;
        let second = sit(&seats, client).await;
        assert!(first.1 && second.1);
        assert!(!sit(&seats, client).await.1);
        let waiting = seats.reserve().await;
        drop(first);
        assert!(sit_on(&seats, waiting, client).1);
    }

    #[tokio::test]
    async fn listeners_that_wait_hold_no_session() {
        let seats = Seats::new(&limits(1, 10));
        let client = IpAddr::from([10, 0, 0, 1]);
        let _elsewhere = (seats.reserve().await, seats.reserve().await);
        assert!(sit(&seats, client).await.1);
    }

    #[tokio::test]
    async fn a_freed_session_is_taken_while_everybody_is_being_told() {
        let seats = Seats::new(&limits(1, 100));
        let client = IpAddr::from([10, 0, 0, 1]);
        let first = sit(&seats, client).await;
        let mut told = Vec::new();
        for _ in 0..TOLD_AT_ONCE {
            told.push(sit(&seats, client).await);
        }
        assert!(told.iter().all(|(_, admitted)| !admitted));
        drop(first);
        assert!(sit(&seats, client).await.1);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn places_come_and_go_and_nobody_is_sent_away() {
        let seats = Seats::new(&limits(1, 10));
        let client = IpAddr::from([10, 0, 0, 1]);
        let first = sit(&seats, client).await;
        assert!(!sit(&seats, client).await.1);
        seats.resize(&limits(3, 10));
        let (second, third) = (sit(&seats, client).await, sit(&seats, client).await);
        assert!(second.1 && third.1);
        seats.resize(&limits(1, 10));
        seats.resize(&limits(2, 10));
        drop((first, second));
        // The places that went were the first to be free.
        tokio::task::yield_now().await;
        let fourth = sit(&seats, client).await;
        assert!(fourth.1);
        assert!(!sit(&seats, client).await.1);
        drop((third, fourth));
        tokio::task::yield_now().await;
        let (fifth, sixth) = (sit(&seats, client).await, sit(&seats, client).await);
        assert!(fifth.1 && sixth.1);
        assert!(!sit(&seats, client).await.1);
    }

    #[tokio::test]
    async fn an_address_has_its_own_limit() {
        let seats = Seats::new(&limits(10, 1));
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = sit(&seats, a).await;
        assert!(first.1);
        assert!(!sit(&seats, a).await.1);
        assert!(sit(&seats, b).await.1);
        drop(first);
        assert!(sit(&seats, a).await.1);
        drop(sit(&seats, a).await);
        assert!(seats.clients.counts.lock().unwrap().is_empty());
    }
}
