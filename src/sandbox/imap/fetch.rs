//! FETCH: the items of a request, and the response.

use bytes::{Bytes, BytesMut};

use super::command::Word;
use crate::sandbox::clock;
use crate::sandbox::mailbox::Message;

/// Item of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Flags,
    Uid,
    Size,
    Date,
    Envelope,
    Structure(&'static str),
    Body {
        /// Name in the response.
        label: String,
        section: String,
        partial: Option<(usize, usize)>,
        peek: bool,
    },
}

/// Part of a response: text, or a slice of the message.
pub(super) enum Part {
    Text(String),
    Literal(Bytes),
}

/// Parses the items; `None` for an unknown one.
pub(super) fn items(word: &Word) -> Option<Vec<Item>> {
    let names: Vec<String> = match word {
        Word::List(list) => list.iter().map(Word::text).collect::<Option<_>>()?,
        word => vec![word.text()?],
    };
    let mut items = Vec::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let body = |section: &str, peek| Item::Body {
            label: upper.clone(),
            section: section.to_owned(),
            partial: None,
            peek,
        };
        let item = match upper.as_str() {
            "FLAGS" => Item::Flags,
            "UID" => Item::Uid,
            "RFC822.SIZE" => Item::Size,
            "INTERNALDATE" => Item::Date,
            "ENVELOPE" => Item::Envelope,
            "BODY" => Item::Structure("BODY"),
            "BODYSTRUCTURE" => Item::Structure("BODYSTRUCTURE"),
            "RFC822" => body("", false),
            "RFC822.HEADER" => body("HEADER", true),
            "RFC822.TEXT" => body("TEXT", false),
            "ALL" | "FAST" | "FULL" => {
                items.extend([Item::Flags, Item::Date, Item::Size]);
                match upper.as_str() {
                    "FAST" => continue,
                    "FULL" => items.push(Item::Structure("BODY")),
                    _ => {}
                }
                Item::Envelope
            }
            _ => section(&upper)?,
        };
        items.push(item);
    }
    Some(items)
}

/// `BODY[…]<from.count>` or `BODY.PEEK[…]<from.count>`.
fn section(name: &str) -> Option<Item> {
    let (kind, rest) = name.split_once('[')?;
    let (section, rest) = rest.split_once(']')?;
    let peek = match kind {
        "BODY" => false,
        "BODY.PEEK" => true,
        _ => return None,
    };
    let partial = match rest {
        "" => None,
        _ => {
            let inner = rest.strip_prefix('<')?.strip_suffix('>')?;
            let (from, count) = inner.split_once('.')?;
            Some((from.parse().ok()?, count.parse().ok()?))
        }
    };
    let origin = partial.map_or_else(String::new, |(from, _)| format!("<{from}>"));
    Some(Item::Body {
        label: format!("BODY[{section}]{origin}"),
        section: section.to_owned(),
        partial,
        peek,
    })
}

/// The whole `* n FETCH (…)`, without its CRLF.
pub(super) fn answer(number: usize, message: &Message, items: &[Item]) -> Vec<Part> {
    let mut parts = vec![Part::Text(format!("* {number} FETCH ("))];
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            parts.push(Part::Text(" ".to_owned()));
        }
        let text = match item {
            Item::Flags => flags(message),
            Item::Uid => format!("UID {}", message.uid),
            Item::Size => format!("RFC822.SIZE {}", message.bytes.len()),
            Item::Date => format!("INTERNALDATE \"{}\"", clock::internal(message.date)),
            Item::Envelope => format!("ENVELOPE {}", envelope(message)),
            Item::Structure(label) => format!("{label} {}", structure(message)),
            Item::Body {
                label,
                section,
                partial,
                ..
            } => {
                let bytes = slice(message, section);
                let bytes = match *partial {
                    Some((from, count)) => {
                        let from = from.min(bytes.len());
                        bytes.slice(from..from.saturating_add(count).min(bytes.len()))
                    }
                    None => bytes,
                };
                parts.push(Part::Text(format!("{label} {{{}}}\r\n", bytes.len())));
                parts.push(Part::Literal(bytes));
                continue;
            }
        };
        parts.push(Part::Text(text));
    }
    parts.push(Part::Text(")".to_owned()));
    parts
}

pub(super) fn flags(message: &Message) -> String {
    let flags: Vec<&str> = message.flags.iter().map(String::as_str).collect();
    format!("FLAGS ({})", flags.join(" "))
}

/// Every message counts as a single part of text.
fn slice(message: &Message, section: &str) -> Bytes {
    let header = message.header_length();
    let upper = section.to_ascii_uppercase();
    match upper.as_str() {
        "" => message.bytes.clone(),
        "HEADER" => message.bytes.slice(..header),
        "TEXT" | "1" => message.bytes.slice(header..),
        _ => match upper.split_once(' ') {
            Some(("HEADER.FIELDS", names)) => fields(message, names, true),
            Some(("HEADER.FIELDS.NOT", names)) => fields(message, names, false),
            _ => Bytes::new(),
        },
    }
}

fn fields(message: &Message, names: &str, listed: bool) -> Bytes {
    let names: Vec<&str> = names
        .split(['(', ')', ' ', '"'])
        .filter(|name| !name.is_empty())
        .collect();
    let header = message.bytes.slice(..message.header_length());
    let mut chosen = BytesMut::new();
    let mut keep = false;
    for line in header.split_inclusive(|&byte| byte == b'\n') {
        if line == b"\r\n" {
            break;
        }
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
            let named = names
                .iter()
                .any(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes()));
            keep = named == listed;
        }
        if keep {
            chosen.extend_from_slice(line);
        }
    }
    chosen.extend_from_slice(b"\r\n");
    chosen.freeze()
}

/// A header field's text, unfolded.
pub(super) fn field(message: &Message, name: &str) -> Option<String> {
    let found = fields(message, name, true);
    let text = String::from_utf8_lossy(&found).replace("\r\n", "");
    let (_, value) = text.split_once(':')?;
    Some(value.trim().to_owned())
}

fn quoted(text: Option<&str>) -> String {
    match text {
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        None => "NIL".to_owned(),
    }
}

fn envelope(message: &Message) -> String {
    let text = |name| quoted(field(message, name).as_deref());
    let people = |name| field(message, name).map_or("NIL".to_owned(), |text| addresses(&text));
    let from = people("From");
    format!(
        "({} {} {from} {from} {from} {} {} NIL {} {})",
        text("Date"),
        text("Subject"),
        people("To"),
        people("Cc"),
        text("In-Reply-To"),
        text("Message-ID")
    )
}

/// Plain addresses, with or without a name before them.
fn addresses(text: &str) -> String {
    let one = |person: &str| {
        let (name, address) = match person.split_once('<') {
            Some((name, address)) => (Some(name.trim().trim_matches('"')), address),
            None => (None, person),
        };
        let address = address.trim().trim_end_matches('>');
        let (user, host) = address.split_once('@').unwrap_or((address, ""));
        let name = quoted(name.filter(|name| !name.is_empty()));
        format!("({name} NIL {} {})", quoted(Some(user)), quoted(Some(host)))
    };
    format!("({})", text.split(',').map(one).collect::<String>())
}

fn structure(message: &Message) -> String {
    let body = message.bytes.slice(message.header_length()..);
    let lines = memchr::memchr_iter(b'\n', &body).count();
    format!(
        "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"utf-8\") NIL NIL \"7BIT\" {} {lines})",
        body.len()
    )
}
