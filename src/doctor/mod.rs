//! "Test connection": one step after the other on the way to a mailbox, each with its time; at the
//! first that fails one cause and one advice.
//!
//! It walks the same code as a session (dialling, TLS, tokens, the login dialogues), so that what
//! works here works there. It sends nothing and changes nothing: SELECT, STAT, or MAIL FROM and
//! RSET.

mod advice;
mod certificate;
mod claims;
mod connection_test;
mod mailbox;
mod report;
mod steps;

pub use certificate::listeners_ends;
pub use connection_test::{explain_failure, test_connection};
pub use report::{Report, Step, TestTarget};
