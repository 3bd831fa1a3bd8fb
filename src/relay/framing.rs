//! Lines and blobs seen in passing: the first octets of each line, no more.

use memchr::memchr;

/// Octets of a line's head that are kept: enough for a tag of 64 and a verb, or a reply code.
const HEAD: usize = 96;

/// A line as far as it is known: its head.
#[derive(Debug, Default)]
pub(super) struct Line {
    head: Vec<u8>,
    length: usize,
    /// The last octet, its LF apart, is CR.
    cr: bool,
}

impl Line {
    /// Takes bytes up to the line's end; `true` when it is complete. Returns how many were taken.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let (taken, complete) = match memchr(b'\n', bytes) {
            Some(at) => (at + 1, true),
            None => (bytes.len(), false),
        };
        let part = bytes.get(..taken).unwrap_or_default();
        let room = HEAD.saturating_sub(self.head.len()).min(part.len());
        self.head.extend(part.get(..room).unwrap_or_default());
        self.length += part.len();
        let body = part.strip_suffix(b"\n").unwrap_or(part);
        self.cr = body.last().map_or(self.cr, |octet| *octet == b'\r');
        (taken, complete)
    }

    /// Whether the complete line ended with LF only.
    pub(super) fn is_bare(&self) -> bool {
        !self.cr
    }

    /// Whether nothing of it has come.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The head, without the line's end.
    pub(super) fn head(&self) -> &[u8] {
        self.head.trim_ascii_end()
    }

    /// Whether the head's `n`th word is `word`, in any case.
    pub(super) fn word_is(&self, n: usize, word: &str) -> bool {
        self.word(n).eq_ignore_ascii_case(word.as_bytes())
    }

    /// The head's `n`th word, from 0; empty if there is none.
    pub(super) fn word(&self, n: usize) -> &[u8] {
        self.head()
            .split(|octet| *octet == b' ')
            .nth(n)
            .unwrap_or_default()
    }

    /// Ready for the next; an idle session keeps nothing.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Sends a client's lines with CRLF where they end with LF only; all other octets as they are, in
/// as few pieces as can be.
pub(super) struct LineEnds<'a> {
    octets: &'a [u8],
    /// Number of them that were sent.
    sent: usize,
}

impl<'a> LineEnds<'a> {
    /// Begins with the octets of one input.
    pub(super) fn of(octets: &'a [u8]) -> Self {
        Self { octets, sent: 0 }
    }

    /// A line that ended with LF only has its end before `end`.
    pub(super) fn repair(&mut self, end: usize, send: &mut dyn FnMut(&[u8])) {
        if let Some(piece @ [_, ..]) = self.octets.get(self.sent..end.saturating_sub(1)) {
            send(piece);
        }
        send(b"\r\n");
        self.sent = end;
    }

    /// Sends the octets that were held back.
    pub(super) fn finish(self, send: &mut dyn FnMut(&[u8])) {
        if let Some(rest @ [_, ..]) = self.octets.get(self.sent..) {
            send(rest);
        }
    }
}

/// Finds the end of a dot-terminated text (RFC 1939 §3, RFC 5321 §4.1.1.4): CRLF "." CRLF and
/// nothing else.
#[derive(Debug)]
pub(super) struct DotText {
    /// Part of CRLF.CRLF that has been seen.
    matched: usize,
    octets: u64,
    /// Dots after CRLF, which transparency added (RFC 5321 §4.5.2).
    stuffed: u64,
}

const END: &[u8; 5] = b"\r\n.\r\n";

/// Beginning of an end, or of a line with a dot too many.
const DOT: &[u8; 3] = b"\r\n.";

impl DotText {
    /// At the beginning of a line, where a single dot ends the text at once.
    pub(super) fn new() -> Self {
        Self {
            matched: 2,
            octets: 0,
            stuffed: 0,
        }
    }

    /// Octets of the text so far, without its end and without the dots of transparency
    /// (RFC 1870 §5).
    pub(super) fn size(&self) -> u64 {
        let ending = self.matched.saturating_sub(DOT.len()) as u64;
        self.octets.saturating_sub(self.stuffed + ending)
    }

    /// Takes bytes up to the text's end. Returns how many were taken and whether the end is
    /// among them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        loop {
            // A match that has begun goes on octet by octet.
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
                    // CR may begin again, wherever it stands.
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
                    // The longest beginning of a match that stands at the end.
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
