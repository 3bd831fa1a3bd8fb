//! Tracks relayed POP3: which replies are pending, and which of them have several lines (RFC 1939,
//! RFC 2449).

use std::collections::VecDeque;

use super::framing::{DotText, Line, LineEnds};
use crate::fault::{Fault, Kind};

/// Maximum number of pending replies that are tracked.
const DUE: usize = 10_000;

/// A pending reply.
#[derive(Debug, Clone, Copy)]
struct Due {
    /// Whether a successful reply has several lines.
    several: bool,
    /// Whether it answers STAT, LIST or UIDL, which an accessible mailbox never refuses.
    mailbox: bool,
}

/// State of both directions of a POP3 session.
#[derive(Debug, Default)]
pub struct Pop3 {
    up: Line,
    down: Line,
    due: VecDeque<Due>,
    /// Position inside a reply of several lines.
    body: Option<DotText>,
    quit: bool,
    /// Whether the first command about the mailbox was answered.
    mailbox_answered: bool,
    /// Whether that reply showed a closed mailbox; an end of the session is then expected.
    refused: bool,
    /// Whether tracking was given up.
    lost: bool,
}

impl Pop3 {
    /// Handles octets from the client. `send` gets them for the upstream, lines with CRLF.
    pub(super) fn on_client(&mut self, octets: &[u8], send: &mut dyn FnMut(&[u8])) {
        let mut rest = octets;
        let mut ends = LineEnds::of(octets);
        while !rest.is_empty() && !self.lost {
            let (taken, complete) = self.up.take(rest);
            rest = rest.get(taken..).unwrap_or_default();
            if complete {
                if self.up.is_bare() {
                    ends.repair(octets.len() - rest.len(), send);
                }
                self.command();
            }
        }
        ends.finish(send);
    }

    fn command(&mut self) {
        let argument = !self.up.word(1).is_empty();
        let verb = self.up.word(0).to_ascii_uppercase();
        let several = match verb.as_slice() {
            b"RETR" | b"TOP" | b"CAPA" => true,
            b"LANG" | b"LIST" | b"UIDL" | b"AUTH" => !argument,
            b"QUIT" => {
                self.quit = true;
                false
            }
            _ => false,
        };
        let mailbox = !argument && matches!(verb.as_slice(), b"STAT" | b"LIST" | b"UIDL");
        self.due.push_back(Due { several, mailbox });
        self.lost = self.due.len() > DUE;
        self.up.clear();
    }

    /// Handles octets from the upstream. Returns a fault if they show that the mailbox is closed.
    pub(super) fn on_upstream(&mut self, mut octets: &[u8]) -> Option<Fault> {
        let mut fault = None;
        while !octets.is_empty() && !self.lost {
            if let Some(body) = &mut self.body {
                let (taken, ended) = body.take(octets);
                octets = octets.get(taken..).unwrap_or_default();
                if ended {
                    self.body = None;
                }
                continue;
            }
            let (taken, complete) = self.down.take(octets);
            octets = octets.get(taken..).unwrap_or_default();
            if complete {
                let due = self.due.pop_front();
                let good = self.down.word_is(0, "+OK");
                if due.is_some_and(|due| due.several) && good {
                    self.body = Some(DotText::new());
                }
                if due.is_some_and(|due| due.mailbox)
                    && !std::mem::replace(&mut self.mailbox_answered, true)
                    && !good
                {
                    self.refused = true;
                    let said = String::from_utf8_lossy(self.down.head()).into_owned();
                    fault = Some(Fault::new(
                        Kind::Mailbox,
                        format!(
                            "the mail service took the login but does not open the mailbox: {said}"
                        ),
                    ));
                }
                self.down.clear();
            }
        }
        if self.due.is_empty() {
            self.due = VecDeque::new();
        }
        fault
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.lost
            && self.due.is_empty()
            && self.body.is_none()
            && self.down.is_empty()
            && self.up.is_empty()
    }

    pub(super) fn closing_announced(&self) -> bool {
        // Replies before that to QUIT must still arrive.
        (self.quit && self.due.len() <= 1 && self.body.is_none()) || self.refused
    }
}
