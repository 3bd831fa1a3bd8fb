//! The words of the sources: names that belong to earlier pictures of the product or mean something
//! else in this field, and doc comments that need the line below to be understood.
//!
//! [`breaches`] is a function over (path, source) pairs, so that the rules can be seen to catch what
//! they forbid (the tests below plant breaches) before they are believed about the real sources.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;

/// Type names that are taken by another meaning in this field, or picture what has a name.
const TYPES: &[&str] = &[
    "Broker",
    "Desk",
    "Door",
    "Doors",
    "Ledger",
    "News",
    "Overview",
    "Patient",
    "Postmaster",
    "Presence",
    "Purpose",
    "Quiet",
    "Quota",
    "Quotas",
    "Seat",
    "Seats",
    "Visitor",
];

/// Words that are no part of any name in `snake_case`.
const PARTS: &[&str] = &[
    "broker",
    "desk",
    "door",
    "doors",
    "ledger",
    "patient",
    "patients",
    "postmaster",
    "seat",
    "seats",
    "visitor",
];

/// Functions that say neither what happened (`on_…`) nor what they ask (`is_`, `has_`, `needs_`).
const FUNCTIONS: &[&str] = &[
    "asks", "behind", "holds", "knows", "refused", "tells", "told",
];

/// Modules that have other names.
const MODULES: &[&str] = &[
    "accounts_proof",
    "ledger",
    "live",
    "net",
    "overview",
    "proof",
    "quiet",
    "quota",
    "welcome",
];

/// Words and phrases of comments that have a plain form.
const PHRASES: &[&str] = &[
    "anew",
    "anybody",
    "as it comes",
    "besides",
    "broker",
    "by halves",
    "clean boundary",
    "door",
    "farewell",
    "for want of",
    "healed",
    "hears",
    "in words",
    "knocks",
    "mend",
    "mended",
    "nobody",
    "of late",
    "patient",
    "seat",
    "so long",
    "so many",
    "turned away",
    "under way",
    "visitor",
];

/// Beginnings of doc comments that leave out their subject.
const BEGINNINGS: &[&str] = &[
    "It ",
    "Its ",
    "It's ",
    "Who ",
    "Whom ",
    "Whose ",
    "What ",
    "Whatever ",
    "Of ",
    "So many ",
    "So long ",
    "The same ",
    "All of ",
    "That of ",
    "Those ",
    "As ",
    "About ",
    "And ",
    "Anybody ",
    "Anything ",
    "But ",
    "By ",
    "Has ",
    "Is ",
    "No one ",
    "Nobody ",
    "Once ",
    "Or ",
    "Others ",
    "Somebody ",
    "Something ",
    "Their ",
    "There ",
    "These ",
    "They ",
    "Time for which ",
    "When ",
    "Wherever ",
    "Whichever ",
];

/// Words that a doc comment of a public item has at least: `Name of the provider.` stands by itself,
/// `The port.` does not.
const LEAST: usize = 3;

/// What this test does not read: the doc comments of commands are the lines of `--help`.
const ELSEWHERE: &[&str] = &["cli/command.rs"];

/// A source without strings, in parts.
#[derive(Default)]
struct Parts {
    /// Identifiers with their lines.
    names: Vec<(usize, String)>,
    /// Comment lines with their lines' numbers.
    comments: Vec<(usize, String)>,
}

/// Takes a source apart; strings and characters are left out.
fn parts(source: &str) -> Parts {
    let mut parts = Parts::default();
    let octets: Vec<char> = source.chars().collect();
    let (mut at, mut line) = (0, 1);
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    while at < octets.len() {
        let rest = &octets[at..];
        let length = match rest {
            ['/', '/', ..] => {
                let end = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
                parts.comments.push((line, rest[..end].iter().collect()));
                end
            }
            ['"', ..] => string(rest),
            ['r', '"' | '#', ..] if raw_string(rest).is_some() => raw_string(rest).unwrap(),
            ['\'', '\\', ..] => 3 + rest[3..].iter().position(|c| *c == '\'').unwrap_or(0),
            ['\'', _, '\'', ..] => 3,
            [c, ..] if is_name(*c) => {
                let end = rest.iter().position(|c| !is_name(*c)).unwrap_or(rest.len());
                parts.names.push((line, rest[..end].iter().collect()));
                end
            }
            _ => 1,
        };
        line += rest[..length].iter().filter(|c| **c == '\n').count();
        at += length;
    }
    parts
}

/// The length of a string literal, its quotes included.
fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The length of a raw string literal (`r"…"`, `r#"…"#`), if there is one.
fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some(())?;
    let begin = 2 + hashes;
    let ends = |at: &usize| {
        rest[*at] == '"'
            && rest[at + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes
    };
    let end = (begin..rest.len()).find(ends)?;
    Some(end + 1 + hashes)
}

/// Everything in `files` (paths below `src/`, sources) that breaks a rule.
fn breaches(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, source) in files {
        if ELSEWHERE.iter().any(|folder| path.starts_with(folder)) {
            continue;
        }
        let mut report = |line: usize, what: String| found.push(format!("{path}:{line}: {what}"));
        let source = &without_keys(source);
        let parts = parts(source);
        let mut before = "";
        for (line, name) in &parts.names {
            let of_words = name.chars().all(|c| !c.is_uppercase());
            let is_part = of_words && name.split('_').any(|part| PARTS.contains(&part));
            if is_part || TYPES.contains(&name.as_str()) {
                report(*line, format!("a name `{name}`"));
            } else if before == "fn" && FUNCTIONS.contains(&name.as_str()) {
                report(*line, format!("a function `{name}`"));
            } else if before == "mod" && MODULES.contains(&name.as_str()) {
                report(*line, format!("a module `{name}`"));
            }
            before = name;
        }
        for (line, comment) in &parts.comments {
            let words = format!(" {} ", plain(comment));
            for phrase in PHRASES {
                if words.contains(&format!(" {phrase} ")) {
                    report(*line, format!("`{phrase}` in a comment"));
                }
            }
        }
        documentation(source, &mut report);
    }
    found
}

/// Blanks the lines of each `section!`: the comments of keys are cells of the reference.
fn without_keys(source: &str) -> String {
    let mut is_section = false;
    let mut kept = String::new();
    for line in source.lines() {
        is_section |= line == "section! {";
        if !is_section {
            kept.push_str(line);
        }
        kept.push('\n');
        is_section &= line != "}";
    }
    kept
}

/// A comment's words in lower case, one space apart; code in backquotes is left out.
fn plain(comment: &str) -> String {
    let prose: String = comment.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let words = prose.split(|c: char| !c.is_alphabetic() && c != '\'');
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}

/// Reports public items without a doc comment, with one that is too short, or with one that leaves
/// out its subject.
fn documentation(source: &str, report: &mut dyn FnMut(usize, String)) {
    let mut comment: Option<(usize, String)> = None;
    for (index, line) in source.lines().map(str::trim).enumerate() {
        if let Some(text) = line.strip_prefix("///") {
            let (_, said) = comment.get_or_insert((index + 1, String::new()));
            said.push_str(text);
            continue;
        }
        if line.starts_with("#[") || line.ends_with(")]") {
            continue;
        }
        let said = comment.take();
        let is_public = line.starts_with("pub ") || line.starts_with("pub(");
        if let Some((at, said)) = &said {
            let words = said.split_whitespace().count();
            if is_public && words < LEAST {
                report(*at, format!("a public item's comment of {words} words"));
            }
            if let Some(begin) = BEGINNINGS
                .iter()
                .find(|begin| said.trim().starts_with(**begin))
            {
                report(
                    *at,
                    format!("a doc comment that begins with `{}`", begin.trim()),
                );
            }
        }
        let declares = ["pub use ", "pub mod "]
            .iter()
            .any(|how| line.starts_with(how));
        if said.is_none() && line.starts_with("pub ") && !declares {
            report(index + 1, "a public item without a comment".into());
        }
    }
}

/// The sources, with paths below `src/`; tests have their own words.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .replace('\\', "/");
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.contains("tests") {
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

#[test]
fn the_sources_use_the_fields_words() {
    let sources = sources();
    assert!(sources.len() > 200, "{} sources", sources.len());
    let found = breaches(&sources);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn planted_words_are_found() {
    let source = r#"//! Header: nobody knows.
/// Gives the broker of a token.
pub fn broker() -> Broker { let door_open = "a door, a Seat"; Broker }
/// Whether `nobody` may use it, as code says.
pub fn knows(seated: bool) -> bool { seated }
mod ledger;
"#;
    let found = breaches(&[("wire/a.rs".into(), source.into())]);
    assert_eq!(
        found,
        [
            "wire/a.rs:3: a name `broker`",
            "wire/a.rs:3: a name `Broker`",
            "wire/a.rs:3: a name `door_open`",
            "wire/a.rs:3: a name `Broker`",
            "wire/a.rs:5: a function `knows`",
            "wire/a.rs:6: a name `ledger`",
            "wire/a.rs:1: `nobody` in a comment",
            "wire/a.rs:2: `broker` in a comment",
        ]
    );
    assert!(breaches(&[("cli/command.rs".into(), source.into())]).is_empty());
}

#[test]
fn planted_comments_are_found() {
    let source = "//! Header.\n\
        /// What is counted, by protocol.\n\
        pub fn counted() {}\n\
        /// The port.\n\
        #[must_use]\n\
        pub(crate) fn port() {}\n\
        pub fn bare() {}\n\
        /// Gives the number of sessions.\n\
        pub fn sessions() {}\n\
        pub use std::fmt;\n\
        /// It is private.\n\
        fn private() {}\n";
    assert_eq!(
        breaches(&[("wire/a.rs".into(), source.into())]),
        [
            "wire/a.rs:2: a doc comment that begins with `What`",
            "wire/a.rs:4: a public item's comment of 2 words",
            "wire/a.rs:7: a public item without a comment",
            "wire/a.rs:11: a doc comment that begins with `It`",
        ]
    );
}
