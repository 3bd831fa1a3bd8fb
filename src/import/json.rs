//! Prepares JSON as jsoncpp reads it: with comments, and commas behind the last value.

/// Replaces comments (`//`, `/* */`) and commas before `}` or `]` by blanks. Strings stay as they
/// are.
pub(super) fn strict(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    // Where the last comma stands if nothing but blanks followed it.
    let mut comma = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let token = token(rest, c);
        let (read, behind) = rest.split_at(token);
        rest = behind;
        if read.starts_with("//") || read.starts_with("/*") {
            plain.push(' ');
            continue;
        }
        if let Some(at) = comma
            && matches!(c, '}' | ']')
        {
            plain.replace_range(at..at + 1, " ");
        }
        if !c.is_whitespace() {
            comma = (c == ',').then_some(plain.len());
        }
        plain.push_str(read);
    }
    plain
}

/// Length of the comment, string or character that the text begins with.
fn token(text: &str, first: char) -> usize {
    if text.starts_with("//") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        text.find("*/").map_or(text.len(), |end| end + 2)
    } else if first == '"' {
        string(text)
    } else {
        first.len_utf8()
    }
}

/// Length of the string that the text begins with, with its quotes.
fn string(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !is_escaped => return at + 1,
            _ => is_escaped = !is_escaped && c == '\\',
        }
    }
    text.len()
}
