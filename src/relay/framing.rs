//! Lines and blobs seen in passing: the first octets of each line, no more.

use memchr::memchr;

/// Octets of a line's head that are kept: enough for a tag of 64 and a verb, or a reply code.
const HEAD: usize = 96;

/// Octets of a line's end that are kept: enough for an announced literal.
const TAIL: usize = 24;

/// A line as far as it is known: its head, and its end where the head was not all.
#[derive(Debug, Default)]
pub(super) struct Line {
    head: Vec<u8>,
    tail: Vec<u8>,
    length: usize,
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
        let (head, rest) = part.split_at_checked(room).unwrap_or_default();
        self.head.extend_from_slice(head);
        self.tail.extend_from_slice(
            rest.get(rest.len().saturating_sub(TAIL)..)
                .unwrap_or_default(),
        );
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
        self.length += part.len();
        (taken, complete)
    }

    /// Whether nothing of it has come.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The head, without the line's end.
    pub(super) fn head(&self) -> &[u8] {
        self.head.trim_ascii_end()
    }

    /// The last octets, without the line's end.
    pub(super) fn end(&self) -> &[u8] {
        if self.tail.is_empty() {
            &self.head
        } else {
            &self.tail
        }
        .trim_ascii_end()
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

/// Finds the end of a dot-terminated text (RFC 1939 §3, RFC 5321 §4.1.1.4): CRLF "." CRLF and
/// nothing else.
#[derive(Debug)]
pub(super) struct Dots {
    /// How much of CRLF.CRLF has been seen.
    matched: usize,
}

const END: &[u8; 5] = b"\r\n.\r\n";

impl Dots {
    /// At the beginning of a line, where a dot alone ends the text at once.
    pub(super) fn new() -> Self {
        Self { matched: 2 }
    }

    /// Takes bytes up to the text's end. Returns how many were taken and whether the end is
    /// among them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        // A match that began in an earlier piece goes on octet by octet.
        while self.matched > 0 {
            let Some(octet) = bytes.get(at) else {
                return (at, false);
            };
            at += 1;
            if END.get(self.matched) == Some(octet) {
                self.matched += 1;
                if self.matched == END.len() {
                    return (at, true);
                }
            } else {
                // CR may begin anew, wherever it stands.
                self.matched = usize::from(*octet == b'\r');
            }
        }
        let rest = bytes.get(at..).unwrap_or_default();
        if let Some(found) = memchr::memmem::find(rest, END) {
            return (at + found + END.len(), true);
        }
        // The longest beginning of a match that stands at the end.
        self.matched = (1..END.len())
            .rev()
            .find(|length| END.get(..*length).is_some_and(|part| rest.ends_with(part)))
            .unwrap_or(0);
        (bytes.len(), false)
    }
}
