//! Framing with a size limit: whole lines, and IMAP commands or responses with their literals.
//!
//! Both framers accept bytes in any pieces and return only complete units, so the grammars never
//! see a partial one. A unit over the limit is an error, and the caller closes the connection. The
//! buffer never exceeds the limit plus one push.

use bytes::Bytes;
use memchr::memchr;

use super::literal::{Scanner, TAG_CAP};

/// Longest command or SASL line of a client, in octets (RFC 4954 §4 requires 12,288; tokens fit
/// too).
pub const COMMAND_CAP: usize = 16 * 1024;

/// Longest ID command of an IMAP client, in octets: RFC 2971 §3.3 allows 30 fields of 30 and 1,024
/// octets.
pub const ID_CAP: usize = 34 * 1024;

/// Longest reply of an upstream before login, in octets.
pub const REPLY_CAP: usize = 64 * 1024;

/// Error: a unit exceeds the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Splits received octets into lines of limited length.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// Offset of the first octet that has not been returned.
    start: usize,
    /// Offset of the first octet in which no end was looked for.
    scanned: usize,
    cap: usize,
}

impl Lines {
    /// Creates an empty buffer that returns lines of at most `cap` octets, terminator included.
    pub fn new(cap: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            cap,
        }
    }

    /// Appends octets received from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.forget_returned();
        // Reserves no more than needed, since thousands of clients may sit at the limit.
        self.buffer.reserve_exact(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    fn forget_returned(&mut self) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
    }

    /// Drops returned octets and unused capacity while the buffer waits for the next push.
    fn release(&mut self) {
        self.forget_returned();
        self.buffer.shrink_to_fit();
    }

    /// Returns the next line without its terminator: CRLF, or a bare LF as some devices send.
    pub fn line(&mut self) -> Result<Option<Bytes>, TooLong> {
        let rest = self.unscanned();
        let end = memchr(b'\n', rest);
        self.scanned += end.map_or(rest.len(), |end| end + 1);
        let length = self.scanned - self.start;
        match end {
            Some(_) if length > self.cap => Err(TooLong),
            Some(_) => {
                let bare = !self.scanned().ends_with(b"\r\n");
                Ok(Some(self.take_scanned(line_end(bare))))
            }
            None if length >= self.cap => Err(TooLong),
            None => {
                self.release();
                Ok(None)
            }
        }
    }

    fn unscanned(&self) -> &[u8] {
        self.buffer.get(self.scanned..).unwrap_or_default()
    }

    /// Octets that have been scanned and not returned.
    fn scanned(&self) -> &[u8] {
        let scanned = self.buffer.get(self.start..self.scanned);
        scanned.unwrap_or_default()
    }

    /// Takes the scanned octets, without the last `line_end` of them.
    fn take_scanned(&mut self, line_end: usize) -> Bytes {
        let taken = self.buffer.get(self.start..self.scanned - line_end);
        let taken = Bytes::copy_from_slice(taken.unwrap_or_default());
        self.start = self.scanned;
        taken
    }

    /// Discards up to `count` octets, whatever they contain. Returns how many.
    fn skip(&mut self, count: usize) -> usize {
        let skipped = count.min(self.held());
        self.start += skipped;
        self.scanned = self.start;
        skipped
    }

    /// Number of buffered octets; below the limit after [`Lines::line`] has returned `None`.
    pub fn held(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.held() == 0
    }

    /// Takes the remaining octets and empties the buffer.
    pub fn take_rest(&mut self) -> Bytes {
        let rest = Bytes::copy_from_slice(self.buffer.get(self.start..).unwrap_or_default());
        *self = Self::new(self.cap);
        rest
    }
}

/// Length of LF, if it is bare, or of CRLF.
fn line_end(bare: bool) -> usize {
    if bare { 1 } else { 2 }
}

/// A piece of the input that [`Fragments`] returns.
#[derive(Debug, PartialEq, Eq)]
pub enum Fragment {
    /// A whole command or response with its literals, without the final CRLF.
    Whole(Bytes),
    /// A synchronizing literal was announced: the sender waits for `+`.
    Announced,
}

/// Splits received octets into IMAP commands or responses, each with the literals it contains.
#[derive(Debug)]
pub struct Fragments {
    lines: Lines,
    scanner: Scanner,
    /// Whether a line may announce a literal.
    has_literals: bool,
    /// Whether ID commands may have [`ID_CAP`] octets; only their head is kept.
    discards_id: bool,
    /// The ID command that is being discarded.
    id: Option<Id>,
    /// Octets that belong to no unit and are discarded on arrival.
    skipped: u64,
}

/// An ID command, whose parameters are not used.
#[derive(Debug, Clone, Copy)]
struct Id {
    /// Length of `tag SP "ID" SP`, which is kept.
    head: usize,
    /// Octets so far, discarded ones included.
    length: usize,
}

impl Fragments {
    /// Creates an empty buffer that returns lines of at most `cap` octets, without literals.
    pub fn of_lines(cap: usize) -> Self {
        Self {
            has_literals: false,
            ..Self::new(cap, Scanner::of_commands())
        }
    }

    /// Creates an empty buffer that returns commands of at most `cap` octets.
    pub fn of_commands(cap: usize) -> Self {
        Self::new(cap, Scanner::of_commands())
    }

    /// Creates an empty buffer that returns responses of at most `cap` octets.
    pub fn of_responses(cap: usize) -> Self {
        Self::new(cap, Scanner::of_responses())
    }

    /// Accepts ID commands of up to [`ID_CAP`] octets and discards their parameters on arrival.
    #[must_use]
    pub fn discarding_id(self) -> Self {
        Self {
            discards_id: true,
            ..self
        }
    }

    fn new(cap: usize, scanner: Scanner) -> Self {
        Self {
            lines: Lines::new(cap),
            scanner,
            has_literals: true,
            discards_id: false,
            id: None,
            skipped: 0,
        }
    }

    /// Discards the next `octets`, for example the chunk of a refused BDAT. Call only between units.
    pub fn skip(&mut self, octets: u64) {
        let held = usize::try_from(octets).unwrap_or(usize::MAX);
        self.skipped = octets - self.lines.skip(held) as u64;
    }

    /// Appends octets received from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        let skipped = usize::try_from(self.skipped).unwrap_or(usize::MAX);
        let skipped = skipped.min(bytes.len());
        self.skipped -= skipped as u64;
        self.lines.push(bytes.get(skipped..).unwrap_or_default());
    }

    /// Returns the next whole unit, or the announcement of a literal.
    pub fn fragment(&mut self) -> Result<Option<Fragment>, TooLong> {
        if !self.has_literals {
            return Ok(self.line()?.map(Fragment::Whole));
        }
        loop {
            self.id = self.id.or_else(|| self.begun_id());
            let (taken, line) = self.scanner.take(self.lines.unscanned());
            self.lines.scanned += taken;
            let (length, cap) = match &mut self.id {
                Some(id) => {
                    id.length += taken;
                    let (length, head) = (id.length, id.head);
                    self.discard_behind(head);
                    (length, ID_CAP)
                }
                None => (self.lines.scanned().len(), self.lines.cap),
            };
            let Some(line) = line else {
                if length >= cap {
                    return Err(TooLong);
                }
                self.lines.release();
                return Ok(None);
            };
            if length > cap {
                return Err(TooLong);
            }
            let Some(literal) = line.literal else {
                // An ID command's line end was discarded.
                let line_end = self.id.take().map_or(line_end(line.bare), |_| 0);
                let unit = self.lines.take_scanned(line_end);
                return Ok(Some(Fragment::Whole(unit)));
            };
            if literal.octets.saturating_add(length as u64) >= cap as u64 {
                return Err(TooLong);
            }
            if literal.synchronizing {
                return Ok(Some(Fragment::Announced));
            }
        }
    }

    /// The ID command that the unit is, if its head has arrived.
    fn begun_id(&self) -> Option<Id> {
        if !self.discards_id {
            return None;
        }
        let line = self.lines.buffer.get(self.lines.start..)?;
        let tag = line
            .iter()
            .take(TAG_CAP + 1)
            .position(|octet| *octet == b' ')?;
        let verb = line.get(tag + 1..tag + 4)?;
        let is_tag = line.get(..tag)?.iter().all(u8::is_ascii_graphic);
        (tag > 0 && is_tag && verb.eq_ignore_ascii_case(b"ID ")).then_some(Id {
            head: tag + 4,
            length: self.lines.scanned().len(),
        })
    }

    /// Discards the scanned octets behind the first `head` of the unit.
    fn discard_behind(&mut self, head: usize) {
        let kept = self.lines.start + head;
        if self.lines.scanned > kept {
            self.lines.buffer.drain(kept..self.lines.scanned);
            self.lines.scanned = kept;
        }
    }

    /// Returns the next line as it is, for a SASL response. Call only between units.
    pub fn line(&mut self) -> Result<Option<Bytes>, TooLong> {
        self.lines.line()
    }

    /// The tag of the unit that exceeded the limit, or `*` if it is not known.
    pub fn tag(&self) -> &[u8] {
        let unit = self.lines.buffer.get(self.lines.start..);
        let unit = unit.unwrap_or_default();
        let end = unit
            .iter()
            .position(|octet| !octet.is_ascii_alphanumeric() && !b".-_".contains(octet));
        match end {
            Some(end @ 1..=TAG_CAP) if unit.get(end) == Some(&b' ') => {
                unit.get(..end).unwrap_or_default()
            }
            _ => b"*",
        }
    }

    /// Octets of the unit whose literal was announced.
    pub fn begun(&self) -> &[u8] {
        self.lines.scanned()
    }

    /// Drops the unit whose synchronizing literal was announced and is refused.
    pub fn abandon(&mut self) {
        self.lines.start = self.lines.scanned;
        self.id = None;
        self.scanner.abandon();
    }

    /// Number of buffered octets; below the limit after [`Fragments::fragment`] has returned
    /// `None`.
    pub fn held(&self) -> usize {
        self.lines.held()
    }

    /// Whether the buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Takes the remaining octets and empties the buffer.
    pub fn take_rest(&mut self) -> Bytes {
        self.id = None;
        self.scanner.abandon();
        self.lines.take_rest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(text: &str) -> Fragment {
        Fragment::Whole(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn lines_end_at_crlf_or_lf_and_leave_the_rest() {
        let mut lines = Lines::new(100);
        lines.push(b"a\r\nb\nc\r");
        assert_eq!(lines.line().unwrap().unwrap(), "a");
        assert_eq!(lines.line().unwrap().unwrap(), "b");
        assert_eq!(lines.line(), Ok(None));
        lines.push(b"\nrest");
        assert_eq!(lines.line().unwrap().unwrap(), "c");
        assert_eq!(lines.take_rest(), "rest");
        assert!(lines.is_empty());
    }

    #[test]
    fn a_line_over_the_cap_is_refused_whether_complete_or_not() {
        let mut lines = Lines::new(4);
        lines.push(b"abcd");
        assert_eq!(lines.line(), Err(TooLong));
        let mut lines = Lines::new(4);
        lines.push(b"abcde\r\n");
        assert_eq!(lines.line(), Err(TooLong));
        let mut lines = Lines::new(4);
        lines.push(b"ab\r\n");
        assert!(lines.line().is_ok());
    }

    /// RFC 7888 §4.
    #[test]
    fn literals_are_counted_not_parsed() {
        let input = b"A LOGIN {11}\r\nFRED \r\nFOO {7+}\r\nfat ma}\r\nB NOOP\r\n";
        for step in [1, 2, 3, input.len()] {
            let mut fragments = Fragments::of_commands(100);
            let mut got = Vec::new();
            for chunk in input.chunks(step) {
                fragments.push(chunk);
                while let Some(fragment) = fragments.fragment().unwrap() {
                    got.push(fragment);
                }
            }
            assert_eq!(
                got,
                [
                    Fragment::Announced,
                    whole("A LOGIN {11}\r\nFRED \r\nFOO {7+}\r\nfat ma}"),
                    whole("B NOOP")
                ],
                "in steps of {step}"
            );
        }
    }

    #[test]
    fn a_literal_over_the_cap_is_refused_when_announced() {
        for announcement in ["{95}", "{99999999999999999999999+}"] {
            let mut fragments = Fragments::of_commands(100);
            fragments.push(format!("a9 LOGIN {announcement}\r\n").as_bytes());
            assert_eq!(fragments.fragment(), Err(TooLong));
            assert_eq!(fragments.tag(), b"a9");
        }
        for (length, is_tag) in [(1, true), (TAG_CAP, true), (TAG_CAP + 1, false)] {
            let tag = "t".repeat(length);
            let mut fragments = Fragments::of_commands(COMMAND_CAP);
            fragments.push(format!("{tag} LOGIN {{99999}}\r\n").as_bytes());
            assert_eq!(fragments.fragment(), Err(TooLong));
            assert_eq!(fragments.tag() == tag.as_bytes(), is_tag, "{length}");
        }
    }

    #[test]
    fn lines_end_with_lf_and_literals_with_any_octet() {
        let mut fragments = Fragments::of_commands(100);
        fragments.push(b"a LOGIN {1+}\nx {2+}\ny\r\nb NOOP\n");
        for unit in ["a LOGIN {1+}\nx {2+}\ny\r", "b NOOP"] {
            assert_eq!(fragments.fragment(), Ok(Some(whole(unit))));
        }
    }

    /// However the input is composed, a client cannot make us hold more than the limit.
    #[test]
    fn a_unit_and_the_line_that_continues_it_share_the_cap() {
        let mut fragments = Fragments::of_commands(100);
        fragments.push(b"a LOGIN {60}\r\n");
        assert_eq!(fragments.fragment(), Ok(Some(Fragment::Announced)));
        fragments.push(&[b'x'; 60 + 20]);
        assert_eq!(fragments.fragment(), Ok(None));
        assert_eq!(fragments.held(), 14 + 60 + 20);
        fragments.push(b"123456");
        assert_eq!(fragments.fragment(), Err(TooLong));
    }

    #[test]
    fn what_was_given_out_takes_no_room() {
        let mut lines = Lines::new(100);
        lines.push(&b"NOOP\r\n".repeat(1000));
        while lines.line().unwrap().is_some() {}
        assert_eq!((lines.held(), lines.buffer.capacity()), (0, 0));
    }

    #[test]
    fn text_for_people_announces_nothing() {
        let input =
            "* OK ready {3}\r\n+ go {3}\r\nA1 NO why {3+}\r\n* BYE {3}\r\n* X {3}\r\nOK \r\n";
        let mut fragments = Fragments::of_responses(100);
        fragments.push(input.as_bytes());
        for text in ["* OK ready {3}", "+ go {3}", "A1 NO why {3+}", "* BYE {3}"] {
            assert_eq!(fragments.fragment(), Ok(Some(whole(text))));
        }
        assert_eq!(fragments.fragment(), Ok(Some(Fragment::Announced)));
        assert_eq!(fragments.fragment(), Ok(Some(whole("* X {3}\r\nOK "))));
    }
}
