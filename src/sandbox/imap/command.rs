//! Reading IMAP commands: lines with their literals, cut into words.

use std::io;

use bytes::Bytes;

use crate::sandbox::stream::Conn;

/// Maximum depth of nested lists; a deeper one is answered BAD.
const DEPTH: usize = 20;

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// An atom, with `[…]` and `<…>` behind it where it has them.
    Atom(String),
    /// A quoted string or a literal.
    Text(Bytes),
    List(Vec<Word>),
}

impl Word {
    /// An atom or a string.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Atom(atom) => Some(atom.clone()),
            Self::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
            Self::List(_) => None,
        }
    }
}

/// A whole command.
#[derive(Debug)]
pub(super) struct Command {
    pub tag: String,
    pub verb: String,
    pub words: Vec<Word>,
    /// The first line, for the transcript.
    pub line: Bytes,
}

/// Result of reading.
pub(super) enum Read {
    Command(Command),
    /// Not a command; the answer is BAD.
    Nonsense,
}

/// Reads the rest of the command that `line` begins, literals of up to `cap` octets included.
pub(super) async fn read(conn: &mut Conn, line: Bytes, cap: usize) -> io::Result<Read> {
    let mut pieces = vec![line.clone()];
    let mut last = line.clone();
    while let Some((length, waits)) = literal(&last) {
        if length > cap {
            conn.say("* BAD Command Argument Error. 12");
            conn.flush().await?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        if waits {
            conn.say("+ Ready for additional command text.");
        }
        pieces.push(conn.exactly(length).await?);
        last = conn.line().await?;
        pieces.push(last.clone());
    }
    let mut cursor = Cursor {
        pieces: pieces.into_iter(),
        text: Bytes::new(),
    };
    cursor.text = cursor.pieces.next().unwrap_or_default();
    let (Some(Word::Atom(tag)), Some(Word::Atom(verb))) = (cursor.word(0), cursor.word(0)) else {
        return Ok(Read::Nonsense);
    };
    let mut words = Vec::new();
    while let Some(word) = cursor.word(0) {
        words.push(word);
    }
    Ok(Read::Command(Command {
        tag,
        verb: verb.to_ascii_uppercase(),
        words,
        line,
    }))
}

/// `{n}` or `{n+}` at the end of a line: the length, and whether the client waits for `+`.
fn literal(line: &[u8]) -> Option<(usize, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let at = memchr::memrchr(b'{', inner)?;
    let number = std::str::from_utf8(inner.get(at + 1..)?).ok()?;
    let digits = number.strip_suffix('+').unwrap_or(number);
    Some((digits.parse().ok()?, digits.len() == number.len()))
}

struct Cursor {
    pieces: std::vec::IntoIter<Bytes>,
    text: Bytes,
}

impl Cursor {
    fn word(&mut self, depth: usize) -> Option<Word> {
        while self.text.first() == Some(&b' ') {
            self.take(1);
        }
        match *self.text.first()? {
            b'(' if depth < DEPTH => {
                self.take(1);
                let mut list = Vec::new();
                while let Some(word) = self.word(depth + 1) {
                    list.push(word);
                }
                if self.text.first() == Some(&b')') {
                    self.take(1);
                }
                Some(Word::List(list))
            }
            b'(' | b')' => None,
            b'"' => {
                self.take(1);
                self.quoted()
            }
            b'{' if literal(&self.text).is_some() => {
                let literal = self.pieces.next()?;
                self.text = self.pieces.next()?;
                Some(Word::Text(literal))
            }
            _ => self.atom(),
        }
    }

    fn quoted(&mut self) -> Option<Word> {
        let mut text = Vec::new();
        let mut bytes = self.text.iter().enumerate();
        let mut end = None;
        while let Some((at, &byte)) = bytes.next() {
            match byte {
                b'"' => {
                    end = Some(at + 1);
                    break;
                }
                b'\\' => text.extend(bytes.next().map(|(_, &byte)| byte)),
                _ => text.push(byte),
            }
        }
        self.take(end?);
        Some(Word::Text(text.into()))
    }

    fn atom(&mut self) -> Option<Word> {
        let mut bracket = false;
        let ends = |byte: u8| {
            match byte {
                b'[' => bracket = true,
                b']' => bracket = false,
                _ => {}
            }
            !bracket && matches!(byte, b' ' | b'(' | b')')
        };
        let mut ends = ends;
        let end = self.text.iter().position(|&byte| ends(byte));
        let atom = self.take(end.unwrap_or(self.text.len()));
        Some(Word::Atom(String::from_utf8_lossy(&atom).into_owned()))
    }

    fn take(&mut self, length: usize) -> Bytes {
        self.text.split_to(length.min(self.text.len()))
    }
}

/// The members of `universe` (ascending) that a set such as `1,3:5,10:*` names.
pub(super) fn members(set: &str, universe: &[u32]) -> Option<Vec<u32>> {
    let last = universe.last().copied().unwrap_or(0);
    let bound = |text: &str| match text {
        "*" => Some(last),
        _ => text.parse().ok().filter(|&number| number > 0),
    };
    let mut ranges = Vec::new();
    for part in set.split(',') {
        let (from, to) = part.split_once(':').unwrap_or((part, part));
        let (from, to) = (bound(from)?, bound(to)?);
        ranges.push(from.min(to)..=from.max(to));
    }
    let named = |number: &&u32| ranges.iter().any(|range| range.contains(number));
    Some(universe.iter().filter(named).copied().collect())
}
