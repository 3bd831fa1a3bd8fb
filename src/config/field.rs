//! Values of the file with their path and position. Every error becomes a [`Problem`], and reading
//! continues.

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;

use super::kind::{Row, Table};
use super::problem::Problem;
use super::sources::Sources;
use super::tree::{self, Entry, Node, Position, Value};

/// Context of all values of a file.
#[derive(Debug)]
struct Context {
    sources: Sources,
    problems: RefCell<Vec<Problem>>,
    /// Settings that are allowed but unwise.
    warnings: RefCell<Vec<Problem>>,
}

/// A value of the file with its path and position.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) path: String,
    pub(super) place: Position,
    node: Rc<Node>,
    context: Rc<Context>,
}

impl Field {
    /// Creates the field of the whole file.
    pub(super) fn root(node: Rc<Node>, sources: Sources) -> Self {
        Self {
            path: String::new(),
            place: node.place,
            node,
            context: Rc::new(Context {
                sources,
                problems: RefCell::default(),
                warnings: RefCell::default(),
            }),
        }
    }

    /// Takes the problems and the warnings of the file, both in its order.
    pub(super) fn take_problems(&self) -> (Vec<Problem>, Vec<Problem>) {
        let in_order = |found: &RefCell<Vec<Problem>>| {
            let mut found = found.take();
            found.sort_by_key(|problem| problem.place);
            found
        };
        let Context {
            problems, warnings, ..
        } = &*self.context;
        (in_order(problems), in_order(warnings))
    }

    /// Adds the keys of the section `defaults` that this section lacks, on every level.
    pub(super) fn or_from(&self, defaults: &Self) -> Self {
        Self {
            node: tree::merge(&self.node, &defaults.node),
            ..self.clone()
        }
    }

    /// Reports a problem at this value.
    pub(super) fn problem(&self, message: impl Display) {
        let problem = self.described(message);
        self.context.problems.borrow_mut().push(problem);
    }

    /// Reports a warning at this value.
    pub(super) fn warn(&self, message: impl Display) {
        let warning = self.described(message);
        self.context.warnings.borrow_mut().push(warning);
    }

    fn described(&self, message: impl Display) -> Problem {
        Problem {
            path: self.path.clone(),
            message: message.to_string(),
            place: Some(self.place),
        }
    }

    /// Reports a problem and returns `None`, for the end of a chain.
    pub(super) fn reject<T>(&self, message: impl Display) -> Option<T> {
        self.problem(message);
        None
    }

    /// Returns the value, or reports the error as a problem at this value.
    pub(super) fn accept<T>(&self, result: Result<T, impl Display>) -> Option<T> {
        result.map_err(|error| self.problem(error)).ok()
    }

    /// Reports a key of this section whose value has no effect.
    pub(super) fn reject_key(&self, key: &str, message: impl Display) {
        if let Some(value) = self.get(key) {
            value.problem(message);
        }
    }

    /// Reports a required key that is missing in this section.
    pub(super) fn missing(&self, key: &str, what: &str) {
        let message = format_args!("is missing; write {what}");
        self.named_at(key).problem(message);
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.context.sources
    }

    /// Returns a scalar's text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.node.value {
            Value::Null => self.reject("has no value; write one or remove the key"),
            Value::Scalar(text) => Some(text),
            Value::Sequence(_) => self.reject("takes one value, not a list"),
            Value::Mapping(_) => self.reject("takes one value, not a section"),
        }
    }

    /// Returns the text of a non-empty scalar without control characters.
    pub(super) fn word(&self) -> Option<&str> {
        let text = self.text()?;
        if text.is_empty() {
            return self.reject("must not be empty");
        }
        if text.chars().any(char::is_control) {
            return self.reject("must not contain control characters");
        }
        Some(text)
    }

    /// Whether the value is this word.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.node.value, Value::Scalar(text) if text == word)
    }

    /// Whether the rest of the line is a YAML comment.
    pub(super) fn is_cut_short(&self) -> bool {
        self.node.cut
    }

    /// Matches the value with words, and returns the meaning of the one found.
    pub(super) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Some(*meaning),
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.reject(format_args!("must be {}", either(&known)))
            }
        }
    }

    /// Returns the items of a list; a single value counts as a list of one.
    pub(super) fn list(&self) -> Option<Vec<Self>> {
        match &self.node.value {
            Value::Sequence(items) => {
                let item = |(index, node): (usize, &Rc<Node>)| Self {
                    path: format!("{}[{index}]", self.path),
                    place: node.place,
                    node: node.clone(),
                    context: self.context.clone(),
                };
                Some(items.iter().enumerate().map(item).collect())
            }
            Value::Null => self.reject("has no value; write a list or remove the key"),
            Value::Scalar(_) => Some(vec![self.clone()]),
            Value::Mapping(_) => self.reject("takes a list; begin each item with \"- \""),
        }
    }

    /// Checks that this is a section with the keys of `table`. Unknown and duplicate keys are
    /// reported.
    pub(super) fn check_keys(&self, table: &'static Table) -> Option<()> {
        let entries = self.entries()?;
        let known = |entry: &Entry| table.rows.iter().any(|row| row.key == entry.key);
        for entry in entries.iter().filter(|entry| !known(entry)) {
            self.unknown(entry, table.rows);
        }
        self.find_doubles(|entry| known(entry));
        Some(())
    }

    /// Reads a section whose keys the operator chooses.
    pub(super) fn named(&self) -> Option<Vec<(String, Self)>> {
        let entries = self.entries()?;
        self.find_doubles(|entry| is_name(&entry.key));
        let named = |entry: &Entry| {
            let shown = is_name(&entry.key).then_some(entry.key.as_str());
            (entry.key.clone(), self.entry(entry, shown))
        };
        Some(entries.iter().map(named).collect())
    }

    /// Returns the value of a key.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let Value::Mapping(entries) = &self.node.value else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        Some(self.entry(entry, Some(key)))
    }

    /// Returns the value of a key, or this section if the key is absent: the position for a
    /// problem.
    pub(super) fn at(&self, key: &str) -> Self {
        self.get(key).unwrap_or_else(|| self.clone())
    }

    /// Returns the value of a key as [`at`](Self::at) does, but with the path of the key.
    pub(super) fn named_at(&self, key: &str) -> Self {
        Self {
            path: join(&self.path, key),
            ..self.at(key)
        }
    }

    /// Returns the default of a key as if the file contained it.
    pub(super) fn default(&self, key: &str, yaml: &str) -> Option<Self> {
        Some(Self {
            node: tree::compose(yaml).ok()??,
            ..self.named_at(key)
        })
    }

    /// Whether the value is a section rather than a single value.
    pub(super) fn is_section(&self) -> bool {
        matches!(self.node.value, Value::Mapping(_))
    }

    /// Whether the value is a section with this key.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    fn entries(&self) -> Option<&[Entry]> {
        match &self.node.value {
            Value::Mapping(entries) => Some(entries),
            Value::Null => self.reject("is empty; write its keys below it, indented, or remove it"),
            Value::Scalar(_) | Value::Sequence(_) => {
                self.reject("takes a section of keys and values")
            }
        }
    }

    /// Creates the field of an entry. `shown` is the key if it may be printed; keys with control
    /// characters are never printed. Half of a secret may have become a key (`{password: a, b}`).
    fn entry(&self, entry: &Entry, shown: Option<&str>) -> Self {
        let shown = shown.filter(|key| !key.chars().any(char::is_control));
        Self {
            path: join(&self.path, shown.unwrap_or("(key)")),
            place: entry.place,
            node: entry.node.clone(),
            context: self.context.clone(),
        }
    }

    fn find_doubles(&self, may_be_shown: impl Fn(&Entry) -> bool) {
        let Value::Mapping(entries) = &self.node.value else {
            return;
        };
        let mut seen = std::collections::HashMap::new();
        for entry in entries {
            if let Some((line, _)) = seen.insert(entry.key.as_str(), entry.place) {
                let shown = may_be_shown(entry).then_some(entry.key.as_str());
                self.entry(entry, shown).problem(format_args!(
                    "is given a second time (first at line {line}); keep one"
                ));
            }
        }
    }

    /// Reports an unknown key. One close to a known key is a typing error and is printed; another
    /// might be part of a secret.
    fn unknown(&self, entry: &Entry, known: &[Row]) {
        let near = known
            .iter()
            .map(|row| (strsim::damerau_levenshtein(row.key, &entry.key), row.key))
            .filter(|(distance, key)| *distance <= 2 && *distance < key.len())
            .min();
        match near {
            Some((_, near)) => self
                .entry(entry, Some(&entry.key))
                .problem(format_args!("is not a known key; did you mean {near}?")),
            None => {
                let known: Vec<_> = known.iter().map(|row| row.key).collect();
                self.entry(entry, None).problem(format_args!(
                    "is not a known key; the keys here are {}",
                    known.join(", ")
                ));
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

/// Whether operators may use `text` as a name: letters, digits, `.`, `_` and `-`, at most 64.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"._-".contains(&octet))
}

/// Joins words as `a, b or c`.
pub(super) fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}
