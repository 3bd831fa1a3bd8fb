//! Argon2's memory, kept between runs: freed, 19 MiB for each would stay with whichever thread's
//! heap they came from, ten of them before long.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A run takes 19 MiB and a core: never more at once than this, whatever configurations come.
const RUNS_AT_ONCE: usize = 2;

/// Pool of memory for argon2: as many blocks as there ever were runs at once.
#[derive(Clone)]
pub(super) struct Argon2Memory(Arc<Pool>);

struct Pool {
    runs: Arc<Semaphore>,
    free: Mutex<Vec<Vec<Block>>>,
}

/// The right to one run.
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
    /// Waits for one's turn; `None` never comes.
    pub(super) async fn turn(&self) -> Option<Argon2Permit> {
        let permit = self.0.runs.clone().acquire_owned().await.ok()?;
        Some(Argon2Permit {
            pool: self.0.clone(),
            _permit: permit,
        })
    }
}

impl Argon2Permit {
    /// Whether `presented` is the password of a PHC string. Blocks, for milliseconds.
    pub(super) fn matches(self, phc: &str, presented: &[u8]) -> bool {
        let free = || {
            self.pool
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let mut blocks = free().pop().unwrap_or_default();
        let right = matches(phc, presented, &mut blocks).unwrap_or(false);
        free().push(blocks);
        right
    }
}

/// `None`: it is no complete hash, which `check` would have said.
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
