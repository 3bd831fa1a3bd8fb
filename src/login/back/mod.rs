//! The client role: from the upstream's greeting to a logged-in session.
//!
//! The driver provides TLS. A cleartext dialogue only requests STARTTLS, and nothing received in
//! clear is used after TLS starts. Tokens are sent on encrypted streams only.

mod dialogue;
mod imap;
mod machine;
mod pop3;
mod protocols;
mod smtp;

pub use dialogue::{AwaitedReply, Back, Ready, Stage, UpstreamCredentials};

pub use protocols::new;
