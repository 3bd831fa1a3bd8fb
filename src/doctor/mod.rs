//! Connection test: runs each step on the way to a mailbox with its duration, and gives a cause and
//! a remedy for the first that fails.
//!
//! The steps use the same code as a session (connecting, TLS, tokens, login dialogues), so that a
//! passing test predicts a working session. Nothing is sent or changed: SELECT, STAT, or MAIL FROM
//! and RSET.

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
