//! One client's connection from accept to end: the only place that drives all the others.
//!
//! ```text
//!     (PROXY header) ─▶ allowed? ─▶ (TLS) ─▶ login::front ─▶ auth ─▶ token ─▶ upstream ─▶ login::back ─▶ relay
//! ```
//!
//! One deadline covers everything up to the end of the login. What was learned is on the
//! `SessionRecord` at any moment, so that a session that is cancelled or panics is logged too.

mod active;
mod authenticate;
mod dialogue;
mod login;
mod record;
mod registry;
mod relaying;
mod service;
mod sharing;
mod state;
mod submission;
mod upstream;

pub use active::ActiveService;
pub use registry::{SessionRegistry, SessionStatus};
pub use service::Service;
pub use sharing::Sharing;
