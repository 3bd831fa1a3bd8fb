//! Selection of the dialogue by protocol.

use super::dialogue::{Back, Stage, UpstreamCredentials};
use super::machine::Machine;
use super::{imap, pop3, smtp};
use crate::wire::Protocol;

/// Creates the dialogue of `protocol`, beginning at `stage`.
pub fn new(protocol: Protocol, login: UpstreamCredentials, stage: Stage) -> Box<dyn Back> {
    match protocol {
        Protocol::Imap => Box::new(Machine::new(imap::Imap::default(), login, stage)),
        Protocol::Pop3 => Box::new(Machine::new(pop3::Pop3::default(), login, stage)),
        Protocol::Smtp => Box::new(Machine::new(smtp::Smtp::default(), login, stage)),
    }
}
