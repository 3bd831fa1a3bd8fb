//! A seeded world: whole sessions of the relay's machine and its driver, the product's own loop,
//! with both peers played by scripts, every split of the octets, drains, stops, deaths and slow
//! readers at random moments, and a clock that is a number.
//!
//! `AUTHRELAY_SEED=N cargo test --test world` plays the seed N alone and says what happened;
//! `AUTHRELAY_SEEDS=N` plays another number of seeds. `tests/run` plays 200,000, optimized.

mod imap;
mod random;
mod server;
mod session;
mod smtp;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of a run that is not told how many; each is a world of its own.
const SEEDS: u64 = 20_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}

fn play(seed: u64) {
    match seed % 4 {
        0 => imap::play(seed),
        _ => smtp::play(seed),
    }
}

#[test]
fn r43_r45_what_ends_has_ended_and_what_is_recorded_happened() {
    if let Some(seed) = number("AUTHRELAY_SEED") {
        return play(seed);
    }
    let seeds = number("AUTHRELAY_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::panic::set_hook(Box::new(|_| {}));
    let failed = std::thread::scope(|scope| {
        let run = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return None;
                }
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| play(seed))) {
                    next.store(seeds, Ordering::Relaxed);
                    let said = panic.downcast_ref::<String>().cloned();
                    let said =
                        said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).into()));
                    return Some((seed, said.unwrap_or_default()));
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap());
        results.flatten().min()
    });
    let _ = std::panic::take_hook();
    if let Some((seed, said)) = failed {
        panic!("seed {seed}: {said}\nAUTHRELAY_SEED={seed} cargo test --test world plays it alone");
    }
}
