//! Types of the configuration's values: how each is read, and its description in the reference.

mod collections;
mod network;
mod scalars;

pub(super) use collections::{AnyNumber, Each, Named};
pub use collections::{Certificates, Headers};
pub(super) use network::{BASE_URL, ENDPOINT_URL, HOST_NAME, https};
pub use network::{HostPort, is_loopback};
pub use scalars::Program;
pub(super) use scalars::{Day, NAME, Scope, YEAR};
