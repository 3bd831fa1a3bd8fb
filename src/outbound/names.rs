//! Resolves and caches host names for all outbound connections.
//!
//! The system's resolver blocks, and for long if DNS does not answer. It therefore runs on a
//! bounded number of separate threads, once per name at a time, so that an unresponsive name delays
//! only those who need it. Addresses are cached for 30 s; from 20 s on a use triggers a look-up in
//! the background.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

/// Age up to which addresses are used.
const KEPT: Duration = Duration::from_secs(30);

/// Age from which a use triggers another look-up.
const STALE: Duration = Duration::from_secs(20);

/// Period for which an address stays first after those before it did not answer.
const PREFERRED: Duration = Duration::from_secs(600);

/// Maximum number of concurrent look-ups; others wait.
const THREADS: usize = 32;

/// Maximum number of cached names; a configuration has far fewer.
const CAP: usize = 1024;

/// Addresses without port, or the error.
type Answer = Result<Arc<[SocketAddr]>, Arc<io::Error>>;

/// Cache of addresses by name, without IO.
#[derive(Debug, Default)]
struct Kept(HashMap<String, Entry>);

#[derive(Debug)]
struct Entry {
    since: Instant,
    addresses: Arc<[SocketAddr]>,
    /// Address that answered when those before it did not, and when.
    preferred: Option<(IpAddr, Instant)>,
}

impl Entry {
    fn is_kept(&self, now: Instant) -> bool {
        now.duration_since(self.since) < KEPT
    }

    fn order(&mut self) {
        if let Some((preferred, _)) = self.preferred {
            let (first, rest): (Vec<_>, Vec<_>) = self
                .addresses
                .iter()
                .partition(|address| address.ip() == preferred);
            self.addresses = first.into_iter().chain(rest).collect();
        }
    }
}

impl Kept {
    /// Returns usable addresses, and whether the name should be looked up again.
    fn look(&self, host: &str, now: Instant) -> Option<(Arc<[SocketAddr]>, bool)> {
        let entry = self.0.get(host).filter(|entry| entry.is_kept(now))?;
        let is_stale = now.duration_since(entry.since) >= STALE;
        Some((entry.addresses.clone(), is_stale))
    }

    fn keep(&mut self, host: &str, addresses: Arc<[SocketAddr]>, now: Instant) {
        if self.0.len() >= CAP && !self.0.contains_key(host) {
            self.0.retain(|_, entry| entry.is_kept(now));
            if self.0.len() >= CAP {
                return;
            }
        }
        let preferred = self.0.get(host).and_then(|entry| entry.preferred);
        let mut entry = Entry {
            since: now,
            addresses,
            preferred: preferred.filter(|(_, since)| now.duration_since(*since) < PREFERRED),
        };
        entry.order();
        self.0.insert(host.to_owned(), entry);
    }

    /// Puts `address` first from now on, since those before it did not answer.
    fn prefer(&mut self, host: &str, address: IpAddr, now: Instant) {
        if let Some(entry) = self.0.get_mut(host) {
            entry.preferred = Some((address, now));
            entry.order();
        }
    }
}

#[derive(Debug, Default)]
struct State {
    kept: Kept,
    /// Names being looked up, and the channel for their results.
    asked: HashMap<String, watch::Sender<Option<Answer>>>,
    /// Names that no thread has taken yet.
    queue: VecDeque<String>,
    threads: usize,
}

/// Shared state of the process, as the resolver and its threads are shared.
fn names() -> MutexGuard<'static, State> {
    static NAMES: OnceLock<Mutex<State>> = OnceLock::new();
    NAMES.get_or_init(Mutex::default).lock()
}

/// Addresses, and whether they came from the cache.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) kept: bool,
}

/// Resolves `host`, from the cache if the addresses are younger than 30 s.
///
/// # Errors
///
/// Those of the resolver.
pub(super) async fn look_up(host: &str, port: u16) -> io::Result<Found> {
    if let Some(ip) = literal(host) {
        return Ok(Found {
            addresses: vec![SocketAddr::new(ip, port)],
            kept: false,
        });
    }
    let known = {
        let mut names = names();
        let known = names.kept.look(host, Instant::now());
        if matches!(known, Some((_, true))) {
            ask(&mut names, host);
        }
        known
    };
    Ok(match known {
        Some((addresses, _)) => Found {
            addresses: with_port(&addresses, port),
            kept: true,
        },
        None => Found {
            addresses: resolve_uncached(host, port).await?,
            kept: false,
        },
    })
}

/// Resolves `host` without the cache.
///
/// # Errors
///
/// Those of the resolver.
pub(super) async fn resolve_uncached(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some(ip) = literal(host) {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let mut answers = ask(&mut names(), host);
    let answer = match answers.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone(),
        Err(_) => None,
    };
    match answer {
        Some(Ok(addresses)) => Ok(with_port(&addresses, port)),
        Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
        None => Err(io::Error::other("the look-up was abandoned")),
    }
}

/// Puts `works` first after other addresses did not answer or were slower, and looks up the name
/// again in the background.
pub(super) fn prefer(host: &str, works: IpAddr) {
    if literal(host).is_none() {
        let mut names = names();
        names.kept.prefer(host, works, Instant::now());
        ask(&mut names, host);
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.parse().ok()
}

fn with_port(addresses: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    let with_port = |address: &SocketAddr| {
        let mut address = *address;
        address.set_port(port);
        address
    };
    addresses.iter().map(with_port).collect()
}

/// Starts a look-up, or joins the one in progress.
fn ask(names: &mut State, host: &str) -> watch::Receiver<Option<Answer>> {
    if let Some(asked) = names.asked.get(host) {
        return asked.subscribe();
    }
    let (sender, receiver) = watch::channel(None);
    names.asked.insert(host.to_owned(), sender);
    names.queue.push_back(host.to_owned());
    if names.threads < THREADS {
        names.threads += 1;
        let thread = std::thread::Builder::new().name("names".into());
        if let Err(error) = thread.spawn(work) {
            names.threads -= 1;
            names.queue.retain(|queued| queued != host);
            if let Some(sender) = names.asked.remove(host) {
                sender.send_replace(Some(Err(Arc::new(error))));
            }
        }
    }
    receiver
}

/// Looks up the queued names one after the other.
fn work() {
    loop {
        let host = {
            let mut names = names();
            match names.queue.pop_front() {
                Some(host) => host,
                None => {
                    names.threads -= 1;
                    return;
                }
            }
        };
        let answer: Answer = match (host.as_str(), 0).to_socket_addrs() {
            Ok(addresses) => Ok(addresses.collect()),
            Err(error) => Err(Arc::new(error)),
        };
        let mut names = names();
        if let Ok(addresses) = &answer {
            names.kept.keep(&host, addresses.clone(), Instant::now());
        }
        if let Some(sender) = names.asked.remove(&host) {
            sender.send_replace(Some(answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(all: &[&str]) -> Arc<[SocketAddr]> {
        let address = |text: &&str| SocketAddr::new(text.parse().unwrap(), 0);
        all.iter().map(address).collect()
    }

    #[test]
    fn addresses_are_kept_for_30_s() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut kept = Kept::default();
        assert!(kept.look("a.test", began).is_none());
        kept.keep("a.test", addresses(&["192.0.2.1", "192.0.2.2"]), began);
        for (seconds, expected) in [(0, false), (19, false), (20, true), (29, true)] {
            let (_, is_stale) = kept.look("a.test", after(seconds)).unwrap();
            assert_eq!(is_stale, expected, "{seconds}");
        }
        assert!(kept.look("a.test", after(30)).is_none());
        kept.prefer("a.test", "192.0.2.2".parse().unwrap(), began);
        kept.keep("a.test", addresses(&["192.0.2.1", "192.0.2.2"]), began);
        let (addresses, _) = kept.look("a.test", began).unwrap();
        let order: Vec<_> = addresses
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        assert_eq!(order, ["192.0.2.2", "192.0.2.1"]);
    }

    #[test]
    fn names_remembered_are_bounded() {
        let now = Instant::now();
        let mut kept = Kept::default();
        for number in 0..2 * CAP {
            kept.keep(&number.to_string(), addresses(&["192.0.2.1"]), now);
        }
        assert_eq!(kept.0.len(), CAP);
        kept.keep("late", addresses(&["192.0.2.1"]), now + KEPT);
        assert_eq!(kept.0.len(), 1);
    }

    /// Concurrent requests for a name share one look-up.
    #[tokio::test]
    async fn d10_one_look_up_a_name_at_a_time() {
        let looks = (0..900).map(|_| resolve_uncached("no-such-name.invalid", 993));
        for found in futures_util::future::join_all(looks).await {
            found.unwrap_err();
        }
        assert!(names().threads <= THREADS);
        let found = look_up("localhost", 143).await.unwrap();
        assert!(found.addresses.iter().all(|address| address.port() == 143));
        assert!(look_up("localhost", 993).await.unwrap().kept);
    }
}
