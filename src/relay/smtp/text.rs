//! Text of a message sent by DATA.

use std::borrow::Cow;

use super::header::{HeaderRewriter, TooLong};
use crate::relay::framing::{DotText, has_cr, line_part};

/// A text that ends with CRLF.CRLF only (RFC 5321 §4.1.1.4).
#[derive(Debug)]
pub(super) struct Text {
    dots: DotText,
    header: Option<HeaderRewriter>,
    /// State of the repair of line ends: whether the last octet was CR. `None` without repair.
    repair: Option<bool>,
    /// Last octets of the text as the client sent it.
    tail: [u8; 4],
}

/// Octets consumed as part of the text.
pub(super) struct Taken<'a> {
    /// Number of octets consumed from the input.
    pub(super) octets: usize,
    /// Whether they include the end of the text.
    pub(super) ended: bool,
    /// The octets, with their line ends repaired.
    pub(super) piece: Cow<'a, [u8]>,
}

impl Text {
    /// Begins after 354. `header` rewrites the header; `repair` replaces bare LF by CRLF.
    pub(super) fn new(header: Option<HeaderRewriter>, repair: bool) -> Self {
        Self {
            dots: DotText::new(),
            header,
            repair: repair.then_some(false),
            tail: *b"\0\0\r\n",
        }
    }

    /// Size of the text so far as it is sent, without its end and without added dots (RFC 1870 §5).
    pub(super) fn size(&self) -> u64 {
        self.dots.size()
    }

    /// Whether the text so far ends with a lone dot and a line end, and LF without CR precedes or
    /// ends that line. The client may then believe that its message has ended.
    pub(super) fn waits_behind_bare_line_end(&self) -> bool {
        let tail = &self.tail[..];
        (tail.ends_with(b"\n.\n") || tail.ends_with(b"\n.\r\n")) && self.repair.is_none()
    }

    /// Consumes octets up to the end of the text. Send them with [`Text::forward`].
    pub(super) fn take<'a>(&mut self, octets: &'a [u8]) -> Taken<'a> {
        let taken = match self.repair {
            None => {
                let (taken, ended) = self.dots.take(octets);
                Taken {
                    octets: taken,
                    ended,
                    piece: octets.get(..taken).unwrap_or_default().into(),
                }
            }
            Some(cr) => self.take_repaired(octets, cr),
        };
        self.note_tail(octets.get(..taken.octets).unwrap_or_default());
        taken
    }

    /// Consumes octets line by line and replaces bare LF by CRLF.
    fn take_repaired(&mut self, octets: &[u8], mut cr: bool) -> Taken<'static> {
        let mut repaired = Vec::with_capacity(octets.len() + octets.len() / 32 + 2);
        let (mut at, mut ended) = (0, false);
        while at < octets.len() && !ended {
            let rest = octets.get(at..).unwrap_or_default();
            let (line, complete) = line_part(rest);
            cr = has_cr(line, cr);
            let begin = repaired.len();
            match (complete, cr) {
                (true, false) => {
                    repaired.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
                    repaired.extend_from_slice(b"\r\n");
                }
                (_, _) => repaired.extend_from_slice(line),
            }
            cr &= !complete;
            at += line.len();
            ended = self.dots.take(repaired.get(begin..).unwrap_or_default()).1;
        }
        self.repair = Some(cr);
        Taken {
            octets: at,
            ended,
            piece: repaired.into(),
        }
    }

    /// Sends a piece of the text through `send`, rewriting the header if required.
    pub(super) fn forward(
        &mut self,
        piece: &[u8],
        send: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TooLong> {
        match &mut self.header {
            Some(header) if !header.is_done() => {
                let mut rewritten = Vec::new();
                let used = header.take(piece, &mut rewritten)?;
                rewritten.extend_from_slice(piece.get(used..).unwrap_or_default());
                send(&rewritten);
            }
            Some(_) | None => send(piece),
        }
        Ok(())
    }

    fn note_tail(&mut self, octets: &[u8]) {
        for octet in octets
            .iter()
            .skip(octets.len().saturating_sub(self.tail.len()))
        {
            let [_, second, third, fourth] = self.tail;
            self.tail = [second, third, fourth, *octet];
        }
    }
}
