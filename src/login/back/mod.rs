//! The client role: from the upstream's greeting to a logged-in session.
//!
//! TLS is the driver's: a dialogue begins in clear only to ask for STARTTLS, and nothing that was
//! said in clear outlives it. A token is sent on encrypted streams only.

mod dialogue;
mod imap;
mod machine;
mod pop3;
mod protocols;
mod smtp;

pub use dialogue::{AwaitedReply, Back, Ready, Stage, UpstreamCredentials};

pub use protocols::new;
