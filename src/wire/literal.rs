//! Scans IMAP lines and literals in passing. Only this module decides where a command or response
//! ends.
//!
//! ```abnf
//! literal  = "{" number64 ["+"] "}" CRLF *CHAR8   ; RFC 9051 §9, RFC 7888
//! literal8 = "~" literal                          ; RFC 3516
//! ```
//!
//! A line announces a literal if it ends in an announcement, whatever precedes it. LF without CR
//! also ends a line. The scanner keeps only the head of a command or response and a few octets of
//! state, however long the lines are.

use memchr::{memchr, memrchr};

/// Longest tag of a command, in octets: clients make short ones, and no RFC bounds them.
pub const TAG_CAP: usize = 1000;

/// Octets kept of a head, unless its tag is longer.
const HEAD: usize = 96;

/// Octets kept behind the tag at least: the verb of a command, or the status of a response.
const VERB: usize = 32;

/// A literal announced at the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal {
    /// Size in octets; `u64::MAX` also stands for larger numbers.
    pub octets: u64,
    /// Whether the sender waits for `+` before it sends the literal.
    pub synchronizing: bool,
}

/// The end of a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Head of the command or response if this is its first line; `None` if the line continues one
    /// after a literal.
    pub head: Option<Head>,
    /// Literal that follows and belongs to the same command or response.
    pub literal: Option<Literal>,
    /// Whether the line ended with LF without CR.
    pub bare: bool,
}

/// The first octets of a command or response, up to the end of its first line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head(Vec<u8>);

impl Head {
    /// Appends octets of the first line, as far as there is room: 96 octets, or a longer tag and 32
    /// octets behind it.
    pub fn push(&mut self, part: &[u8]) {
        let kept = self.0.len();
        let blank = memchr(b' ', &self.0).or_else(|| Some(kept + memchr(b' ', part)?));
        let cap = HEAD.max(blank.unwrap_or(TAG_CAP).min(TAG_CAP) + VERB);
        self.0.extend(part.iter().take(cap.saturating_sub(kept)));
    }

    /// Whether no octet has arrived.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The kept part of the line, without trailing whitespace.
    pub fn text(&self) -> &[u8] {
        self.0.trim_ascii_end()
    }

    /// The `n`th word, counted from 0; empty if there is none.
    pub fn word(&self, n: usize) -> &[u8] {
        let mut words = self.text().split(|octet| *octet == b' ');
        words.nth(n).unwrap_or_default()
    }

    /// Whether the `n`th word is `word`, ignoring case.
    pub fn word_is(&self, n: usize, word: &str) -> bool {
        self.word(n).eq_ignore_ascii_case(word.as_bytes())
    }

    /// Whether a response is human-readable text, which never announces a literal.
    ///
    /// ```abnf
    /// resp-text    = ["[" resp-text-code "]" SP] [text]     ; RFC 9051 §9
    /// continue-req = "+" SP (resp-text / base64) CRLF
    /// ```
    fn is_text(&self) -> bool {
        let status = ["OK", "NO", "BAD", "BYE", "PREAUTH"];
        self.word(0).starts_with(b"+") || status.iter().any(|word| self.word_is(1, word))
    }
}

/// Progress in recognizing a literal's announcement at the end of the input so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Announcement {
    #[default]
    None,
    /// The octet `{` was read.
    Brace,
    /// `{` and digits were read.
    Digits(u64),
    /// `{`, digits and `+` were read.
    Plus(u64),
    /// The closing brace was read.
    Complete(Literal),
    /// The CR after the brace was read.
    Return(Literal),
}

impl Announcement {
    fn then(self, octet: u8) -> Self {
        let complete = |octets, synchronizing| {
            Self::Complete(Literal {
                octets,
                synchronizing,
            })
        };
        match (self, octet) {
            (_, b'{') => Self::Brace,
            (Self::Brace, b'0'..=b'9') => Self::Digits(u64::from(octet - b'0')),
            (Self::Digits(number), b'0'..=b'9') => {
                let digit = u64::from(octet - b'0');
                Self::Digits(number.saturating_mul(10).saturating_add(digit))
            }
            (Self::Digits(number), b'+') => Self::Plus(number),
            (Self::Digits(number), b'}') => complete(number, true),
            (Self::Plus(number), b'}') => complete(number, false),
            (Self::Complete(literal), b'\r') => Self::Return(literal),
            _ => Self::None,
        }
    }

    /// Continues after `part`, which contains no line end.
    fn continued_by(self, part: &[u8]) -> Self {
        let (mut state, part) = match memrchr(b'{', part) {
            Some(at) => (Self::None, part.get(at..).unwrap_or_default()),
            None => (self, part),
        };
        for octet in part {
            state = state.then(*octet);
            if state == Self::None {
                break;
            }
        }
        state
    }

    fn literal(self) -> Option<Literal> {
        match self {
            Self::Complete(literal) | Self::Return(literal) => Some(literal),
            _ => None,
        }
    }
}

/// Scanner of one direction of a session.
#[derive(Debug, Default)]
pub struct Scanner {
    /// Whether a server sends this direction: its responses may be human-readable text.
    responses: bool,
    head: Head,
    announcement: Announcement,
    /// Whether octets of the current line have arrived.
    begun: bool,
    /// Whether the last octet of the line was CR.
    cr: bool,
    /// Remaining octets of the current literal.
    literal: u64,
    /// Whether the line continues a command or response after a literal.
    continued: bool,
}

impl Scanner {
    /// Creates a scanner at the beginning of a client's command.
    pub fn of_commands() -> Self {
        Self::default()
    }

    /// Creates a scanner at the beginning of a server's response.
    pub fn of_responses() -> Self {
        Self {
            responses: true,
            ..Self::default()
        }
    }

    /// Consumes octets up to the end of a line at most, including a literal before it. Returns the
    /// number of octets consumed, and the line if it ended.
    pub fn take(&mut self, bytes: &[u8]) -> (usize, Option<Line>) {
        let skipped = usize::try_from(self.literal)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        self.literal -= skipped as u64;
        let bytes = bytes.get(skipped..).unwrap_or_default();
        if bytes.is_empty() {
            return (skipped, None);
        }
        let end = memchr(b'\n', bytes);
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if !self.continued {
            self.head.push(part);
        }
        self.announcement = self.announcement.continued_by(part);
        self.cr = part.last().map_or(self.cr, |octet| *octet == b'\r');
        match end {
            Some(end) => (skipped + end + 1, Some(self.end_line())),
            None => {
                self.begun = true;
                (skipped + part.len(), None)
            }
        }
    }

    fn end_line(&mut self) -> Line {
        let announcement = std::mem::take(&mut self.announcement);
        let head = std::mem::take(&mut self.head);
        let head = (!self.continued).then_some(head);
        let text = self.responses && head.as_ref().is_some_and(Head::is_text);
        let literal = announcement.literal().filter(|_| !text);
        self.begun = false;
        self.continued = literal.is_some();
        self.literal = literal.map_or(0, |literal| literal.octets);
        let bare = !std::mem::take(&mut self.cr);
        Line {
            head,
            literal,
            bare,
        }
    }

    /// Remaining octets of the current literal.
    pub fn literal(&self) -> u64 {
        self.literal
    }

    /// Resets the scanner after a command was refused before its literal was sent.
    pub fn abandon(&mut self) {
        *self = Self {
            responses: self.responses,
            ..Self::default()
        };
    }

    /// Whether the scanner is between two commands or responses.
    pub fn is_at_boundary(&self) -> bool {
        !self.begun && !self.continued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal_announcement(line: &str) -> Option<(u64, bool)> {
        let mut scanner = Scanner::of_commands();
        let (taken, end) = scanner.take(line.as_bytes());
        assert_eq!(taken, line.len());
        let literal = end.unwrap().literal;
        literal.map(|literal| (literal.octets, literal.synchronizing))
    }

    #[test]
    fn what_is_an_announcement() {
        let large = "{99999999999999999999999+}\r\n";
        for (line, literal) in [
            ("x {0}\r\n", Some((0, true))),
            ("x{3+}\r\n", Some((3, false))),
            ("a APPEND x ~{310}\n", Some((310, true))),
            ("{{12}\r\n", Some((12, true))),
            ("{1}{2}\r\n", Some((2, true))),
            (large, Some((u64::MAX, false))),
            ("{}\r\n", None),
            ("{a}\r\n", None),
            ("3}\r\n", None),
            ("{3\r\n", None),
            ("{+}\r\n", None),
            ("{3}x\r\n", None),
            ("{3} \r\n", None),
            ("{3++}\r\n", None),
            ("{3}\r\r\n", None),
            ("\r\n", None),
        ] {
            assert_eq!(literal_announcement(line), literal, "{line}");
        }
    }

    /// The end of a line is recognized however long the line is and wherever it is cut.
    #[test]
    fn d03_long_lines_announce_like_short_ones() {
        for length in 0..300 {
            let line = format!("* {}{{310}}\r\n", "x".repeat(length));
            for cut in 0..line.len() {
                let mut scanner = Scanner::of_responses();
                let (head, tail) = line.as_bytes().split_at(cut);
                assert_eq!(scanner.take(head), (cut, None));
                let (taken, end) = scanner.take(tail);
                assert_eq!(taken, tail.len());
                assert_eq!(
                    end.unwrap().literal.map(|literal| literal.octets),
                    Some(310)
                );
                assert_eq!(scanner.literal(), 310);
                assert!(!scanner.is_at_boundary());
            }
        }
    }

    #[test]
    fn a_command_goes_on_behind_its_literal() {
        let mut scanner = Scanner::of_commands();
        let input = b"a APPEND x {4+}\r\nb\r\n{ {1}\r\nx\r\nc NOOP\r\n";
        let mut lines = Vec::new();
        let mut at = 0;
        while at < input.len() {
            let (taken, line) = scanner.take(&input[at..]);
            at += taken;
            lines.push((at, line.unwrap()));
        }
        let ends: Vec<_> = lines.iter().map(|(at, _)| *at).collect();
        assert_eq!(ends, [17, 27, 30, 38]);
        let heads = lines.iter().map(|(_, line)| line.head.as_ref());
        let tags: Vec<_> = heads.map(|head| head.map(|head| head.word(0))).collect();
        assert_eq!(tags, [Some(&b"a"[..]), None, None, Some(b"c")]);
        assert!(scanner.is_at_boundary());
    }
}
