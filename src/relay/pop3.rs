//! Tracks relayed POP3: which replies are pending, and which of them have several lines (RFC 1939,
//! RFC 2449).

use std::collections::VecDeque;

use super::framing::{DotText, Line, LineEnds};
use super::interface::{Action, Event, Out, TrackedProtocol};
use crate::wire::Protocol;

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

impl TrackedProtocol for Pop3 {
    fn protocol(&self) -> Protocol {
        Protocol::Pop3
    }

    fn on_client(&mut self, octets: &[u8], out: Out<'_>) {
        let mut rest = octets;
        let mut ends = LineEnds::of(octets);
        while !rest.is_empty() && !self.lost {
            let (taken, complete) = self.up.take(rest);
            rest = rest.get(taken..).unwrap_or_default();
            if complete {
                if !self.up.cr {
                    ends.repair(octets.len() - rest.len(), out);
                }
                self.command();
            }
        }
        ends.finish(out);
    }

    fn on_upstream(&mut self, octets: &[u8], out: Out<'_>) {
        out(Action::ToClient(octets));
        let mut rest = octets;
        while !rest.is_empty() && !self.lost {
            if let Some(body) = &mut self.body {
                let (taken, ended) = body.take(rest);
                rest = rest.get(taken..).unwrap_or_default();
                if ended {
                    self.body = None;
                }
                continue;
            }
            let (taken, complete) = self.down.take(rest);
            rest = rest.get(taken..).unwrap_or_default();
            if complete {
                self.reply(out);
            }
        }
        if self.due.is_empty() {
            self.due = VecDeque::new();
        }
    }

    fn at_reply_boundary(&self) -> bool {
        // RFC 1939 has no unsolicited replies.
        false
    }

    fn is_idle(&self) -> bool {
        !self.lost
            && self.due.is_empty()
            && self.body.is_none()
            && self.down.head.is_empty()
            && self.up.head.is_empty()
    }

    fn closing_announced(&self) -> bool {
        // Replies before that to QUIT must still arrive.
        (self.quit && self.due.len() <= 1 && self.body.is_none()) || self.refused
    }
}

impl Pop3 {
    fn command(&mut self) {
        let line = std::mem::take(&mut self.up).head;
        let argument = !line.word(1).is_empty();
        let verb = line.word(0).to_ascii_uppercase();
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
    }

    /// Handles the first line of a reply.
    fn reply(&mut self, out: Out<'_>) {
        let due = self.due.pop_front();
        let line = std::mem::take(&mut self.down).head;
        let good = line.word_is(0, "+OK");
        if due.is_some_and(|due| due.several) && good {
            self.body = Some(DotText::new());
        }
        if due.is_some_and(|due| due.mailbox)
            && !std::mem::replace(&mut self.mailbox_answered, true)
            && !good
        {
            self.refused = true;
            out(Action::Record(Event::mailbox_closed(line.text())));
        }
    }
}
