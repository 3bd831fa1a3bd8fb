//! Failures of logins and sessions, with the side to blame.
//!
//! A [`Fault`] carries what an operator needs (side, kind, detail, remedy). The only table of
//! replies to clients is in `reply`. A fault's texts are sanitized when it is created: control
//! characters become spaces and anything like a credential is cut out. A fault can therefore be
//! logged and sent as it is.

mod exchange_online;
mod message;
mod model;
mod quoting;
mod reply;
#[cfg(test)]
mod tests;
mod text;

pub use exchange_online::{Refusal, classify, suggested_backoff};
pub use message::{enable_protocol, full_access, mailbox_remedy, message_remedy};
pub use model::{Fault, Kind, Side};
pub use quoting::{argument, quoted, shell_argument};
pub use reply::ClientReply;
pub use text::{cut_secrets, sanitize};
