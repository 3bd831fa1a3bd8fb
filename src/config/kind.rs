//! Kinds of values: JSON Schema, and their names in the reference.

use serde_json::{Value as Json, json};

/// Keys of a section, in the order of the reference.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) rows: &'static [Row],
}

/// One key, a row of the reference.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) key: &'static str,
    /// Lines of the key's doc comment.
    pub(super) meaning: &'static [&'static str],
    pub(super) presence: Requirement,
    pub(super) kind: fn() -> Kind,
}

/// Meaning of an absent key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requirement {
    /// No value.
    Optional,
    /// Default that depends on other keys; the text describes it.
    Computed(&'static str),
    /// Default as a YAML value, and the text that describes it where the value itself does not.
    Default(&'static str, Option<&'static str>),
    /// The key is required; the text says what to write.
    Required(&'static str),
}

/// Kind of a value.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    /// Name of the kind in the reference.
    pub(super) name: String,
    pub(super) schema: Json,
    /// Keys of the section, or of each item of a list or map.
    pub(super) table: Option<(&'static Table, Shape)>,
}

/// Occurrence of sections under a key: one, a list, or by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
    Map,
}

impl Kind {
    /// Creates the kind of a scalar that the schema describes.
    pub(super) fn new(name: impl Into<String>, schema: Json) -> Self {
        Self {
            name: name.into(),
            schema,
            table: None,
        }
    }

    /// Creates the kind of any text; YAML's numbers and booleans are accepted as written.
    pub(super) fn text(name: &str) -> Self {
        Self::new(name, json!({"type": ["string", "number", "boolean"]}))
    }

    /// Creates the kind of a text with a form, given as a regular expression.
    pub(super) fn pattern(name: &str, pattern: &str) -> Self {
        Self::new(name, json!({"type": "string", "pattern": pattern}))
    }

    pub(super) fn words(words: &[&str]) -> Self {
        let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        Self::new(quoted.join(", "), json!({"enum": words}))
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

    /// Kind of a list. A scalar item may stand for a list of one.
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

    /// Kind of a map from names that the operator chooses.
    pub(super) fn map(self) -> Self {
        Self {
            name: format!("{}s by name", self.name),
            schema: json!({"type": "object", "additionalProperties": self.schema}),
            table: self.table.map(|(table, _)| (table, Shape::Map)),
        }
    }

    /// Kind of a value that is one or the other. The keys are those of the first that has any.
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
