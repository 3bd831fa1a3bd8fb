//! The server role: from the greeting to the client's credentials.
//!
//! Nothing that a client sends here goes anywhere but into these machines. Commands that need a
//! login are answered locally; what the client pipelined after its credentials is kept and given
//! out after the login, exactly once.

mod dialogue;
mod imap;
mod machine;
mod notes;
mod pop3;
mod protocols;
mod sasl;
mod smtp;

pub use dialogue::{Advertised, Attempt, Front, Request};

pub use protocols::{ehlo_reply, new};
