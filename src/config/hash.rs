//! Argon2 hashes in PHC strings: their validity and cost.

use std::fmt;

use argon2::{Algorithm, Params, PasswordHash, Version};

/// Cost of checking a hash. Hashes of different cost differ in timing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Cost {
    algorithm: &'static str,
    /// Memory in KiB; then passes and lanes.
    memory: u32,
    passes: u32,
    lanes: u32,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            algorithm,
            memory,
            passes,
            lanes,
        } = self;
        write!(f, "{algorithm} m={memory},t={passes},p={lanes}")
    }
}

/// Returns the cost of checking a PHC string. `None` if it is not a complete argon2 hash, which no
/// password would ever match.
pub(super) fn cost(phc: &str) -> Option<Cost> {
    let hash = PasswordHash::new(phc).ok()?;
    let (Some(_), Some(_)) = (&hash.salt, &hash.hash) else {
        return None;
    };
    let algorithm = Algorithm::new(hash.algorithm.as_str()).ok()?;
    if let Some(version) = hash.version {
        Version::try_from(version).ok()?;
    }
    let params = Params::try_from(&hash).ok()?;
    Some(Cost {
        algorithm: algorithm.as_str(),
        memory: params.m_cost(),
        passes: params.t_cost(),
        lanes: params.p_cost(),
    })
}
