//! The import law: which module may name which. Every path in the sources counts, whether it
//! stands in a `use`, in an expression, in an attribute or in a macro's arguments; `super::` is
//! resolved to the module that it names. Tests inside `src/` obey it like the rest.
//!
//! [`breaches`] is a function over (path, source) pairs, so that the law can be seen to catch what
//! it forbids (the tests below plant breaches) before it is believed about the real sources.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A module of the crate, the modules of the crate (or parts of them) that it may name, and the
/// other crates that it may name where that is part of the law (`None`: whatever it needs).
struct Row {
    module: &'static str,
    modules: &'static [&'static str],
    crates: Option<&'static [&'static str]>,
}

const fn row(module: &'static str, modules: &'static [&'static str]) -> Row {
    Row {
        module,
        modules,
        crates: None,
    }
}

const fn pure(
    module: &'static str,
    modules: &'static [&'static str],
    crates: &'static [&'static str],
) -> Row {
    Row {
        module,
        modules,
        crates: Some(crates),
    }
}

/// In the order of the layers: a module names only modules above it, so that there is no circle.
/// `ARCHITECTURE.md` has the same table in words; tests below check both.
const LAW: &[Row] = &[
    pure("secret", &[], &["secrecy", "serde", "subtle"]),
    pure("wire", &["secret"], &["bytes", "nom", "memchr", "base64"]),
    pure("fault", &["wire"], &["bytes"]),
    pure("login", &["fault", "secret", "wire"], &["bytes"]),
    row("platform", &[]),
    row("text", &[]),
    row("expiry", &["text"]),
    row("program", &["platform"]),
    row("certs", &[]),
    row("tls", &["expiry", "platform", "secret", "text"]),
    row("stream", &["platform", "tls"]),
    row(
        "config",
        &[
            "certs", "expiry", "platform", "program", "secret", "text", "tls", "wire",
        ],
    ),
    row("outbound", &["config", "fault", "platform"]),
    row(
        "cluster",
        &["config", "fault", "outbound", "platform", "secret", "text"],
    ),
    row("environment", &["config", "fault"]),
    row("import", &["certs", "config", "secret", "wire"]),
    row("logging", &["config", "platform"]),
    row("fault_log", &["config", "fault"]),
    row("throttle", &["cluster", "wire"]),
    row("oidc", &["config", "fault", "outbound", "tls"]),
    row(
        "accept",
        &[
            "config",
            "fault",
            "fault_log",
            "outbound",
            "platform",
            "tls",
        ],
    ),
    row("auth", &["cluster", "config", "fault", "secret", "wire"]),
    row(
        "token",
        &[
            "auth::password",
            "cluster",
            "config",
            "environment",
            "fault",
            "outbound",
            "platform",
            "program",
            "secret",
            "text",
            "wire",
        ],
    ),
    row("relay", &["fault", "wire"]),
    row("audit", &["config", "outbound", "platform", "text", "tls"]),
    row(
        "upstream",
        &[
            "config", "fault", "login", "outbound", "secret", "stream", "wire",
        ],
    ),
    row("history", &["fault"]),
    row(
        "metrics",
        &["cluster", "config", "fault", "platform", "wire"],
    ),
    row(
        "notify",
        &["config", "metrics", "outbound", "platform", "tls"],
    ),
    row(
        "session",
        &[
            "accept",
            "audit",
            "auth",
            "cluster",
            "config",
            "environment",
            "fault",
            "fault_log",
            "history",
            "login",
            "metrics",
            "outbound",
            "relay",
            "stream",
            "text",
            "throttle",
            "tls",
            "token",
            "upstream",
            "wire",
        ],
    ),
    row(
        "status",
        &["config", "fault", "history", "session", "token", "wire"],
    ),
    row(
        "doctor",
        &[
            "auth::password",
            "config",
            "environment",
            "expiry",
            "fault",
            "login",
            "outbound",
            "secret",
            "session",
            "status",
            "stream",
            "token",
            "upstream",
            "wire",
        ],
    ),
    row(
        "admin",
        &[
            "accept",
            "audit",
            "config",
            "doctor",
            "fault",
            "fault_log",
            "oidc",
            "secret",
            "session",
            "status",
            "text",
            "tls",
            "token",
            "wire",
        ],
    ),
    row(
        "server",
        &[
            "accept", "admin", "config", "expiry", "fault", "history", "notify", "platform",
            "session", "status", "tls",
        ],
    ),
    row("sandbox", &[]),
    row(
        "cli",
        &[
            "admin", "audit", "certs", "cluster", "config", "doctor", "fault", "import", "logging",
            "platform", "sandbox", "secret", "server", "session", "status", "text", "tls", "token",
            "wire",
        ],
    ),
];

/// Neither a row nor a change of one can allow these: they do not import one another.
const STRANGERS: &[&str] = &["token", "auth", "accept", "relay", "audit"];

/// The one exception: a verified login is the key to tokens.
const KEY: (&str, &str) = ("token", "auth::password");

/// Clocks, sockets and whatever else is outside the process, closed to the modules whose crates
/// are part of the law.
const OUTSIDE: &[&str] = &["time", "net", "os", "fs", "io", "thread", "process", "env"];

/// What the tests inside a module may use besides.
const IN_TESTS: &[&str] = &["proptest"];

/// Where systems may be told apart.
const PLATFORM: &str = "platform";

/// The only file whose macro expands to `unsafe` code.
const UNSAFE: &str = "platform/windows/manager.rs";

/// What `cfg` asks about the system.
const SYSTEMS: &[&str] = &[
    "unix",
    "windows",
    "target_os",
    "target_family",
    "target_env",
    "target_vendor",
];

/// Lines that a file has at most; tests beside the code may have [`LONGEST_TESTS`].
const LONGEST: usize = 500;
const LONGEST_TESTS: usize = 600;

/// Lines that a function has at most, from its `fn` to its closing brace.
const LONGEST_FUNCTION: usize = 60;

/// Files and functions that are longer, each with its bound: tables of one row a kind or metric, and
/// what no seam has been found in. No new ones.
const LONGER: &[(&str, &str, usize)] = &[
    ("audit/export.rs", "cef", 75),
    ("audit/export.rs", "ocsf", 75),
];

/// The bound of a file (`function` is empty) or of a function.
fn bound(path: &str, function: &str) -> usize {
    let usual = match function {
        "" if path.contains("tests") => LONGEST_TESTS,
        "" => LONGEST,
        _ => LONGEST_FUNCTION,
    };
    let known = LONGER
        .iter()
        .find(|(file, name, _)| *file == path && *name == function);
    known.map_or(usual, |(_, _, lines)| *lines)
}

/// Each function of a formatted source, with its lines: it ends where a brace stands alone below the
/// beginning of its first line.
fn functions(source: &str) -> Vec<(String, usize)> {
    let lines: Vec<_> = source.lines().collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let words: Vec<_> = code.split_whitespace().collect();
        let is_head = |word: &&&str| {
            word.starts_with("pub")
                || ["async", "const", "in"].contains(*word)
                || word.ends_with(')')
        };
        let heads = words.iter().take_while(is_head).count();
        if words.get(heads) != Some(&"fn") || line.ends_with(';') || line.ends_with('}') {
            continue;
        }
        let name = words.get(heads + 1).copied().unwrap_or_default();
        let name = name.split(['(', '<']).next().unwrap_or_default();
        let indent = &line[..line.len() - code.len()];
        let is_end = |line: &&str| {
            let rest = line.strip_prefix(indent).unwrap_or_default();
            rest == "}" || (rest.starts_with(')') && rest.ends_with(';'))
        };
        let length = lines[index..].iter().position(is_end);
        found.push((name.to_owned(), length.unwrap_or(0) + 1));
    }
    found
}

/// Everything in `files` (paths below `src/`, sources) that breaks the law. `dependencies` are the
/// names under which other crates can be named.
fn breaches(files: &[(String, String)], dependencies: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut imports = BTreeSet::new();
    for (path, source) in files {
        let mut report = |what: String| found.push(format!("{path}: {what}"));
        let lines = source.lines().count();
        if lines > bound(path, "") {
            report(format!("{lines} lines, over {}", bound(path, "")));
        }
        if !path.starts_with("sandbox/") && !path.contains("tests") {
            for (name, lines) in functions(source) {
                if lines > bound(path, &name) {
                    let bound = bound(path, &name);
                    report(format!("{lines} lines in {name}, over {bound}"));
                }
            }
        }
        if !source.starts_with("//! ") {
            report("no `//!` header".into());
        }
        let module = module_of(path);
        let names = names(&tokens(source), &module);
        for banned in &names.banned {
            report(format!("{banned} hides imports from this test"));
        }
        if module.first().is_none_or(|top| top != PLATFORM) {
            for system in &names.systems {
                report(format!("{system} belongs into {PLATFORM}"));
            }
        }
        if names.allows_unsafe && path != UNSAFE {
            report(format!("unsafe code is allowed in {UNSAFE} only"));
        }
        let Some(top) = module.first() else {
            // The roots: `lib.rs` declares modules, `main.rs` calls the library.
            for target in &names.own {
                if path == "lib.rs" {
                    report(format!(
                        "lib.rs names {}: it declares modules only",
                        target.join("::")
                    ));
                }
            }
            continue;
        };
        let Some(row) = LAW.iter().find(|row| row.module == top) else {
            report(format!("the module {top} has no row in the law"));
            continue;
        };
        for target in &names.own {
            match target.first().map(String::as_str) {
                None | Some("*") => report("names the crate as a whole".into()),
                Some(other) if other == top => {}
                Some(other) => {
                    imports.insert((top.clone(), other.to_owned()));
                    let target = target.join("::");
                    let is_key = *top == KEY.0 && target.starts_with(KEY.1);
                    let strangers =
                        STRANGERS.contains(&top.as_str()) && STRANGERS.contains(&other) && !is_key;
                    let within = |allowed: &&str| {
                        let rest = target.strip_prefix(*allowed);
                        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
                    };
                    if other == "cli" || strangers || !row.modules.iter().any(within) {
                        report(format!("{top} must not name {target}"));
                    }
                }
            }
        }
        let Some(crates) = row.crates else { continue };
        for target in &names.other {
            let first = target.first().map_or("", String::as_str);
            let second = target.get(1).map_or("", String::as_str);
            let outside = first == "std" && OUTSIDE.contains(&second);
            let foreign = dependencies.contains(first)
                && !crates.contains(&first)
                && !IN_TESTS.contains(&first);
            if outside || foreign {
                report(format!("{top} must not name {}", target.join("::")));
            }
        }
    }
    // The only driver drives all of them.
    let exists = |name: &str| {
        files
            .iter()
            .any(|(path, _)| module_of(path).first().is_some_and(|top| top == name))
    };
    for name in STRANGERS.iter().filter(|name| exists(name)) {
        if exists("session") && !imports.contains(&("session".to_owned(), (*name).to_owned())) {
            found.push(format!("session does not import {name}"));
        }
    }
    found
}

/// `login/back/mod.rs` and `login/back.rs` are `login::back`; `lib.rs` and `main.rs` are the root.
fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let parts = path
        .split('/')
        .filter(|part| !matches!(*part, "mod" | "lib" | "main"));
    parts.map(str::to_owned).collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Colons,
    Mark(char),
}

/// Words, `::` and marks; comments, lifetimes and literals are left out.
fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let at = |index: usize| text.get(index).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < text.len() {
        let c = at(i);
        if c == '/' && at(i + 1) == '/' {
            while i < text.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                if at(i) == '/' && at(i + 1) == '*' {
                    depth += 1;
                    i += 2;
                } else if at(i) == '*' && at(i + 1) == '/' {
                    depth -= 1;
                    i += 2;
                } else {
                    i += 1;
                }
                if depth == 0 || i >= text.len() {
                    break;
                }
            }
        } else if c == '"' {
            i = string(&text, i + 1);
        } else if c == '\'' {
            // 'x' and '\…' are characters; anything else is a lifetime.
            if at(i + 1) == '\\' {
                i += 3;
                while i < text.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1;
                while is_word(at(i)) {
                    i += 1;
                }
            }
        } else if is_word(c) {
            let start = i;
            while is_word(at(i)) {
                i += 1;
            }
            let word: String = text[start..i].iter().collect();
            let hashes = (i..).take_while(|index| at(*index) == '#').count();
            match word.as_str() {
                "r" | "br" | "cr" if at(i + hashes) == '"' => {
                    let end: String = std::iter::once('"')
                        .chain(std::iter::repeat_n('#', hashes))
                        .collect();
                    i += hashes + 1;
                    while i < text.len()
                        && text[i..].iter().take(end.len()).collect::<String>() != end
                    {
                        i += 1;
                    }
                    i += end.len();
                }
                // A raw identifier is the word behind it.
                "r" if at(i) == '#' => i += 1,
                // The prefix of a literal.
                "b" | "c" if matches!(at(i), '"' | '\'') => {}
                _ => tokens.push(Token::Word(word)),
            }
        } else if c == ':' && at(i + 1) == ':' {
            tokens.push(Token::Colons);
            i += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(Token::Mark(c));
            }
            i += 1;
        }
    }
    tokens
}

/// Behind the quote that ends the string.
fn string(text: &[char], mut i: usize) -> usize {
    while i < text.len() {
        match text[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    i
}

/// What a file names.
#[derive(Debug, Default)]
struct Names {
    /// Of this crate, from its root.
    own: BTreeSet<Vec<String>>,
    /// Anything else.
    other: BTreeSet<Vec<String>>,
    banned: BTreeSet<&'static str>,
    /// What tells systems apart: `std::os::…` and `cfg` over systems.
    systems: BTreeSet<String>,
    allows_unsafe: bool,
}

/// Every path in a file that is the module `file`.
fn names(tokens: &[Token], file: &[String]) -> Names {
    let mut names = Names::default();
    // The module at each open brace.
    let mut modules = vec![file.to_vec()];
    let mut i = 0;
    let word = |i: usize| match tokens.get(i) {
        Some(Token::Word(word)) => word.as_str(),
        _ => "",
    };
    let mark = |i: usize, c: char| tokens.get(i) == Some(&Token::Mark(c));
    while i < tokens.len() {
        let here = modules.last().cloned().unwrap_or_default();
        match &tokens[i] {
            Token::Mark('{') => {
                let mut inner = here;
                if i >= 2 && word(i - 2) == "mod" {
                    inner.push(word(i - 1).to_owned());
                }
                modules.push(inner);
                i += 1;
            }
            Token::Mark('}') => {
                modules.pop();
                i += 1;
            }
            Token::Word(first) if first == "use" => {
                let mut leaves = Vec::new();
                i = tree(tokens, i + 1, &[], &mut leaves);
                for leaf in leaves {
                    keep(&mut names, &here, leaf);
                }
            }
            Token::Word(first) => {
                if first == "extern" && word(i + 1) == "crate" {
                    names.banned.insert("extern crate");
                }
                if first == "include" && mark(i + 1, '!') {
                    names.banned.insert("include!");
                }
                if first == "path" && mark(i + 1, '=') && i > 0 && mark(i - 1, '[') {
                    names.banned.insert("#[path]");
                }
                let called = mark(i + 1, '(') || (mark(i + 1, '!') && mark(i + 2, '('));
                let arguments = || arguments(tokens, i + 1);
                if called && ["cfg", "cfg_attr"].contains(&first.as_str()) {
                    for argument in arguments() {
                        if SYSTEMS.contains(&argument) {
                            names.systems.insert(format!("cfg({argument})"));
                        }
                    }
                }
                if called && first == "allow" && arguments().contains(&"unsafe_code") {
                    names.allows_unsafe = true;
                }
                let mut path = vec![first.clone()];
                i += 1;
                while tokens.get(i) == Some(&Token::Colons) && !word(i + 1).is_empty() {
                    path.push(word(i + 1).to_owned());
                    i += 2;
                }
                if path.len() > 1 {
                    keep(&mut names, &here, path);
                }
            }
            Token::Colons | Token::Mark(_) => i += 1,
        }
    }
    names
}

/// The words between the parentheses that open at `i` or just behind it.
fn arguments(tokens: &[Token], i: usize) -> Vec<&str> {
    let mut depth = 0;
    let mut words = Vec::new();
    for token in &tokens[i..] {
        match token {
            Token::Mark('(') => depth += 1,
            Token::Mark(')') if depth == 1 => break,
            Token::Mark(')') => depth -= 1,
            Token::Word(word) => words.push(word.as_str()),
            _ => {}
        }
    }
    words
}

/// The leaves of a `use` tree that begins at `i`; returns what follows it.
fn tree(tokens: &[Token], mut i: usize, prefix: &[String], leaves: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(i) {
            Some(Token::Word(word)) if word == "as" => i += 2,
            Some(Token::Word(word)) => {
                if word != "self" || path.is_empty() {
                    path.push(word.clone());
                }
                i += 1;
            }
            Some(Token::Colons) => i += 1,
            Some(Token::Mark('*')) => {
                path.push("*".into());
                i += 1;
            }
            Some(Token::Mark('{')) => {
                i += 1;
                while !matches!(tokens.get(i), Some(Token::Mark('}')) | None) {
                    i = tree(tokens, i, &path, leaves);
                    if tokens.get(i) == Some(&Token::Mark(',')) {
                        i += 1;
                    }
                }
                return i + 1;
            }
            _ => {
                leaves.push(path);
                return i;
            }
        }
    }
}

/// Sorts a path found in the module `here` to those of this crate, resolved, or to the others.
fn keep(names: &mut Names, here: &[String], path: Vec<String>) {
    let (mut base, skip) = match path.first().map(String::as_str) {
        Some("crate") => (Vec::new(), 1),
        Some("self" | "super") => (here.to_vec(), 0),
        _ => {
            if path.len() > 1 && path[0] == "std" && path[1] == "os" {
                names.systems.insert(path[..path.len().min(3)].join("::"));
            }
            names.other.insert(path);
            return;
        }
    };
    for segment in path.into_iter().skip(skip) {
        match segment.as_str() {
            "self" => {}
            "super" => {
                base.pop();
            }
            _ => base.push(segment),
        }
    }
    names.own.insert(base);
}

fn sources() -> Vec<(String, String)> {
    fn walk(root: &Path, directory: &Path, files: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.push((name.to_owned(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    files
}

/// The names that `Cargo.toml` gives to other crates.
fn dependencies() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let manifest = std::fs::read_to_string(path).unwrap();
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.contains("dependencies");
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            names.insert(name.trim().replace('-', "_"));
        }
    }
    names
}

#[test]
fn the_sources_obey_the_law() {
    let dependencies = dependencies();
    for known in ["tokio", "tracing", "tokio_rustls", "nom"] {
        assert!(dependencies.contains(known), "{known}");
    }
    let files = sources();
    assert!(files.len() > 50, "{} files", files.len());
    let breaches = breaches(&files, &dependencies);
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// Names are resolved and connections opened by `outbound` only, whatever they are for.
#[test]
fn only_outbound_opens_connections() {
    const OPENING: [&str; 3] = ["TcpStream::connect", "lookup_host", "to_socket_addrs"];
    let mut found = Vec::new();
    for (path, source) in sources() {
        let product = source.split("\nmod tests").next().unwrap_or_default();
        let opens = OPENING.iter().any(|call| product.contains(call));
        if opens && !path.starts_with("sandbox/") && !path.contains("tests") {
            found.push(path);
        }
    }
    assert_eq!(found, ["outbound/connect.rs", "outbound/names.rs"]);
}

fn planted(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files
        .iter()
        .map(|(path, source)| ((*path).to_owned(), format!("//! Header.\n{source}")))
        .collect();
    breaches(&files, &dependencies())
}

/// `tests/architecture/planted.txt`: a path, the source below it, and what must be found in it.
#[test]
fn planted_breaches_are_found_and_nothing_else() {
    let mut scenes = 0;
    let mut path = "";
    let mut source = String::new();
    for line in include_str!("architecture/planted.txt").lines() {
        if let Some(found) = line.strip_prefix("  > ") {
            let breaches = planted(&[(path, &source)]);
            let expected = match found {
                "nothing" => Vec::new(),
                found => vec![format!("{path}: {found}")],
            };
            assert_eq!(breaches, expected, "{path}:\n{source}");
            scenes += 1;
        } else if let Some(code) = line.strip_prefix("  ") {
            source.push_str(code);
            source.push('\n');
        } else if !line.is_empty() && !line.starts_with('#') {
            path = line;
            source.clear();
        }
    }
    assert!(scenes > 40, "{scenes} scenes");
}

#[test]
fn the_driver_must_drive_all() {
    let session = "use crate::{accept::listen, auth::Authenticator, relay, token::TokenSource};";
    let all = [
        "accept/mod.rs",
        "auth/mod.rs",
        "relay/mod.rs",
        "token/mod.rs",
    ];
    let mut files: Vec<_> = all.iter().map(|path| (*path, "")).collect();
    files.push(("session/mod.rs", session));
    assert_eq!(planted(&files), [""; 0]);
    files.last_mut().unwrap().1 = "use crate::{auth::Authenticator, relay, token::TokenSource};";
    assert_eq!(planted(&files), ["session does not import accept"]);
}

#[test]
fn long_files_and_missing_headers_are_found() {
    let long = format!("//! Header.\n{}", "\n".repeat(LONGEST));
    let body = "    step();\n".repeat(LONGEST_FUNCTION - 1);
    let function =
        format!("//! Header.\npub(super) async fn walk<T>(\n{body}}}\nfn short() {{\n}}\n");
    let files = [
        ("wire/a.rs".to_owned(), long),
        ("wire/b.rs".to_owned(), "use std::fmt;\n".to_owned()),
        ("wire/c.rs".to_owned(), function),
    ];
    assert_eq!(
        breaches(&files, &BTreeSet::new()),
        [
            "wire/a.rs: 501 lines, over 500",
            "wire/b.rs: no `//!` header",
            "wire/c.rs: 61 lines in walk, over 60",
        ]
    );
}

#[test]
fn the_law_has_layers_and_no_circle() {
    for (place, row) in LAW.iter().enumerate() {
        for named in row.modules {
            let module = named.split("::").next().unwrap();
            let is_above = LAW[..place].iter().any(|above| above.module == module);
            assert!(
                is_above,
                "{} names {named}, which is not above it",
                row.module
            );
        }
    }
}

/// Imports that lead from a file back to itself, by way of others: each circle as its files. A file
/// names another where a path leads into the other's module; declaring a module is no import, and
/// the tests inside a file are left out.
fn circles(files: &[(String, String)]) -> Vec<Vec<String>> {
    let modules: BTreeMap<Vec<String>, &str> = files
        .iter()
        .map(|(path, _)| (module_of(path), path.as_str()))
        .collect();
    let file_of = |target: &[String]| {
        let prefixes = (1..=target.len()).rev().map(|length| &target[..length]);
        prefixes.filter_map(|prefix| modules.get(prefix)).next()
    };
    let mut named: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, source) in files {
        let module = module_of(path);
        if module.is_empty() || module.iter().any(|part| part == "tests") {
            continue;
        }
        let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        // `pub(in crate::x)` says who may name an item, and names nothing.
        let source = source.replace("pub(in ", "(");
        let names = names(&tokens(&source), &module);
        let children = names.other.iter().map(|path| [&module[..], path].concat());
        let children = children.filter(|path| modules.contains_key(&path[..module.len() + 1]));
        let visible = |target: &Vec<String>| !module.starts_with(target);
        for target in names.own.iter().cloned().chain(children).filter(visible) {
            if let Some(file) = file_of(&target).filter(|file| *file != path) {
                named.entry(path).or_default().insert(file);
            }
        }
    }
    let reached = |from: &str| {
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(file) = open.pop() {
            for next in named.get(file).into_iter().flatten() {
                if reached.insert(*next) {
                    open.push(next);
                }
            }
        }
        reached
    };
    let all: BTreeMap<&str, BTreeSet<&str>> =
        named.keys().map(|file| (*file, reached(file))).collect();
    let mut found = BTreeSet::new();
    for (file, reached) in &all {
        if reached.contains(file) {
            let together = reached
                .iter()
                .filter(|other| all.get(*other).is_some_and(|back| back.contains(file)));
            found.insert(together.map(|file| (*file).to_owned()).collect::<Vec<_>>());
        }
    }
    found.into_iter().collect()
}

#[test]
fn no_file_imports_itself_by_way_of_others() {
    // The sandbox is a program of its own.
    let files: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| !path.starts_with("sandbox/"))
        .collect();
    let circles = circles(&files);
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn planted_circles_are_found() {
    let circles = |files: &[(&str, &str)]| {
        let files = files.iter();
        let files: Vec<_> = files
            .map(|(path, source)| ((*path).to_owned(), (*source).to_owned()))
            .collect();
        circles(&files)
    };
    let mod_rs = ("a/mod.rs", "mod b; mod c; pub use b::B; pub use c::C;");
    let straight = [
        mod_rs,
        ("a/b.rs", "pub struct B;"),
        ("a/c.rs", "use super::b::B;"),
    ];
    assert_eq!(circles(&straight), [[""; 0]; 0]);
    let through_parent = [
        mod_rs,
        ("a/b.rs", "pub struct B;"),
        ("a/c.rs", "use super::B;"),
    ];
    assert_eq!(circles(&through_parent), [["a/c.rs", "a/mod.rs"]]);
    let siblings = [
        mod_rs,
        ("a/b.rs", "use super::c::C;"),
        ("a/c.rs", "use crate::a::b;"),
    ];
    assert_eq!(circles(&siblings), [["a/b.rs", "a/c.rs"]]);
    let tested = [
        mod_rs,
        (
            "a/b.rs",
            "#[cfg(test)]\nmod tests { use super::super::c::C; }",
        ),
        ("a/c.rs", "use super::b::B;"),
    ];
    assert_eq!(circles(&tested), [[""; 0]; 0]);
}

/// `ARCHITECTURE.md` says the same: one row a module, its imports in the last column.
#[test]
fn the_document_states_the_law() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let document = std::fs::read_to_string(path).unwrap();
    let quoted = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let files = sources();
    for row in LAW {
        let folder = format!("{}/", row.module);
        let exists = files
            .iter()
            .any(|(path, _)| path.starts_with(&folder) || *path == format!("{}.rs", row.module));
        let name = [format!("| `{}` |", row.module), format!("| `{folder}` |")];
        let line = document
            .lines()
            .find(|line| name.iter().any(|name| line.starts_with(name)));
        assert_eq!(line.is_some(), exists, "the row of {}", row.module);
        let Some(line) = line else { continue };
        let last = line
            .trim_end_matches([' ', '|'])
            .rsplit('|')
            .next()
            .unwrap();
        let expected: BTreeSet<_> = row.modules.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(quoted(last), expected, "{}", row.module);
    }
}
