//! Types of the configuration's values: how each is read, and its description in the reference.

mod collections;
mod network;
mod scalars;

pub(super) use collections::{AnyNumber, Each, Named};
pub use collections::{Certificates, Headers};
pub use network::HostPort;
pub use network::is_loopback;
pub(super) use network::{BASE_URL, ENDPOINT_URL, HOST_NAME, https};
pub use scalars::Program;
pub(super) use scalars::{Day, NAME, Scope, YEAR};
