//! One client connection from accept to close. Only this module drives all the others; the steps are
//! in ARCHITECTURE.md under "The life of a connection" and "One login".

mod authenticate;
mod dialogue;
mod login;
mod record;
mod registry;
mod relaying;
mod service;
mod sharing;
mod upstream;

pub use registry::{SessionRegistry, SessionStatus};
pub use service::{ActiveService, Service};
pub use sharing::Sharing;
