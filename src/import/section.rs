//! Sections of imported files, and of the `proxy.yaml` that is built.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Section of an imported file, with lower-case keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Section(pub(super) BTreeMap<String, String>);

impl Section {
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns a value that is not empty.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Whether the value is a word for true.
    pub(super) fn is_set(&self, key: &str) -> bool {
        let value = self.get(key).unwrap_or_default().to_lowercase();
        ["true", "yes", "on", "1"].contains(&value.as_str())
    }
}

/// Creates a section of `proxy.yaml` from a JSON object, without the keys whose value is null.
pub(super) fn section(keys: Value) -> Map<String, Value> {
    match keys {
        Value::Object(keys) => keys
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect(),
        _ => Map::new(),
    }
}

/// Source of a local password that the operator writes.
pub(super) fn password_file(name: &str) -> Value {
    json!({"file": format!("passwords/{name}")})
}
