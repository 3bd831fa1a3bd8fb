//! What may be written for a key: its JSON Schema, and a word for the reference.

use serde_json::{Value as Json, json};

/// The keys of a section, in the order of the reference.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: &'static [Row],
}

/// Row of the reference: one key.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: &'static str,
    /// The lines of its doc comment.
    pub(super) meaning: &'static [&'static str],
    pub(super) presence: Requirement,
    pub(super) kind: fn() -> Kind,
}

/// Meaning of the absence of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requirement {
    /// No value is meant.
    Optional,
    /// Description of the default, which depends on other keys.
    Computed(&'static str),
    /// Default as a value in YAML.
    Default(&'static str),
    /// The key must be present; the text says what to write.
    Required(&'static str),
}

/// The kind of a value.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    /// Name of the kind in the reference.
    pub(super) name: String,
    pub(super) schema: Json,
    /// The keys of a section, or of each item of a list or a map.
    pub(super) table: Option<(&'static Table, Shape)>,
}

/// How sections stand under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    Map,
}

impl Kind {
    /// A scalar that the schema describes.
    pub(super) fn new(name: impl Into<String>, schema: Json) -> Self {
        Self {
            name: name.into(),
            schema,
            table: None,
        }
    }

    /// Any text: YAML's numbers and booleans are taken as they are written.
    pub(super) fn text(name: &str) -> Self {
        Self::new(name, json!({"type": ["string", "number", "boolean"]}))
    }

    /// Text of a form, as a regular expression.
    pub(super) fn pattern(name: &str, pattern: &str) -> Self {
        Self::new(name, json!({"type": "string", "pattern": pattern}))
    }

    pub(super) fn words(words: &[&str]) -> Self {
        Self::new(
            words
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>()
                .join(", "),
            json!({"enum": words}),
        )
    }

    pub(super) fn section(table: &'static Table) -> Self {
        let required = table.rows.iter().filter(|row| row.is_required());
        let required: Vec<_> = required.map(|row| row.key).collect();
        let properties: serde_json::Map<_, _> = table
            .rows
            .iter()
            .map(|row| (row.key.to_owned(), row.schema()))
            .collect();
        Self {
            name: "section".into(),
            schema: json!({
                "type": "object",
                "additionalProperties": false,
                "required": required,
                "properties": properties,
            }),
            table: Some((table, Shape::One)),
        }
    }

    /// A list of these; a value that is no section may stand for a list of one.
    pub(super) fn list(self, least: usize) -> Self {
        let list = json!({"type": "array", "minItems": least, "items": self.schema});
        match self.table {
            Some((table, _)) => Self {
                name: "list of sections".into(),
                schema: list,
                table: Some((table, Shape::List)),
            },
            None => Self::new(
                format!("{}, or a list", self.name),
                json!({"anyOf": [self.schema, list]}),
            ),
        }
    }

    /// Such values under names that the operator chooses.
    pub(super) fn map(self) -> Self {
        Self {
            name: format!("{}s by name", self.name),
            schema: json!({"type": "object", "additionalProperties": self.schema}),
            table: self.table.map(|(table, _)| (table, Shape::Map)),
        }
    }

    /// One or the other; the keys are those of the one that has some.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            name: format!("{}, or {}", self.name, other.name),
            schema: json!({"anyOf": [self.schema, other.schema]}),
            table: self.table.or(other.table),
        }
    }

    pub(super) fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }
}
