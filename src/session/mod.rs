//! One client connection from accept to close. Only this module drives all the others.
//!
//! ```text
//! (PROXY header) ──▶ allowed? ──▶ (TLS) ──▶ login::front ──▶ auth
//!                ──▶ token ──▶ upstream ──▶ login::back ──▶ relay
//! ```
//!
//! One deadline covers everything up to the end of the login. The `SessionRecord` is complete at
//! any moment, so cancelled and panicking sessions are logged too.

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
