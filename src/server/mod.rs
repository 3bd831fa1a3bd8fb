//! The relay as a whole: listeners, sessions, reloads, and an orderly end.
//!
//! [`Server::bind`] takes every address at once or none; [`Server::serve`] runs until it is told
//! to stop, then closes the listeners, lets sessions reach a reply boundary, and after
//! `limits.drain_timeout` ends those that did not. Meanwhile its [`Control`] puts changed
//! configurations in force.

mod alerts;
mod confinement;
mod control;
mod ends;
mod inherited;
mod limits;
mod listening;
mod serve;

pub use confinement::Confinement;
pub use control::Control;
pub use control::warn;
pub use inherited::Inherited;
pub use limits::CannotBind;
pub use serve::Server;
