//! Several relays as one, black-box: two relays in front of the emulated Microsoft 365, with a real
//! Redis between them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[allow(dead_code)]
#[path = "../relay/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../relay/clock.rs"]
mod clock;
#[path = "../grants/disk.rs"]
mod disk;
#[allow(dead_code)]
#[path = "../grants/endpoint.rs"]
mod endpoint;
#[allow(dead_code)]
#[path = "../relay/log.rs"]
mod log;
#[path = "../cluster/server.rs"]
mod server;
#[allow(dead_code)]
#[path = "../relay/stage.rs"]
mod stage;

mod alerts;
mod away;
mod balanced;
mod balancer;
mod checks;
mod commands;
mod consents;
mod cost;
mod faults;
mod holder;
mod legible;
mod limits;
mod link;
mod losses;
mod pair;
mod process;
mod provider;
mod seen;
mod servers;
mod tokens;
