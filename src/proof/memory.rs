//! Argon2's memory, kept between runs: freed, 19 MiB for each would stay with whichever thread's
//! heap they came from, ten of them before long.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use subtle::ConstantTimeEq as _;

/// As many pieces of memory as there ever were runs at once.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory(Arc<Mutex<Vec<Vec<Block>>>>);

impl Memory {
    /// Whether `presented` is the password of a PHC string. Blocks, for milliseconds.
    pub(super) fn matches(&self, phc: &str, presented: &[u8]) -> bool {
        let mut blocks = self.lock().pop().unwrap_or_default();
        let right = matches(phc, presented, &mut blocks).unwrap_or(false);
        self.lock().push(blocks);
        right
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<Block>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
