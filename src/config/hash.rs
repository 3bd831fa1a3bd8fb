//! Argon2 hashes in PHC strings: their validity and cost.

use argon2::{Algorithm, Params, PasswordHash, Version};

/// Describes the cost of checking a PHC string; hashes of different cost differ in timing. `None` if it is not a complete argon2 hash, which no
/// password would ever match.
pub(super) fn cost(phc: &str) -> Option<String> {
    let hash = PasswordHash::new(phc).ok()?;
    let (Some(_), Some(_)) = (&hash.salt, &hash.hash) else {
        return None;
    };
    let algorithm = Algorithm::new(hash.algorithm.as_str()).ok()?;
    if let Some(version) = hash.version {
        Version::try_from(version).ok()?;
    }
    let params = Params::try_from(&hash).ok()?;
    let (memory, passes, lanes) = (params.m_cost(), params.t_cost(), params.p_cost());
    let algorithm = algorithm.as_str();
    Some(format!("{algorithm} m={memory},t={passes},p={lanes}"))
}
