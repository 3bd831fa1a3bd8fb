//! Keeps argon2's memory between runs. If freed, 19 MiB would stay in the heap of every thread that
//! ran it, of which there may soon be ten.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Maximum number of concurrent runs, across all configurations: each takes 19 MiB and a core.
const RUNS_AT_ONCE: usize = 2;

/// Pool of argon2 memory; has at most as many blocks as there were concurrent runs.
#[derive(Clone)]
pub(super) struct Argon2Memory(Arc<Pool>);

struct Pool {
    runs: Arc<Semaphore>,
    free: Mutex<Vec<Vec<Block>>>,
}

/// Permit for one run.
pub(super) struct Argon2Permit {
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

impl Default for Argon2Memory {
    fn default() -> Self {
        Self(Arc::new(Pool {
            runs: Arc::new(Semaphore::new(RUNS_AT_ONCE)),
            free: Mutex::default(),
        }))
    }
}

impl Argon2Memory {
    /// Waits for a permit. Never `None` in practice.
    pub(super) async fn turn(&self) -> Option<Argon2Permit> {
        let permit = self.0.runs.clone().acquire_owned().await.ok()?;
        Some(Argon2Permit {
            pool: self.0.clone(),
            _permit: permit,
        })
    }
}

impl Argon2Permit {
    /// Whether `presented` matches a PHC string. Blocks for milliseconds.
    pub(super) fn matches(self, phc: &str, presented: &[u8]) -> bool {
        let free = || self.pool.free.lock();
        let mut blocks = free().pop().unwrap_or_default();
        let right = matches(phc, presented, &mut blocks).unwrap_or(false);
        free().push(blocks);
        right
    }
}

/// Computes and compares a hash. `None`: incomplete hash, which `check` reports.
fn matches(phc: &str, presented: &[u8], blocks: &mut Vec<Block>) -> Option<bool> {
    let hash = PasswordHash::new(phc).ok()?;
    let (salt, expected) = (hash.salt.as_ref()?, hash.hash.as_ref()?);
    let algorithm = Algorithm::new(hash.algorithm.as_str()).ok()?;
    let version = match hash.version {
        Some(version) => Version::try_from(version).ok()?,
        None => Version::default(),
    };
    let params = Params::try_from(&hash).ok()?;
    let count = params.block_count();
    if blocks.len() < count {
        blocks.resize(count, Block::default());
    }
    let mut out = vec![0; expected.as_bytes().len()];
    let memory = blocks.get_mut(..count)?;
    Argon2::new(algorithm, version, params)
        .hash_password_into_with_memory(presented, salt, &mut out, memory)
        .ok()?;
    Some(out.ct_eq(expected.as_bytes()).into())
}
