//! SMTP seen in passing: replies that are due, and messages under way (RFC 5321, RFC 2920,
//! RFC 3030).

use std::collections::VecDeque;

use super::Messages;
use super::framing::{Dots, Line};

/// Replies that may be due before we lose track.
const DUE: usize = 10_000;

/// Where the two directions stand.
#[derive(Debug, Default)]
pub struct Smtp {
    up: Line,
    down: Line,
    due: VecDeque<Due>,
    /// Those whose final reply has come.
    ended: Messages,
    message: Option<Message>,
    goodbye: bool,
    /// Nothing is known any more.
    lost: bool,
}

/// What a reply that is due answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// DATA: 354 begins a message.
    Data,
    /// A message's end, by DATA or BDAT LAST: its final reply.
    Message,
    Other,
}

/// A message on its way up.
#[derive(Debug)]
enum Message {
    /// Until CRLF.CRLF.
    Data(Dots),
    /// So many octets.
    Chunk(u64),
}

impl Smtp {
    pub(super) fn up(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            match &mut self.message {
                Some(Message::Data(dots)) => {
                    let (taken, ended) = dots.take(bytes);
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if ended {
                        self.message = None;
                        self.expect(Due::Message);
                    }
                }
                Some(Message::Chunk(octets)) => {
                    let skipped = usize::try_from(*octets)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    *octets -= skipped as u64;
                    if *octets == 0 {
                        self.message = None;
                    }
                    bytes = bytes.get(skipped..).unwrap_or_default();
                }
                None => {
                    let (taken, complete) = self.up.take(bytes);
                    bytes = bytes.get(taken..).unwrap_or_default();
                    if complete {
                        self.command();
                    }
                }
            }
        }
    }

    fn command(&mut self) {
        let mut due = match self.up.word_is(0, "DATA") {
            true => Due::Data,
            false => Due::Other,
        };
        if self.up.word_is(0, "BDAT") {
            if self.up.word_is(2, "LAST") {
                due = Due::Message;
            }
            let octets = std::str::from_utf8(self.up.word(1))
                .ok()
                .and_then(|octets| octets.parse().ok());
            match octets {
                Some(0) => {}
                Some(octets) => self.message = Some(Message::Chunk(octets)),
                None => self.lost = true,
            }
        }
        self.up.clear();
        self.expect(due);
    }

    fn expect(&mut self, due: Due) {
        self.due.push_back(due);
        self.lost = self.lost || self.due.len() > DUE;
    }

    pub(super) fn down(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            let (taken, complete) = self.down.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if complete {
                self.reply_line();
            }
        }
        if self.due.is_empty() {
            self.due = VecDeque::new();
        }
    }

    fn reply_line(&mut self) {
        let head = self.down.head();
        let last = head.get(3) != Some(&b'-');
        let code = head.get(..3).unwrap_or_default();
        self.goodbye = self.goodbye || matches!(code, b"221" | b"421");
        // TLS within TLS was agreed on.
        self.lost = self.lost || code == b"220";
        if last {
            match self.due.pop_front().unwrap_or(Due::Other) {
                Due::Data if code == b"354" => self.message = Some(Message::Data(Dots::new())),
                Due::Message if code.first() == Some(&b'2') => self.ended.accepted += 1,
                Due::Message => self.ended.rejected += 1,
                Due::Data | Due::Other => {}
            }
        }
        self.down.clear();
    }

    /// Whatever waits for its final reply, or is still on its way, is lost with the session.
    pub(super) fn messages(&self) -> Messages {
        let waiting = self.due.iter().filter(|due| **due == Due::Message).count() as u64;
        let under_way = matches!(self.message, Some(Message::Data(_)));
        Messages {
            lost: waiting + u64::from(under_way),
            ..self.ended
        }
    }

    pub(super) fn may_speak(&self) -> bool {
        !self.lost && self.down.is_empty()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.may_speak() && self.due.is_empty() && self.message.is_none() && self.up.is_empty()
    }

    pub(super) fn said_goodbye(&self) -> bool {
        self.goodbye
    }
}
