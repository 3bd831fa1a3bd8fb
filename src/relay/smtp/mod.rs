//! SMTP after the login (RFC 5321, RFC 2920, RFC 3030): one mail transaction, moved by replies.
//!
//! What a command will change is kept with its pending reply and happens when that reply says yes.
//! Audit records, metrics, the policy, the throttle and sizes all read this one transaction.
//! Commands are sent to the upstream as whole lines that end with CRLF; what follows DATA waits
//! for DATA's reply, since that decides whether it is a message or commands. The text of messages
//! is never copied but for a header that is rewritten and for line ends that are repaired.
//!
//! | after | the transaction |
//! | --- | --- |
//! | MAIL, 2yz | is a new one |
//! | RCPT, 2yz | has one recipient more |
//! | RSET, EHLO, HELO, 2yz | is none |
//! | DATA, 354 | takes the text; its final reply ends it |
//! | DATA, other than 354 and 503 | ends: that was the message's final reply |
//! | BDAT, 2yz | has the chunk; the last chunk's reply ends it |
//! | BDAT, 4yz, 5yz other than 503 | ends |
//!
//! Where there are [`SmtpRules`], what is not understood is answered here or ends the session, so
//! that nothing passes that is not counted. Without rules octets pass as they are (but for the
//! line ends of commands), and a session that cannot be followed any more says so on its record.

mod chunk;
mod client;
mod header;
mod pending;
mod policy;
mod reply;
mod rules;
mod session;
mod sink;
mod text;
mod transaction;
mod upstream;

pub use policy::Policy;
pub use rules::SmtpRules;
pub use session::Smtp;
