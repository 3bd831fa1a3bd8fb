//! Several relays as one: what they share, and what decides between them.
//!
//! The deciding code has no IO and gets the time as a parameter, so that a simulation can drive it
//! through every fault from a seed. `docs/several-relays.md` says what it promises.

pub mod keys;
pub mod number;
