//! A seeded world: whole sessions of the relay's machine and its driver, the product's own loop,
//! with both peers played by scripts, every split of the octets, drains, stops, deaths and slow
//! readers at random moments, and a clock that is a number. With and without rules, with an upstream
//! for each sender, repaired line ends, and devices that know LF alone. `a_planted_mistake_is_found`
//! shows for each kind of mistake that the seeds see it.
//!
//! `AUTHRELAY_SEED=N cargo test --test world` plays the seed N alone and says what happened;
//! `AUTHRELAY_SEEDS=N` plays another number of seeds. `tests/run` plays 200,000, optimized.

mod cases;
mod imap;
mod octets;
mod pop3;
mod random;
mod server;
mod session;
mod smtp;
mod wire;

use random::Random;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds of a run that is not told how many; each is a world of its own.
const SEEDS: u64 = 20_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}

fn play(seed: u64) {
    let random = Random::new(seed);
    match seed % 8 {
        0 => imap::play(random),
        4 => pop3::play(random),
        _ => smtp::play(random),
    }
}

/// A world in which nothing goes wrong unseen finds nothing where nothing is wrong; in this one the
/// mistake is there.
#[test]
fn a_planted_mistake_is_found() {
    use session::{Mistake, PLANTED};
    let missed: Vec<_> = [
        Mistake::PermitReleasedEarly,
        Mistake::PermitKept,
        Mistake::MessageForgotten,
        Mistake::RecipientsForgotten,
        Mistake::OutcomeForgotten,
        Mistake::ReplyForgotten,
        Mistake::WrongUpstream,
    ]
    .into_iter()
    .filter(|mistake| {
        PLANTED.set(Some(*mistake));
        !(0..2_000)
            .any(|seed| catch_unwind(AssertUnwindSafe(|| smtp::play(Random::new(seed)))).is_err())
    })
    .collect();
    PLANTED.set(Some(Mistake::ReplyForgotten));
    for play in [imap::play, pop3::play] {
        let fails = |seed| catch_unwind(AssertUnwindSafe(|| play(Random::new(seed)))).is_err();
        assert!((0..2_000).any(fails), "octets that are lost are not missed");
    }
    PLANTED.set(None);
    assert_eq!(missed, []);
}

#[test]
fn r43_r45_what_ends_has_ended_and_what_is_recorded_happened() {
    if let Some(seed) = number("AUTHRELAY_SEED") {
        return play(seed);
    }
    let seeds = number("AUTHRELAY_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
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
    if let Some((seed, said)) = failed {
        panic!("seed {seed}: {said}\nAUTHRELAY_SEED={seed} cargo test --test world plays it alone");
    }
}
