//! POP3 seen in passing: which replies are due, and which of them have several lines (RFC 1939,
//! RFC 2449).

use std::collections::VecDeque;

use super::framing::{Dots, Line};

/// Replies that may be due before we lose track.
const DUE: usize = 10_000;

/// Where the two directions stand.
#[derive(Debug, Default)]
pub struct Pop3 {
    up: Line,
    down: Line,
    /// For each reply that is due: whether success has several lines.
    due: VecDeque<bool>,
    /// Inside a reply of several lines.
    body: Option<Dots>,
    quit: bool,
    /// Nothing is known any more.
    lost: bool,
}

impl Pop3 {
    pub(super) fn up(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            let (taken, complete) = self.up.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if !complete {
                continue;
            }
            let argument = !self.up.word(1).is_empty();
            let several = match self.up.word(0).to_ascii_uppercase().as_slice() {
                b"RETR" | b"TOP" | b"CAPA" => true,
                b"LIST" | b"UIDL" | b"AUTH" => !argument,
                b"QUIT" => {
                    self.quit = true;
                    false
                }
                _ => false,
            };
            self.due.push_back(several);
            self.lost = self.due.len() > DUE;
            self.up.clear();
        }
    }

    pub(super) fn down(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            if let Some(body) = &mut self.body {
                let (taken, ended) = body.take(bytes);
                bytes = bytes.get(taken..).unwrap_or_default();
                if ended {
                    self.body = None;
                }
                continue;
            }
            let (taken, complete) = self.down.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
            if complete {
                let several = self.due.pop_front().unwrap_or(false);
                if several && self.down.word_is(0, "+OK") {
                    self.body = Some(Dots::new());
                }
                self.down.clear();
            }
        }
        if self.due.is_empty() {
            self.due = VecDeque::new();
        }
    }

    pub(super) fn may_speak(&self) -> bool {
        // RFC 1939 knows no reply that nobody asked for.
        false
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.lost
            && self.due.is_empty()
            && self.body.is_none()
            && self.down.is_empty()
            && self.up.is_empty()
    }

    pub(super) fn said_goodbye(&self) -> bool {
        self.quit
    }
}
