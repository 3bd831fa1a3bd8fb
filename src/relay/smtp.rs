//! SMTP seen in passing: replies that are due, and messages under way (RFC 5321, RFC 2920,
//! RFC 3030).

use std::collections::VecDeque;

use super::framing::{Dots, Line};

/// Replies that may be due before we lose track.
const DUE: usize = 10_000;

/// Where the two directions stand.
#[derive(Debug, Default)]
pub struct Smtp {
    up: Line,
    down: Line,
    /// For each reply that is due: whether it is DATA's.
    due: VecDeque<bool>,
    message: Option<Message>,
    goodbye: bool,
    /// Nothing is known any more.
    lost: bool,
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
                        self.expect(false);
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
        let data = self.up.word_is(0, "DATA");
        if self.up.word_is(0, "BDAT") {
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
        self.expect(data);
    }

    fn expect(&mut self, data: bool) {
        self.due.push_back(data);
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
            let data = self.due.pop_front().unwrap_or(false);
            if data && code == b"354" {
                self.message = Some(Message::Data(Dots::new()));
            }
        }
        self.down.clear();
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
