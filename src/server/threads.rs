//! Threads for sessions, each with a runtime of its own that accepts clients and serves them to
//! their end.
//!
//! A runtime of several threads wakes a second one whenever two sessions have something to do, and
//! moves sessions from cache to cache, which is a quarter of what a login costs.

use std::io;

use tokio::runtime::{Builder, Handle};

use crate::platform;

/// Maximum number of threads. While they are idle, a client wakes all of them.
const MAX: usize = 8;

/// Processors for each thread. The kernel's part of relaying and other programs need theirs, and a
/// thread that has more to do finds more events at a time: each costs less.
const PROCESSORS: usize = 2;

/// Polls after which a thread looks for events. A poll of a session that moves many octets takes up
/// to a millisecond, for which the others wait.
const EVENT_INTERVAL: u32 = 16;

/// Starts a thread for every two of `processors`, at least one and at most eight. They end with the
/// process. None is started where the system does not let threads share a listener.
///
/// # Errors
///
/// A thread cannot be started.
pub fn start_session_threads(processors: usize) -> io::Result<Vec<Handle>> {
    match platform::SHARES_LISTENERS {
        true => (0..count(processors)).map(|_| start()).collect(),
        false => Ok(Vec::new()),
    }
}

fn count(processors: usize) -> usize {
    (processors / PROCESSORS).clamp(1, MAX)
}

fn start() -> io::Result<Handle> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder
        .enable_all()
        .event_interval(EVENT_INTERVAL)
        .build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new()
        .name("sessions".to_owned())
        .spawn(run)?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processors_have_a_thread() {
        let counts = [0, 1, 2, 3, 4, 7, 15, 16, 17, 256].map(count);
        assert_eq!(counts, [1, 1, 1, 1, 2, 3, 7, 8, 8, 8]);
    }
}
