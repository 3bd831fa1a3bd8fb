//! The dialogue of each protocol, and what SMTP says where no dialogue is held.

use super::dialogue::{Advertised, Front};
use bytes::Bytes;

use super::machine::Machine;
use super::{imap, pop3, smtp};
use crate::wire::Protocol;

/// Creates the dialogue of `protocol` with what the listener offers.
pub fn new(protocol: Protocol, offer: Advertised) -> Box<dyn Front> {
    match protocol {
        Protocol::Imap => Box::new(Machine::new(imap::Imap, offer)),
        Protocol::Pop3 => Box::new(Machine::new(pop3::Pop3::default(), offer)),
        Protocol::Smtp => Box::new(Machine::new(smtp::Smtp::default(), offer)),
    }
}

/// The reply to EHLO of a session that is logged in and has no upstream to ask: `capabilities`
/// are those of its provider. Complete lines.
pub fn ehlo_reply(capabilities: &[String]) -> Bytes {
    smtp::ehlo_reply(capabilities, false, false).into()
}
