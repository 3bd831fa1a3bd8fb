//! IMAP seen in passing: tags, literals, IDLE and COMPRESS (RFC 9051 §2.2, RFC 2177, RFC 4978).

use super::framing::Line;
use crate::wire::line::announced;

/// Where the two directions stand.
#[derive(Debug, Default)]
pub struct Imap {
    up: Direction,
    down: Direction,
    /// Commands without tagged response.
    open: u32,
    /// The only open command is IDLE and the upstream agreed.
    idling: Idling,
    /// The tag of a COMPRESS that is not answered.
    compress: Option<Vec<u8>>,
    /// The tag of a command whose literal waits for `+`: the upstream may refuse it instead.
    announcing: Option<Vec<u8>>,
    /// Compressed, or not understood: nothing is known any more.
    opaque: bool,
    goodbye: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Idling {
    #[default]
    No,
    Asked,
    Yes,
}

#[derive(Debug, Default)]
struct Direction {
    line: Line,
    /// Octets of a literal still to come.
    literal: usize,
    /// The next line continues one in which a literal stood.
    continued: bool,
}

impl Direction {
    /// Skips what belongs to a literal, then takes a piece of a line. Returns the rest and
    /// whether the line is complete.
    fn take<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], bool) {
        let skipped = self.literal.min(bytes.len());
        self.literal -= skipped;
        let bytes = bytes.get(skipped..).unwrap_or_default();
        let (taken, complete) = self.line.take(bytes);
        (bytes.get(taken..).unwrap_or_default(), complete)
    }

    /// The line is complete: looks for a literal that it announces.
    fn end_line(&mut self) -> Option<(usize, bool)> {
        let literal = announced(self.line.end());
        self.literal = literal.map_or(0, |(octets, _)| octets);
        self.continued = literal.is_some();
        self.line.clear();
        literal
    }

    fn is_at_boundary(&self) -> bool {
        self.literal == 0 && self.line.is_empty() && !self.continued
    }
}

impl Imap {
    pub(super) fn up(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.opaque {
            let (rest, complete) = self.up.take(bytes);
            bytes = rest;
            if complete {
                self.command_line();
            }
        }
    }

    fn command_line(&mut self) {
        let line = &self.up.line;
        let mut tag = self.announcing.take().unwrap_or_default();
        if !self.up.continued {
            tag = line.word(0).to_vec();
            if line.word_is(0, "DONE") && self.idling != Idling::No {
                self.idling = Idling::No;
            } else if !tag.is_empty() {
                self.open = self.open.saturating_add(1);
                self.idling = if line.word_is(1, "IDLE") && self.open == 1 {
                    Idling::Asked
                } else {
                    Idling::No
                };
                if line.word_is(1, "COMPRESS") {
                    self.compress = Some(tag.clone());
                }
            }
        }
        if let Some((_, true)) = self.up.end_line() {
            self.announcing = Some(tag);
        }
    }

    pub(super) fn down(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.opaque {
            let (rest, complete) = self.down.take(bytes);
            bytes = rest;
            if complete {
                self.response_line();
            }
        }
    }

    fn response_line(&mut self) {
        let line = &self.down.line;
        let status = ["OK", "NO", "BAD"].iter().any(|word| line.word_is(1, word));
        let text = status || line.word_is(1, "BYE") || line.word(0) == b"+";
        match line.word(0) {
            _ if self.down.continued => {}
            b"*" if line.word_is(1, "BYE") => self.goodbye = true,
            b"*" => {}
            b"+" => {
                self.announcing = None;
                if self.idling == Idling::Asked {
                    self.idling = Idling::Yes;
                }
            }
            tag if status => {
                let tag = tag.to_vec();
                let ok = line.word_is(1, "OK");
                self.answered(&tag, ok);
            }
            _ => {}
        }
        if text && !self.down.continued {
            // Text for people may end like a literal (RFC 9051 §7.1 has none in it).
            self.down.line.clear();
        } else {
            self.down.end_line();
        }
    }

    /// A command has its tagged response.
    fn answered(&mut self, tag: &[u8], ok: bool) {
        self.open = self.open.saturating_sub(1);
        self.idling = Idling::No;
        let is = |other: &Option<Vec<u8>>| {
            other
                .as_deref()
                .is_some_and(|other| other.eq_ignore_ascii_case(tag))
        };
        if is(&self.compress) {
            self.compress = None;
            self.opaque = ok;
        }
        // Refused before its literal was sent: the literal will not come.
        if is(&self.announcing) {
            self.announcing = None;
            self.up.literal = 0;
            self.up.continued = false;
        }
    }

    pub(super) fn may_speak(&self) -> bool {
        !self.opaque && self.down.is_at_boundary()
    }

    pub(super) fn is_idle(&self) -> bool {
        let answered = self.open == 0 || (self.open == 1 && self.idling == Idling::Yes);
        self.may_speak() && answered && self.up.is_at_boundary()
    }

    pub(super) fn said_goodbye(&self) -> bool {
        self.goodbye
    }
}
