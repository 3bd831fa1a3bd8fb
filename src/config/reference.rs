//! Builds the README's reference tables and the JSON Schema.

use serde_json::{Value as Json, json};

use super::key::Value as _;
use super::kind::{Kind, Shape};
use super::kind::{Requirement, Row, Table};
use super::root::Root;

/// Builds the JSON Schema of `proxy.yaml`, for editors.
pub fn schema() -> Json {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "authrelay's proxy.yaml",
    });
    if let (Some(schema), Json::Object(root)) = (schema.as_object_mut(), Root::kind().schema) {
        schema.extend(root);
    }
    schema
}

/// Builds the reference tables of the README: one for the file, one for each list or map of sections.
pub fn markdown() -> String {
    let mut tables = Vec::new();
    let root = Root::kind();
    if let Some((root, _)) = root.table {
        tables.push(("proxy.yaml".to_owned(), root));
    }
    let mut text = String::new();
    let mut next = 0;
    while let Some((title, table)) = tables.get(next).cloned() {
        next += 1;
        let mut rows = String::new();
        write_rows(&mut rows, table, "", &title, &mut tables);
        text.push_str(&format!(
            "**`{title}`**\n\n| key | kind | default | meaning |\n| --- | --- | --- | --- |\n{rows}\n"
        ));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Writes the rows of a table including those of nested sections; lists and maps get their own
/// tables.
fn write_rows(
    text: &mut String,
    table: &'static Table,
    prefix: &str,
    title: &str,
    tables: &mut Vec<(String, &'static Table)>,
) {
    for row in table.rows {
        let kind = (row.kind)();
        let key = format!("{prefix}{}", row.key);
        text.push_str(&row.line(&key, &kind));
        let Some((inner, shape)) = kind.table else {
            continue;
        };
        let within = match title {
            "proxy.yaml" => key.clone(),
            title => format!("{title}.{key}"),
        };
        match shape {
            Shape::One => write_rows(text, inner, &format!("{key}."), title, tables),
            Shape::List => tables.push((format!("{within}[]"), inner)),
            Shape::Map => tables.push((format!("{within}.NAME"), inner)),
        }
    }
}

impl Row {
    pub(super) fn is_required(&self) -> bool {
        matches!(self.presence, Requirement::Required(_))
    }

    /// Formats the key's row in the reference.
    fn line(&self, key: &str, kind: &Kind) -> String {
        let default = match self.presence {
            Requirement::Optional => String::new(),
            Requirement::Computed(text) | Requirement::Default(_, Some(text)) => text.to_owned(),
            Requirement::Default("{}", None) => "its keys'".to_owned(),
            Requirement::Default(yaml, None) => format!("`{yaml}`"),
            Requirement::Required(_) => "required".to_owned(),
        };
        let cell = |text: &str| text.replace('|', "\\|");
        format!(
            "| `{key}` | {} | {} | {} |\n",
            cell(&kind.name),
            cell(&default),
            cell(&self.meaning())
        )
    }

    fn meaning(&self) -> String {
        let lines: Vec<_> = self.meaning.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    }

    /// Builds the key's JSON Schema with description and default.
    pub(super) fn schema(&self) -> Json {
        let mut schema = (self.kind)().schema;
        if let Some(schema) = schema.as_object_mut() {
            let text = match self.presence {
                Requirement::Computed(text) | Requirement::Default(_, Some(text)) => {
                    format!("{} (default: {text})", self.meaning())
                }
                _ => self.meaning(),
            };
            schema.insert("description".into(), text.into());
            if let Requirement::Default(text, None) = self.presence {
                let value = serde_yaml::from_str::<Json>(text);
                schema.insert("default".into(), value.unwrap_or_else(|_| text.into()));
            }
        }
        schema
    }
}
