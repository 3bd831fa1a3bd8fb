//! The server role: from the greeting to the client's credentials.
//!
//! Client input goes only to these state machines. Commands that require a login are answered
//! locally. Input pipelined after the credentials is kept, and handed over exactly once after the
//! login.

mod dialogue;
mod imap;
mod machine;
mod notes;
mod pop3;
mod protocols;
mod sasl;
mod smtp;

pub use dialogue::{Advertised, Attempt, Front, RefusedAttempt, Request};

pub use protocols::{ehlo_reply, new};
