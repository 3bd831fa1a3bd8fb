//! The text of a message that comes by DATA.

use std::borrow::Cow;

use super::header::{HeaderRewriter, TooLong};
use crate::relay::framing::DotText;

/// A text up to its end, CRLF.CRLF and nothing else (RFC 5321 §4.1.1.4).
#[derive(Debug)]
pub(super) struct Text {
    dots: DotText,
    header: Option<HeaderRewriter>,
    /// Where line ends are repaired: whether the last octet was CR.
    repair: Option<bool>,
    /// The last octets of the text as the client sent it.
    tail: [u8; 4],
}

/// The octets that belong to the text.
pub(super) struct Taken<'a> {
    /// Number of octets taken from the input.
    pub(super) octets: usize,
    /// The text's end is among them.
    pub(super) ended: bool,
    /// Octets that were taken, with their line ends repaired.
    pub(super) piece: Cow<'a, [u8]>,
}

impl Text {
    /// Begins after 354. `header` rewrites the header; `repair` sends LF as CRLF.
    pub(super) fn new(header: Option<HeaderRewriter>, repair: bool) -> Self {
        Self {
            dots: DotText::new(),
            header,
            repair: repair.then_some(false),
            tail: *b"\0\0\r\n",
        }
    }

    /// Octets of the text so far as they are sent, without its end and without the dots of
    /// transparency (RFC 1870 §5).
    pub(super) fn size(&self) -> u64 {
        self.dots.size()
    }

    /// Whether the text so far ends with a lone dot and a line end, and one of the line ends
    /// around the dot is LF only: the client may believe that it has ended its message.
    pub(super) fn waits_behind_bare_line_end(&self) -> bool {
        let tail = &self.tail[..];
        (tail.ends_with(b"\n.\n") || tail.ends_with(b"\n.\r\n")) && self.repair.is_none()
    }

    /// Takes octets up to the text's end. What came is sent by [`Text::forward`].
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

    /// Line by line: LF without CR before it becomes CRLF.
    fn take_repaired(&mut self, octets: &[u8], mut cr: bool) -> Taken<'static> {
        let mut repaired = Vec::with_capacity(octets.len() + octets.len() / 32 + 2);
        let (mut at, mut ended) = (0, false);
        while at < octets.len() && !ended {
            let rest = octets.get(at..).unwrap_or_default();
            let (length, complete) = match memchr::memchr(b'\n', rest) {
                Some(end) => (end + 1, true),
                None => (rest.len(), false),
            };
            let line = rest.get(..length).unwrap_or_default();
            let body = line.strip_suffix(b"\n").unwrap_or(line);
            let has_cr = body.last().map_or(cr, |octet| *octet == b'\r');
            let begin = repaired.len();
            repaired.extend_from_slice(body);
            if complete {
                repaired.extend_from_slice(if has_cr { b"\n" } else { b"\r\n" });
            }
            cr = !complete && has_cr;
            at += length;
            ended = self.dots.take(repaired.get(begin..).unwrap_or_default()).1;
        }
        self.repair = Some(cr);
        Taken {
            octets: at,
            ended,
            piece: repaired.into(),
        }
    }

    /// Sends a piece of the text: with `send` as it is, but for a header that is rewritten.
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
            self.tail.rotate_left(1);
            if let Some(last) = self.tail.last_mut() {
                *last = *octet;
            }
        }
    }
}
