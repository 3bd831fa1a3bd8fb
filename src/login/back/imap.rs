//! IMAP's client role before login (RFC 9051 §6.2, RFC 4959, RFC 7628 §3.2.3).

use bytes::Bytes;

use super::dialogue::UpstreamCredentials;
use super::machine::{Dialect, Reply, Sent};
use crate::fault::Refusal;
use crate::wire::Protocol;
use crate::wire::imap::{self, Response, Status};
use crate::wire::line::{Fragments, REPLY_CAP};

/// Tag of every command: only one command is pending at a time.
const TAG: &str = "A1";

/// Response codes of refusals that are temporary (RFC 5530).
const TEMPORARY: [&str; 4] = ["[UNAVAILABLE]", "[LIMIT]", "[INUSE]", "[SERVERBUG]"];

#[derive(Default)]
pub(super) struct Imap {
    capabilities: Option<Vec<String>>,
    /// Untagged responses since AUTHENTICATE was sent, at most [`REPLY_CAP`] octets.
    untagged: Vec<u8>,
    bye: Option<Bytes>,
}

impl Dialect for Imap {
    const PROTOCOL: Protocol = Protocol::Imap;
    const STARTTLS: &'static str = "A1 STARTTLS";
    const AUTHENTICATE: &'static str = "A1 AUTHENTICATE";

    fn framing() -> Fragments {
        Fragments::of_responses(REPLY_CAP)
    }

    fn ask(_login: &UpstreamCredentials) -> String {
        "A1 CAPABILITY".into()
    }

    fn read(&mut self, unit: &Bytes, sent: Sent) -> Reply {
        match imap::response(unit, TAG) {
            _ if sent == Sent::Nothing => self.greeting(unit),
            Some(Response::Untagged(line)) => self.on_untagged(&line, sent),
            Some(Response::Continue(_)) => Reply::Continue,
            Some(Response::Tagged(Status::Ok, text)) => Reply::Positive(text),
            // Capabilities are useful but not required.
            Some(Response::Tagged(_, text)) if sent == Sent::Ask => Reply::Positive(text),
            Some(Response::Tagged(_, text)) => Reply::refusal(text, &TEMPORARY),
            None => Reply::Violation("a response"),
        }
    }

    fn capabilities(&mut self) -> &mut Option<Vec<String>> {
        &mut self.capabilities
    }

    fn untagged(&mut self) -> Bytes {
        std::mem::take(&mut self.untagged).into()
    }

    fn bye(&self) -> Option<&Bytes> {
        self.bye.as_ref()
    }
}

impl Imap {
    fn greeting(&mut self, unit: &Bytes) -> Reply {
        if imap::is_untagged(unit, "BYE") {
            return Reply::Negative(Refusal::Temporary, vec![unit.clone()]);
        }
        if imap::is_untagged(unit, "PREAUTH") {
            // Another user's session, or an attack that avoids STARTTLS (RFC 9051 §11.1).
            return Reply::Violation("a PREAUTH greeting");
        }
        if imap::untagged_status(unit) != Some(Status::Ok) {
            return Reply::Violation("the greeting");
        }
        self.capabilities = imap::capabilities(unit);
        Reply::Positive(Bytes::new())
    }

    fn on_untagged(&mut self, line: &Bytes, sent: Sent) -> Reply {
        match sent {
            Sent::Ask => {
                self.capabilities = imap::capabilities(line).or(self.capabilities.take());
            }
            Sent::Authenticate => {
                self.untagged.extend_from_slice(line);
                self.untagged.extend_from_slice(b"\r\n");
            }
            Sent::Nothing | Sent::StartTls => {}
        }
        if imap::is_untagged(line, "BYE") {
            self.bye = Some(line.clone());
        }
        match self.untagged.len() > REPLY_CAP {
            true => Reply::TooLong,
            false => Reply::Partial,
        }
    }
}
