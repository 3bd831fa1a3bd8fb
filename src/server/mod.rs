//! The server as a whole: listeners, sessions, reloads, orderly shutdown.
//!
//! [`Server::bind`] binds all addresses or none. [`Server::serve`] runs until shutdown, then closes
//! the listeners, lets sessions reach a reply boundary, and ends the remaining ones after
//! `limits.drain_timeout`. Its [`Control`] activates changed configurations meanwhile.

mod alerts;
mod confinement;
mod contents;
mod control;
mod ends;
mod inherited;
mod limits;
mod listening;
mod serve;
mod threads;

pub use confinement::Confinement;
pub use control::Control;
pub use control::warn;
pub use inherited::Inherited;
pub use listening::CannotBind;
pub use serve::Server;
pub use threads::start_session_threads;
