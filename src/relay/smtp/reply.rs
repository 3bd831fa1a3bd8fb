//! Scans replies in passing: their end, their code, and the beginning of their text.

use super::super::framing::line_part;

/// Octets kept of a reply.
const MAX_TEXT: usize = 1024;

/// A reply with all its lines (RFC 5321 §4.2.1).
#[derive(Debug, Default)]
pub(super) struct ReplyScanner {
    text: Vec<u8>,
    /// First octets of the current line: the code, and `-` if another line follows.
    code: [u8; 4],
    /// Octets of the current line so far.
    column: usize,
}

impl ReplyScanner {
    /// Consumes octets up to a line end. Returns how many, and whether the reply ends with them.
    pub(super) fn take(&mut self, octets: &[u8]) -> (usize, bool) {
        let (part, line_ends) = line_part(octets);
        if self.column == 0 {
            self.code = *b"   \n";
        }
        for (slot, octet) in self.code.iter_mut().skip(self.column).zip(part) {
            *slot = *octet;
        }
        self.column += part.len();
        let room = MAX_TEXT.saturating_sub(self.text.len());
        self.text.extend(part.iter().take(room));
        if line_ends {
            self.column = 0;
        }
        (part.len(), line_ends && self.code.last() != Some(&b'-'))
    }

    /// Whether a reply has begun but not ended.
    pub(super) fn is_open(&self) -> bool {
        !self.text.is_empty()
    }

    /// The three octets of the code.
    pub(super) fn code(&self) -> &[u8] {
        self.code.get(..3).unwrap_or_default()
    }

    /// Whether the reply's code is 2yz.
    pub(super) fn succeeds(&self) -> bool {
        self.code.first() == Some(&b'2')
    }

    /// Whether the reply's code is 5yz.
    pub(super) fn is_permanent(&self) -> bool {
        self.code.first() == Some(&b'5')
    }

    /// Text of all lines, joined into one.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.text);
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        lines.join(" / ")
    }
}
