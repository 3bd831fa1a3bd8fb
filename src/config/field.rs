//! Reading the tree key by key: every wrong thing becomes a [`Problem`], and reading goes on.

use std::cell::RefCell;
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;

use super::tree::{Entry, Node, Place, Value};
use super::{Problem, Protocols};
use crate::wire::Protocol;

/// Collects what is wrong.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

impl Problems {
    pub(super) fn add(&self, path: &str, place: Option<Place>, message: impl Display) {
        self.0.borrow_mut().push(Problem {
            path: path.to_owned(),
            message: message.to_string(),
            place,
        });
    }

    /// In the order of their places.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by_key(|problem| problem.place);
        problems
    }
}

/// One value of the file, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Field<'t> {
    pub(super) path: String,
    pub(super) place: Place,
    node: &'t Node,
    problems: &'t Problems,
}

impl<'t> Field<'t> {
    pub(super) fn root(node: &'t Node, problems: &'t Problems) -> Self {
        Self {
            path: String::new(),
            place: node.place,
            node,
            problems,
        }
    }

    /// Says that something is wrong here.
    pub(super) fn problem(&self, message: impl Display) {
        self.problems.add(&self.path, Some(self.place), message);
    }

    /// [`Field::problem`], for the end of a chain.
    pub(super) fn wrong<T>(&self, message: impl Display) -> Option<T> {
        self.problem(message);
        None
    }

    /// A scalar, whatever it means.
    pub(super) fn text(&self) -> Option<&'t str> {
        match &self.node.value {
            Value::Scalar { text, plain: true } if text.is_empty() => {
                self.wrong("has no value; write one or remove the key")
            }
            Value::Scalar { text, .. } => Some(text),
            Value::Sequence(_) => self.wrong("takes one value, not a list"),
            Value::Mapping(_) => self.wrong("takes one value, not a section"),
        }
    }

    /// A scalar that is not empty and holds no control characters.
    pub(super) fn word(&self) -> Option<&'t str> {
        let text = self.text()?;
        if text.is_empty() {
            return self.wrong("must not be empty");
        }
        if text.chars().any(char::is_control) {
            return self.wrong("must not contain control characters");
        }
        Some(text)
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match self.text()? {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.wrong("must be true or false"),
        }
    }

    pub(super) fn number(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let number = self.text()?.replace('_', "").parse().ok();
        match number.filter(|number| range.contains(number)) {
            Some(number) => Some(number),
            None => self.wrong(format_args!(
                "must be a whole number from {} to {}",
                range.start(),
                range.end()
            )),
        }
    }

    /// `90s`, `35m`, `1h 30m`; at least a millisecond, at most a year.
    pub(super) fn duration(&self) -> Option<Duration> {
        let text = self.text()?;
        match humantime::parse_duration(text) {
            Ok(duration)
                if (Duration::from_millis(1)..Duration::from_secs(366 * 86_400))
                    .contains(&duration) =>
            {
                Some(duration)
            }
            Ok(_) => self.wrong("must be more than 0 and less than a year"),
            Err(_) => self.wrong("must be a time with its unit, as in 30s, 5m or 1h"),
        }
    }

    /// `35MB`, `35MiB`; at least one octet.
    pub(super) fn size(&self) -> Option<u64> {
        const UNITS: [(&str, u64); 8] = [
            ("kb", 1_000),
            ("mb", 1_000_000),
            ("gb", 1_000_000_000),
            ("tb", 1_000_000_000_000),
            ("kib", 1 << 10),
            ("mib", 1 << 20),
            ("gib", 1 << 30),
            ("b", 1),
        ];
        let text = self.text()?.to_ascii_lowercase();
        let read = || {
            let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic())?);
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
            let number: u64 = number.trim().replace('_', "").parse().ok()?;
            number.checked_mul(*factor).filter(|size| *size > 0)
        };
        match read() {
            Some(size) => Some(size),
            None => self.wrong(
                "must be a size with its unit, as in 35MB (35,000,000 octets) or 35MiB (binary)",
            ),
        }
    }

    /// One of some words, with what each means.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Some(*meaning),
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.wrong(format_args!("must be {}", either(&known)))
            }
        }
    }

    /// The items of a list; a single value counts as a list of one.
    pub(super) fn list(&self) -> Vec<Field<'t>> {
        match &self.node.value {
            Value::Sequence(items) => items
                .iter()
                .enumerate()
                .map(|(index, node)| Field {
                    path: format!("{}[{index}]", self.path),
                    place: node.place,
                    node,
                    problems: self.problems,
                })
                .collect(),
            Value::Scalar { text, plain: true } if text.is_empty() => {
                self.problem("has no value; write a list or remove the key");
                Vec::new()
            }
            Value::Scalar { .. } => vec![self.clone()],
            Value::Mapping(_) => {
                self.problem("takes a list; begin each item with \"- \"");
                Vec::new()
            }
        }
    }

    /// Networks and addresses.
    pub(super) fn networks(&self) -> Vec<IpNet> {
        let network = |field: Field<'_>| {
            let text = field.text()?;
            let address = || text.parse::<IpAddr>().map(IpNet::from).ok();
            match text.parse::<IpNet>().ok().or_else(address) {
                Some(network) => Some(network.trunc()),
                None => field.wrong("must be an address or a network, as in 10.1.0.0/16 or ::1"),
            }
        };
        self.list().into_iter().filter_map(network).collect()
    }

    /// Some of the three protocols.
    pub(super) fn protocols(&self) -> Option<Protocols> {
        let mut protocols = Protocols {
            imap: false,
            pop3: false,
            smtp: false,
        };
        let items = self.list();
        if items.is_empty() {
            return self.wrong("must name at least one of imap, pop3 and smtp");
        }
        for item in items {
            match item.one_of(&Protocol::ALL.map(|protocol| (protocol.name(), protocol)))? {
                Protocol::Imap => protocols.imap = true,
                Protocol::Pop3 => protocols.pop3 = true,
                Protocol::Smtp => protocols.smtp = true,
            }
        }
        Some(protocols)
    }

    /// The entries of a section.
    pub(super) fn section(&self) -> Option<Section<'t>> {
        match &self.node.value {
            Value::Mapping(entries) => {
                let section = Section {
                    path: self.path.clone(),
                    place: self.place,
                    entries,
                    problems: self.problems,
                    known: Vec::new(),
                };
                section.find_doubles();
                Some(section)
            }
            Value::Scalar { text, plain: true } if text.is_empty() => {
                self.wrong("is empty; write its keys below it, indented, or remove it")
            }
            Value::Scalar { .. } | Value::Sequence(_) => {
                self.wrong("takes a section of keys and values")
            }
        }
    }

    /// Whether it is a section with this key.
    pub(super) fn has_key(&self, key: &str) -> bool {
        match &self.node.value {
            Value::Mapping(entries) => entries.iter().any(|entry| entry.key == key),
            Value::Scalar { .. } | Value::Sequence(_) => false,
        }
    }

    /// Whether it is a section, where a single value would do too.
    pub(super) fn is_section(&self) -> bool {
        matches!(self.node.value, Value::Mapping(_))
    }
}

/// Keys and values; whatever nobody asked for is unknown.
#[derive(Debug)]
pub(super) struct Section<'t> {
    pub(super) path: String,
    pub(super) place: Place,
    entries: &'t [Entry],
    problems: &'t Problems,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    fn field(&self, entry: &'t Entry) -> Field<'t> {
        Field {
            path: join(&self.path, printable(&entry.key)),
            place: entry.place,
            node: &entry.node,
            problems: self.problems,
        }
    }

    fn find_doubles(&self) {
        let mut seen = std::collections::HashMap::new();
        for entry in self.entries {
            if let Some((line, _)) = seen.insert(entry.key.as_str(), entry.place) {
                self.field(entry).problem(format_args!(
                    "is given a second time (first at line {line}); keep one"
                ));
            }
        }
    }

    /// The value of a key that may be absent.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Field<'t>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.field(entry))
    }

    /// The value of a key that must be there; `what` says what to write.
    pub(super) fn require(&mut self, key: &'static str, what: impl Display) -> Option<Field<'t>> {
        let field = self.take(key);
        if field.is_none() {
            self.problems.add(
                &join(&self.path, key),
                Some(self.place),
                format_args!("is missing; write {what}"),
            );
        }
        field
    }

    /// Keys that the operator names, as under `providers`.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'t str, Field<'t>)> {
        self.entries
            .iter()
            .map(|entry| (entry.key.as_str(), self.field(entry)))
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) {
                continue;
            }
            let near = self
                .known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, &entry.key), *known))
                .filter(|(distance, known)| *distance <= 2 && *distance < known.len())
                .min();
            let field = self.field(entry);
            match near {
                Some((_, near)) => {
                    field.problem(format_args!("is no known key; did you mean {near}?"));
                }
                None => field.problem(format_args!(
                    "is no known key; here go {}",
                    self.known.join(", ")
                )),
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// A key as it may be shown: half of a secret may have become one (`{password: a, b}`).
fn printable(key: &str) -> &str {
    if is_name(key) { key } else { "(key)" }
}

/// Whether operators may call something so: letters, digits, `.`, `_` and `-`, at most 64.
pub(super) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"._-".contains(&octet))
}

/// `a, b or c`.
pub(super) fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}
