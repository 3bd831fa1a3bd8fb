//! SMTP after the login (RFC 5321, RFC 2920, RFC 3030): one mail transaction, moved by replies.
//!
//! The effect of a command is stored with its pending reply and applied when that reply is
//! positive. Audit records, metrics, the policy, the throttle and sizes all read this one
//! transaction. Commands are sent to the upstream as whole lines that end with CRLF. Input after
//! DATA is held until DATA's reply decides whether it is a message or commands. The text of
//! messages is copied only for a rewritten header or repaired line ends.
//!
//! | command, reply | effect on the transaction |
//! | --- | --- |
//! | MAIL, 2yz | begins |
//! | RCPT, 2yz | gets a recipient |
//! | RSET, EHLO, HELO, 2yz | is discarded |
//! | DATA, 354 | takes the text, whose final reply ends it |
//! | DATA, other than 354 and 503 | ends: this was the message's final reply |
//! | BDAT, 2yz | gets the chunk; the reply to the last chunk ends it |
//! | BDAT, 4yz, 5yz other than 503 | ends |
//!
//! With [`SmtpRules`], unknown input is answered here or ends the session, so that nothing
//! uncounted passes. Without rules octets pass unchanged (except line ends of commands), and a
//! session that can no longer be tracked is recorded as such.

mod chunk;
mod client;
mod header;
mod policy;
mod reply;
mod session;
mod sink;
mod text;
mod transaction;
mod upstream;

pub use policy::{Policy, SmtpRules};
pub use session::Smtp;
