//! Relays that share a store and act as one: the shared state, and the decisions between them.
//!
//! The deciding code has no IO and gets the time as a parameter, so that a simulation can drive it
//! through every fault from a seed. `docs/several-relays.md` describes the guarantees.

pub mod awake;
pub mod breaker;
pub mod command;
pub mod identity;
pub mod keys;
pub mod mark;
pub mod member;
pub mod number;
pub mod redemption;
pub mod redis;
pub mod rejoin;
pub mod roster;
