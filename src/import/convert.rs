//! Converts an `emailproxy.config`, section by section.

use super::draft::{Draft, Imported, TokenFile, one_line};
use super::section::Section;
use std::collections::BTreeMap;

use configparser::ini::{Ini, IniDefault};

/// Sections that contain only explanations.
const PROSE: [&str; 4] = [
    "email oauth 2.0 proxy configuration file",
    "server setup",
    "account setup",
    "advanced proxy configuration",
];

/// Keys that only explain a file.
const DOCUMENTATION: [&str; 3] = ["documentation", "format", "warning"];

/// Converts a file of any of the three kinds; `tokens` are sasl-xoauth2's token files.
///
/// # Errors
///
/// The text is of none of these kinds; the error says why.
pub fn import(text: &str, tokens: &[TokenFile]) -> Result<Imported, String> {
    if super::json::begins_with_object(text) {
        return super::sasl_xoauth2::import(text, tokens);
    }
    if super::davmail::is_davmail(text) {
        return super::davmail::import(text);
    }
    emailproxy(text)
}

fn emailproxy(text: &str) -> Result<Imported, String> {
    let mut draft = Draft::from("an emailproxy.config");
    let sections = sections(text)?;
    let global = sections.get("emailproxy").cloned().unwrap_or_default();
    draft.global(&global);
    for (name, section) in &sections {
        if super::server::is_server(name) {
            super::server::add(&mut draft, name, section);
        }
    }
    for name in sections.keys() {
        if name.contains('@') {
            super::account::add(&mut draft, name, &sections, &global);
        } else if !super::server::is_server(name)
            && name != "emailproxy"
            && !PROSE.iter().any(|prose| name.starts_with(prose))
        {
            draft.note(format!(
                "[{name}] is neither a server nor an account; it is left out"
            ));
        }
    }
    draft.finish()
}

/// Reads sections like Python's configparser: `#` and `;` begin comments only at the beginning of a
/// line, indented lines continue the value before, and `[DEFAULT]` completes servers and
/// accounts.
fn sections(text: &str) -> Result<BTreeMap<String, Section>, String> {
    let mut defaults = IniDefault::default();
    defaults.multiline = true;
    defaults.comment_symbols = vec!['#', ';'];
    defaults.inline_comment_symbols = Some(Vec::new());
    let mut ini = Ini::new_from_defaults(defaults);
    let read = ini
        .read(text.to_owned())
        .map_err(|error| one_line(&format!("this is not an emailproxy.config: {error}")))?;
    let section = |keys: std::collections::HashMap<String, Option<String>>| {
        keys.into_iter()
            .filter(|(key, _)| !DOCUMENTATION.contains(&key.as_str()))
            .map(|(key, value)| (key, value.unwrap_or_default().trim().to_owned()))
            .collect()
    };
    let mut sections: BTreeMap<String, Section> = read
        .into_iter()
        .map(|(name, keys)| (name, Section(section(keys))))
        .collect();
    let defaults = sections.remove("default").unwrap_or_default();
    for (name, section) in &mut sections {
        let server = super::server::is_server(name);
        if !server && !name.contains('@') {
            continue;
        }
        for (key, value) in &defaults.0 {
            if super::server::KEYS.contains(&key.as_str()) == server {
                let own = section.0.entry(key.clone());
                own.or_insert_with(|| value.clone());
            }
        }
    }
    Ok(sections)
}
