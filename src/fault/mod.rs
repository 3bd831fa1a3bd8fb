//! Why a login or a session failed, and who is to blame.
//!
//! A [`Fault`] carries what an operator needs (side, kind, detail, remedy) and, through the one
//! table in `reply`, the reply to the client. Its texts are made harmless when it is made:
//! control characters become spaces and anything that looks like a credential is cut out, so that
//! a fault can be logged and sent without another thought.

mod exchange_online;
mod message;
mod model;
mod reply;
#[cfg(test)]
mod tests;
mod text;

pub use exchange_online::{Refusal, classify, suggested_backoff};
pub use message::{mailbox_remedy, message_remedy};
pub use model::{Fault, Kind, Side};
pub use reply::ClientReply;
pub use text::sanitize;
