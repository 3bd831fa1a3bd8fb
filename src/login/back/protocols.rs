//! Selection of the dialogue by protocol.

use super::dialogue::{Back, Stage, UpstreamCredentials};
use super::{imap, pop3, smtp};
use crate::wire::Protocol;

/// Creates the dialogue of `protocol`, beginning at `stage`.
pub fn new(protocol: Protocol, login: UpstreamCredentials, stage: Stage) -> Box<dyn Back> {
    match protocol {
        Protocol::Imap => Box::new(imap::Imap::new(login, stage)),
        Protocol::Pop3 => Box::new(pop3::Pop3::new(login, stage)),
        Protocol::Smtp => Box::new(smtp::Smtp::new(login, stage)),
    }
}
