//! IMAP as it is relayed: tags, literals, IDLE and COMPRESS (RFC 9051 §2.2, RFC 2177, RFC 4978).

use super::framing::{Line, LineEnds};
use crate::fault::{Fault, Kind};
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
    /// The client said LOGOUT.
    logout: bool,
    closing_announced: bool,
    line_ends: LineEnds,
    /// Whether the mailbox may still turn out to be closed to a login that was good.
    first_answers: FirstAnswers,
}

/// The upstream's answers right after the login.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum FirstAnswers {
    /// None has come.
    #[default]
    Due,
    /// One was good, so that only an answer that says so means the mailbox.
    Good,
    /// The fault was recorded.
    Refused,
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
    /// Takes octets of the client; `send` gets them for the upstream, lines with CRLF.
    pub(super) fn on_client(&mut self, octets: &[u8], send: &mut dyn FnMut(&[u8])) {
        let mut rest = octets;
        let mut ends = self.line_ends.begin(octets);
        while !rest.is_empty() && !self.opaque {
            let (after, complete) = self.up.take(rest);
            rest = after;
            if complete {
                ends.line(octets.len() - rest.len(), self.up.line.length(), send);
                self.command_line();
            }
        }
        ends.finish(send);
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
                self.logout |= line.word_is(1, "LOGOUT");
                if line.word_is(1, "COMPRESS") {
                    self.compress = Some(tag.clone());
                }
            }
        }
        if let Some((_, true)) = self.up.end_line() {
            self.announcing = Some(tag);
        }
    }

    /// Takes octets of the upstream; a fault where they say that the mailbox is closed to it.
    pub(super) fn on_upstream(&mut self, mut octets: &[u8]) -> Option<Fault> {
        let mut fault = None;
        while !octets.is_empty() && !self.opaque {
            let (rest, complete) = self.down.take(octets);
            octets = rest;
            if complete {
                fault = self.mailbox_fault().or(fault);
                self.response_line();
            }
        }
        fault
    }

    /// Exchange takes the login of a token that may not open the mailbox, and says so at the first
    /// command: "User is authenticated but not connected", or a BYE that was not asked for.
    fn mailbox_fault(&mut self) -> Option<Fault> {
        let line = &self.down.line;
        if self.down.continued || self.first_answers == FirstAnswers::Refused {
            return None;
        }
        let text = line.head().to_ascii_lowercase();
        let says_so = contains(&text, b"authenticated but not connected");
        let tagged = !matches!(line.word(0), b"*" | b"+" | b"");
        let bye = line.word(0) == b"*"
            && line.word_is(1, "BYE")
            && self.first_answers == FirstAnswers::Due
            && !self.logout
            && !contains(&text, b"accesstokenexpired");
        if !bye && !says_so {
            if tagged && line.word_is(1, "OK") {
                self.first_answers = FirstAnswers::Good;
            }
            return None;
        }
        self.first_answers = FirstAnswers::Refused;
        let said = String::from_utf8_lossy(line.head()).into_owned();
        Some(Fault::new(
            Kind::Mailbox,
            format!("the mail service took the login but does not open the mailbox: {said}"),
        ))
    }

    fn response_line(&mut self) {
        let line = &self.down.line;
        let status = ["OK", "NO", "BAD"].iter().any(|word| line.word_is(1, word));
        let text = status || line.word_is(1, "BYE") || line.word(0) == b"+";
        match line.word(0) {
            _ if self.down.continued => {}
            b"*" if line.word_is(1, "BYE") => self.closing_announced = true,
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

    pub(super) fn at_reply_boundary(&self) -> bool {
        !self.opaque && self.down.is_at_boundary()
    }

    pub(super) fn is_idle(&self) -> bool {
        let answered = self.open == 0 || (self.open == 1 && self.idling == Idling::Yes);
        self.at_reply_boundary() && answered && self.up.is_at_boundary()
    }

    pub(super) fn closing_announced(&self) -> bool {
        self.closing_announced
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}
