//! Authentication: from presented credentials to the mailbox they open.
//!
//! Unknown login, wrong password, wrong protocol, forbidden address and lockout look alike to the
//! client, in bytes and in timing. The log names the cause.

mod authenticator;
mod lockout;
pub mod password;

pub use authenticator::{Authenticator, ClientInfo, LoginRefused, PendingCheck};
