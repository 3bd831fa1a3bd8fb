//! Selection of the dialogue by protocol, and SMTP's reply to EHLO without a dialogue.

use super::dialogue::{Advertised, Front};
use bytes::Bytes;

use super::machine::Machine;
use super::{imap, pop3, smtp};
use crate::wire::Protocol;

/// Creates the dialogue of `protocol` for a connection with `offer`.
pub fn new(protocol: Protocol, offer: Advertised) -> Box<dyn Front> {
    match protocol {
        Protocol::Imap => Box::new(Machine::new(imap::Imap, offer)),
        Protocol::Pop3 => Box::new(Machine::new(pop3::Pop3::default(), offer)),
        Protocol::Smtp => Box::new(Machine::new(smtp::Smtp::default(), offer)),
    }
}

/// Builds the EHLO reply of a logged-in session that has no upstream connection yet. `capabilities`
/// are the provider's. Returns complete lines.
pub fn ehlo_reply(capabilities: &[String]) -> Bytes {
    smtp::ehlo_reply(capabilities, false, false).into()
}
