//! The shared store on Redis or Valkey: one connection that all operations share, one script, 250 ms
//! an operation. Behind Sentinel the master is looked up for each connection.
//!
//! It never waits for a connection on behalf of an operation: a task keeps one, and while there is
//! none, or the breaker is open, the store is away at once.

mod bounded;
mod client;
mod connection;
mod examine;
mod script;

pub use client::{Observer, Redis};
pub use examine::{Findings, examine};
