//! POP3's client role before login: CAPA (RFC 2449), STLS (RFC 2595 §4), AUTH (RFC 5034).

use bytes::Bytes;

use super::dialogue::{UpstreamCredentials, is_showable};
use super::machine::{self, Dialect, Sent};
use crate::wire::Protocol;
use crate::wire::line::REPLY_CAP;
use crate::wire::pop3::{self, Reply};

/// Response codes of refusals that are temporary (RFC 2449 §8.1.2, RFC 3206 §4).
const TEMPORARY: [&str; 3] = ["[SYS/TEMP]", "[IN-USE]", "[LOGIN-DELAY]"];

/// Maximum number of lines kept of a CAPA list.
const MOST_LINES: usize = 100;

#[derive(Default)]
pub(super) struct Pop3 {
    capabilities: Option<Vec<String>>,
    /// The reply to CAPA is not yet complete.
    is_listing: bool,
}

impl Dialect for Pop3 {
    const PROTOCOL: Protocol = Protocol::Pop3;
    const STARTTLS: &'static str = "STLS";
    const AUTHENTICATE: &'static str = "AUTH";

    fn ask(_login: &UpstreamCredentials) -> String {
        "CAPA".into()
    }

    fn read(&mut self, line: &Bytes, sent: Sent) -> machine::Reply {
        if self.is_listing {
            return self.on_listed(line);
        }
        match pop3::reply(line) {
            Some(Reply::Ok) if sent == Sent::Ask => {
                self.is_listing = true;
                self.capabilities = Some(Vec::new());
                machine::Reply::Partial
            }
            // Capabilities are useful but not required.
            Some(Reply::Err) if sent == Sent::Ask => machine::Reply::Positive(Bytes::new()),
            Some(Reply::Ok) => machine::Reply::Positive(line.clone()),
            Some(Reply::Continue(_)) => machine::Reply::Continue,
            Some(Reply::Err) => machine::Reply::refusal(line.clone(), &TEMPORARY),
            None => machine::Reply::Violation("a reply"),
        }
    }

    fn capabilities(&mut self) -> &mut Option<Vec<String>> {
        &mut self.capabilities
    }
}

impl Pop3 {
    /// Handles a line of the capability list.
    fn on_listed(&mut self, line: &Bytes) -> machine::Reply {
        if line.as_ref() == b"." {
            self.is_listing = false;
            return machine::Reply::Positive(Bytes::new());
        }
        let lines = self.capabilities.get_or_insert_default();
        let held: usize = lines.iter().map(String::len).sum();
        let line = String::from_utf8_lossy(line);
        if lines.len() < MOST_LINES && held + line.len() <= REPLY_CAP && is_showable(&line) {
            lines.push(line.into_owned());
        }
        machine::Reply::Partial
    }
}
