//! Several relays as one: a seeded simulation of N relays, their store, the identity provider and
//! the clock, which runs the deciding code of the product (`cluster::{redemption, rejoin, roster}`)
//! without IO, and the store's scripts compared with a real server.
//!
//! `AUTHRELAY_SEED=N cargo test --test cluster` plays the seed N alone; `AUTHRELAY_SEEDS=N` plays another
//! number of seeds. `tests/run` plays 100,000, optimized.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod engine;
mod provider;
mod relay;
mod scripts;
mod server;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use engine::Mistake;
use world::World;

/// Seeds of a run that is not told how many.
const SEEDS: u64 = 3_000;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}

/// What a seed came to: `Err` says which invariant broke.
fn play(seed: u64, mistake: Mistake) -> Result<(), String> {
    World::new(seed, mistake).run()
}

#[test]
fn every_seed_keeps_the_invariants() {
    if let Some(seed) = number("AUTHRELAY_SEED") {
        let mut world = World::new(seed, Mistake::None);
        world.tells = true;
        return world.run().unwrap();
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
                if let Err(said) = play(seed, Mistake::None) {
                    next.store(seeds, Ordering::Relaxed);
                    return Some((seed, said));
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap());
        results.flatten().min()
    });
    if let Some((seed, said)) = failed {
        panic!(
            "seed {seed}: {said}\nAUTHRELAY_SEED={seed} cargo test --test cluster plays it alone"
        );
    }
}

/// Each part of the design that is left out is missed by some seed.
#[test]
fn each_planted_mistake_is_found() {
    let missed: Vec<_> = [
        Mistake::Entry,
        Mistake::Nonce,
        Mistake::GreaterWins,
        Mistake::ConsentNumber,
        Mistake::Marker,
        Mistake::Settling,
        Mistake::EnterAgain,
        Mistake::Tombstone,
        Mistake::Leave,
    ]
    .into_iter()
    .filter(|mistake| {
        let found = (0..20_000).find_map(|seed| Some((seed, play(seed, *mistake).err()?)));
        match &found {
            Some((seed, said)) => println!("{mistake:?}: seed {seed}: {said}"),
            None => println!("{mistake:?}: missed"),
        }
        found.is_none()
    })
    .collect();
    assert_eq!(missed, []);
}
