//! Line framing that keeps only the first octets of each line, and the end of dot-terminated text.

use memchr::memchr;

use super::interface::{Action, Out};
use crate::wire::literal::Head;

/// Octets up to the first line end, and whether that is among them.
pub(super) fn line_part(bytes: &[u8]) -> (&[u8], bool) {
    match memchr(b'\n', bytes) {
        Some(end) => (bytes.get(..=end).unwrap_or_default(), true),
        None => (bytes, false),
    }
}

/// Whether the last octet of a line is CR, apart from its LF. `before` says it of the line's earlier
/// parts.
pub(super) fn has_cr(part: &[u8], before: bool) -> bool {
    let body = part.strip_suffix(b"\n").unwrap_or(part);
    body.last().map_or(before, |octet| *octet == b'\r')
}

/// The line without CRLF or LF.
pub(super) fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// A line, of which only the head is kept.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) head: Head,
    /// Whether the last octet before LF is CR.
    pub(super) cr: bool,
}

impl Line {
    /// Consumes octets up to the end of the line. Returns how many, and whether the line is
    /// complete.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let (part, complete) = line_part(bytes);
        self.head.push(part);
        self.cr = has_cr(part, self.cr);
        (part.len(), complete)
    }
}

/// Sends a client's lines with CRLF where they end with LF only. All other octets are unchanged and
/// sent in as few pieces as possible.
pub(super) struct LineEnds<'a> {
    octets: &'a [u8],
    /// Number of octets already sent.
    sent: usize,
}

impl<'a> LineEnds<'a> {
    /// Begins with one piece of input.
    pub(super) fn of(octets: &'a [u8]) -> Self {
        Self { octets, sent: 0 }
    }

    /// Sends the line whose bare LF is just before `end`, with CRLF.
    pub(super) fn repair(&mut self, end: usize, out: Out<'_>) {
        if let Some(piece @ [_, ..]) = self.octets.get(self.sent..end.saturating_sub(1)) {
            out(Action::ToUpstream(piece));
        }
        out(Action::ToUpstream(b"\r\n"));
        self.sent = end;
    }

    /// Sends the remaining octets.
    pub(super) fn finish(self, out: Out<'_>) {
        if let Some(rest @ [_, ..]) = self.octets.get(self.sent..) {
            out(Action::ToUpstream(rest));
        }
    }
}

/// Finds the end of a dot-terminated text: CRLF "." CRLF only (RFC 1939 §3, RFC 5321 §4.1.1.4).
#[derive(Debug)]
pub(super) struct DotText {
    /// Number of octets of CRLF.CRLF matched so far.
    matched: usize,
    octets: u64,
    /// Number of dots after CRLF, which transparency added (RFC 5321 §4.5.2).
    stuffed: u64,
}

const END: &[u8; 5] = b"\r\n.\r\n";

/// Beginning of the end, or of a line with an added dot.
const DOT: &[u8; 3] = b"\r\n.";

impl DotText {
    /// Begins at the start of a line, where a single dot ends the text.
    pub(super) fn new() -> Self {
        Self {
            matched: 2,
            octets: 0,
            stuffed: 0,
        }
    }

    /// Size of the text so far, without its end and without added dots (RFC 1870 §5).
    pub(super) fn size(&self) -> u64 {
        let ending = self.matched.saturating_sub(DOT.len()) as u64;
        self.octets.saturating_sub(self.stuffed + ending)
    }

    /// Consumes octets up to the end of the text. Returns how many, and whether they include the
    /// end.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        loop {
            // A match in progress continues octet by octet.
            while self.matched > 0 {
                let Some(octet) = bytes.get(at) else {
                    return (at, false);
                };
                at += 1;
                self.octets += 1;
                if END.get(self.matched) == Some(octet) {
                    self.matched += 1;
                    self.stuffed += u64::from(self.matched == DOT.len());
                    if self.matched == END.len() {
                        return (at, true);
                    }
                } else {
                    // CR may begin another match.
                    self.matched = usize::from(*octet == b'\r');
                }
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let skipped = match memchr::memmem::find(rest, DOT) {
                Some(found) => {
                    self.matched = DOT.len();
                    self.stuffed += 1;
                    found + DOT.len()
                }
                None => {
                    // Longest beginning of a match at the end of the input.
                    self.matched = (1..DOT.len())
                        .rev()
                        .find(|length| DOT.get(..*length).is_some_and(|part| rest.ends_with(part)))
                        .unwrap_or(0);
                    rest.len()
                }
            };
            at += skipped;
            self.octets += skipped as u64;
            if at == bytes.len() {
                return (at, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_and_are_counted() {
        for (text, taken, size) in [
            (".\r\nNOOP", Some(3), 0),
            ("a\r\n.\r\n", Some(6), 3),
            ("..a\r\n.b\r\n.\r\n", Some(12), 7),
            ("a\n.\n\r\n.\n\r.\r\n\r\n.\r\r\n.\r\nx", Some(21), 16),
            ("a\r\n.\r", None, 3),
            ("a\r\n.", None, 3),
            ("\r\r\n", None, 3),
        ] {
            for cut in 0..=text.len() {
                let mut dots = DotText::new();
                let (head, tail) = text.as_bytes().split_at(cut);
                let (first, ended) = dots.take(head);
                let found = match ended {
                    true => Some(first),
                    false => match dots.take(tail) {
                        (second, true) => Some(first + second),
                        (_, false) => None,
                    },
                };
                assert_eq!(found, taken, "{text:?} cut at {cut}");
                assert_eq!(dots.size(), size, "{text:?} cut at {cut}");
            }
        }
    }
}
