//! From what a client presents to the mailbox it may open.
//!
//! Unknown login, wrong password, wrong protocol, forbidden address and lockout look alike to the
//! client, in bytes and in time; the log knows which it was.

mod authenticator;
mod lockout;
pub mod password;

pub use authenticator::{Authenticator, ClientInfo, LoginRefused, PendingCheck};
