//! Parses the file into a tree whose nodes have their line and column.
//!
//! The tree is built from YAML events, because no deserializer keeps all positions or continues
//! after the first error. Scalars stay text; their meaning depends on the key.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Line and column, both from 1.
pub(super) type Position = (usize, usize);

/// Deepest nesting.
const DEPTH: usize = 32;

/// Maximum number of nodes, with those behind aliases counted each time: enough for 100,000
/// accounts.
const NODES: usize = 2_000_000;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Position,
    pub(super) value: Value,
    /// Whether a YAML comment follows a plain scalar.
    pub(super) cut: bool,
    /// Number of nodes in this one, itself included.
    size: usize,
}

#[derive(Debug)]
pub(super) enum Value {
    /// No value, or `null`.
    Null,
    Scalar(String),
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Position,
    pub(super) node: Rc<Node>,
}

/// Reason why there is no tree. Messages never quote the file, since a secret may be anywhere.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) place: Position,
    pub(super) message: String,
}

/// Parses the only document of the file; `None` if it is empty.
pub(super) fn compose(text: &str) -> Result<Option<Rc<Node>>, Broken> {
    let mut composer = Composer {
        parser: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        lines: text.lines().collect(),
    };
    let mut root = None;
    loop {
        let (event, span) = composer.event()?;
        match event {
            Event::StreamEnd => return Ok(root),
            Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
            Event::DocumentStart(_) if root.is_some() => {
                return Err(broken(&span, "a second document begins here; write one"));
            }
            Event::DocumentStart(_) => {
                let (event, span) = composer.event()?;
                let node = composer.node(event, &span, 0)?;
                root = Some(node).filter(|node| !matches!(node.value, Value::Null));
            }
            _ => return Err(broken(&span, "this is not valid YAML")),
        }
    }
}

/// Adds the keys of the mapping `defaults` that the mapping `own` lacks, on every level.
pub(super) fn merge(own: &Rc<Node>, defaults: &Rc<Node>) -> Rc<Node> {
    let (Value::Mapping(entries), Value::Mapping(others)) = (&own.value, &defaults.value) else {
        return own.clone();
    };
    let mut merged = entries.clone();
    for other in others {
        match merged.iter_mut().find(|entry| entry.key == other.key) {
            Some(entry) => entry.node = merge(&entry.node, &other.node),
            None => merged.push(Entry {
                place: own.place,
                ..other.clone()
            }),
        }
    }
    Rc::new(Node {
        value: Value::Mapping(merged),
        ..**own
    })
}

struct Composer<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: HashMap<usize, Rc<Node>>,
    nodes: usize,
    lines: Vec<&'t str>,
}

impl<'t> Composer<'t> {
    fn event(&mut self) -> Result<(Event<'t>, Span), Broken> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(Broken {
                place: place_of(error.marker()),
                message: format!("this is not valid YAML: {}", error.info()),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// Builds the node that `event` begins.
    fn node(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<Rc<Node>, Broken> {
        if depth > DEPTH {
            return Err(broken(span, "this is nested too deeply"));
        }
        let mut plain = false;
        let (anchor, value, size) = match event {
            Event::Alias(anchor) => {
                // An anchor that is still open would contain itself.
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(broken(span, "this alias is inside its own anchor"));
                };
                self.count(node.size, span)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                plain = style == ScalarStyle::Plain && tag.is_none();
                untagged(tag.as_deref(), span)?;
                let value = match plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    true => Value::Null,
                    false => Value::Scalar(text.into_owned()),
                };
                (anchor, value, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                untagged(tag.as_deref(), span)?;
                let (items, size) = self.sequence(depth)?;
                (anchor, Value::Sequence(items), size)
            }
            Event::MappingStart(anchor, tag) => {
                untagged(tag.as_deref(), span)?;
                let (entries, size) = self.mapping(depth)?;
                (anchor, Value::Mapping(entries), size)
            }
            _ => return Err(broken(span, "a value is missing here")),
        };
        self.count(1, span)?;
        let node = Rc::new(Node {
            place: place_of(&span.start),
            cut: plain && self.is_cut(span),
            value,
            size,
        });
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<(Vec<Rc<Node>>, usize), Broken> {
        let (mut items, mut size) = (Vec::new(), 1);
        loop {
            let (event, span) = self.event()?;
            if event == Event::SequenceEnd {
                return Ok((items, size));
            }
            let node = self.node(event, &span, depth + 1)?;
            if matches!(node.value, Value::Null) {
                return Err(broken(&span, "an item of this list is empty"));
            }
            size += node.size;
            items.push(node);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<(Vec<Entry>, usize), Broken> {
        let (mut entries, mut size) = (Vec::new(), 1);
        loop {
            let (event, span) = self.event()?;
            if event == Event::MappingEnd {
                return Ok((entries, size));
            }
            let Event::Scalar(key, ..) = event else {
                return Err(broken(&span, "a key must be a plain word"));
            };
            let (event, value_span) = self.event()?;
            let place = place_of(&span.start);
            let mut node = self.node(event, &value_span, depth + 1)?;
            size += node.size;
            if matches!(node.value, Value::Null) {
                // Probably by mistake, which is reported at the key.
                node = Rc::new(Node {
                    place,
                    value: Value::Null,
                    cut: false,
                    size: 1,
                });
            }
            entries.push(Entry {
                key: key.into_owned(),
                place,
                node,
            });
        }
    }

    /// Whether a comment follows on the line where a scalar ends.
    fn is_cut(&self, span: &Span) -> bool {
        let line = self.lines.get(span.end.line().saturating_sub(1));
        let rest = line.map(|line| line.chars().skip(span.end.col()));
        rest.is_some_and(|mut rest| rest.find(|c| !matches!(c, ' ' | '\t')) == Some('#'))
    }

    /// Counts nodes: aliases of aliases grow without bound in a short file.
    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Broken> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES {
            return Err(broken(span, "the file holds more than two million values"));
        }
        Ok(())
    }
}

/// Checks a tag; `!!str` and similar ones are implied anyway.
fn untagged(tag: Option<&Tag>, span: &Span) -> Result<(), Broken> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            Err(broken(span, "tags (!name) have no meaning here"))
        }
        _ => Ok(()),
    }
}

fn broken(span: &Span, message: &str) -> Broken {
    Broken {
        place: place_of(&span.start),
        message: message.into(),
    }
}

/// Converts a position; the parser counts columns from 0.
fn place_of(marker: &saphyr_parser::Marker) -> Position {
    (marker.line(), marker.col() + 1)
}
