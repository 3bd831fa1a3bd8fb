//! The product, black-box: listeners in front, the emulated Microsoft 365 behind, and what goes
//! over the wires in between.
//!
//! [`matrix`] goes through the table of faults row by row, for each protocol and phase. The other
//! modules hold what a mail relay must withstand; the number in a test's name is the one under
//! which the requirement is known (`r07_…`).
//!
//! Every test runs on one thread with a log and a clock of its own: [`stage::Relay`] captures all
//! that its tasks log, and [`clock::Clock`] stands still until the test moves it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod audit;
mod backpressure;
mod balancers;
mod capabilities;
mod certificates;
mod client;
mod clock;
mod confinement;
mod daemon;
mod doors;
mod ends;
mod field;
mod guessing;
mod lines;
mod listeners;
mod literals;
mod log;
mod matrix;
mod names;
mod offers;
mod processes;
mod queues;
#[allow(dead_code)]
#[path = "../cluster/server.rs"]
mod redis;
mod reload;
mod secrets;
mod service;
mod sessions;
mod signals;
mod space;
mod submission;
// tests/grants shares it.
#[allow(dead_code)]
mod siem;
mod stage;
mod tls;
mod tokens;
mod transactions;
