//! Parses Java properties (`java.util.Properties.load`).

use std::collections::BTreeMap;

/// Keys and values of a properties file, in the order of the keys.
pub(super) type Properties = BTreeMap<String, String>;

/// Parses `key=value`, `key: value` and `key value`. `#` and `!` begin comments at the beginning of
/// a line, `\` escapes a character, and at the end of a line it continues the line.
pub(super) fn parse(text: &str) -> Properties {
    let mut read = Properties::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while is_continued(&logical) {
            logical.pop();
            let Some(next) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let (key, value) = pair(&logical);
        read.insert(unescape(key), unescape(value).trim().to_owned());
    }
    read
}

/// Whether an odd number of backslashes ends the line.
fn is_continued(line: &str) -> bool {
    let backslashes = line.chars().rev().take_while(|c| *c == '\\').count();
    backslashes % 2 == 1
}

/// Splits a line at the first `=`, `:` or blank that is not escaped.
fn pair(line: &str) -> (&str, &str) {
    let mut is_escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !is_escaped && (matches!(c, '=' | ':') || c.is_whitespace());
        is_escaped = !is_escaped && *c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.map_or(line.len(), |(at, _)| at));
    let rest = rest.trim_start();
    (key, rest.strip_prefix(['=', ':']).unwrap_or(rest))
}

/// Replaces `\t`, `\n`, `\r`, `\f`, and `\u` with the four hexadecimal digits of a UTF-16 unit. Before any
/// other character the backslash is dropped.
fn unescape(text: &str) -> String {
    let mut units = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(first) = rest.next() {
        let escaped = match first {
            '\\' => rest.next(),
            _ => None,
        };
        let plain = match escaped {
            Some('t') => '\t',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('f') => '\u{c}',
            Some('u') => {
                let digits: String = rest.by_ref().take(4).collect();
                units.extend(u16::from_str_radix(&digits, 16).ok());
                continue;
            }
            Some(other) => other,
            None if first == '\\' => continue,
            None => first,
        };
        units.extend(plain.encode_utf16(&mut [0; 2]).iter());
    }
    String::from_utf16_lossy(&units)
}
