//! Names in commands that people copy into PowerShell or a shell: addresses and paths may contain
//! characters that these interpret.

use std::borrow::Cow;
use std::path::MAIN_SEPARATOR;

/// Quotes a text as a PowerShell string without expansion. Control characters are left out.
pub fn quoted(text: &str) -> String {
    // PowerShell accepts typographic quotes as single quotes.
    let is_quote = |character: char| matches!(character, '\'' | '\u{2018}'..='\u{201b}');
    let mut out = String::from("'");
    for character in text.chars().filter(|character| !character.is_control()) {
        if is_quote(character) {
            out.push(character);
        }
        out.push(character);
    }
    out.push('\'');
    out
}

/// Returns a name as a PowerShell argument: as it is if PowerShell interprets none of its
/// characters, otherwise quoted.
pub fn argument(name: &str) -> Cow<'_, str> {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || b"._@-+=".contains(&octet);
    match name.as_bytes() {
        [first, rest @ ..]
            if first.is_ascii_alphanumeric() && rest.iter().copied().all(is_plain) =>
        {
            name.into()
        }
        _ => quoted(name).into(),
    }
}

/// Returns a login or path as an argument of `authrelay` in a command that is copied into a shell:
/// as it is if shells interpret none of its characters, otherwise in the quotes that most of them
/// take.
pub fn shell_argument(text: &str) -> String {
    let is_path = |character: char| character == '\\' && MAIN_SEPARATOR == '\\';
    let is_plain = |character: char| {
        character.is_alphanumeric() || "._@-+=/:,".contains(character) || is_path(character)
    };
    let has = |special: &str| text.contains(|c| special.contains(c) && !is_path(c));
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else if !has("\"$`!%\\") {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Replaces placeholders in a remedy by names, given as pairs: by an argument where one is the value of
/// a PowerShell command's parameter (`-Identity MAILBOX`). Names are not searched for placeholders: a
/// client may have chosen them.
pub(super) fn fill(remedy: &str, names: &[(&str, &str)]) -> String {
    let next = |rest: &str| {
        let places = names
            .iter()
            .filter_map(|(placeholder, name)| Some((rest.find(placeholder)?, *placeholder, *name)));
        places.min_by_key(|(at, _, _)| *at)
    };
    let mut filled = String::with_capacity(remedy.len());
    let mut rest = remedy;
    while let Some((at, placeholder, name)) = next(rest) {
        let (before, behind) = rest.split_at(at);
        filled.push_str(before);
        match ends_with_parameter(before) {
            true => filled.push_str(&argument(name)),
            false => filled.push_str(name),
        }
        rest = behind.strip_prefix(placeholder).unwrap_or_default();
    }
    filled + rest
}

/// Whether the text ends with a parameter of a PowerShell command and a blank.
fn ends_with_parameter(text: &str) -> bool {
    let word = text
        .strip_suffix(' ')
        .and_then(|text| text.rsplit(' ').next());
    let name = word.and_then(|word| word.strip_prefix('-'));
    name.is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_one_word_to_a_shell() {
        for (text, argument) in [
            ("me@contoso.com", "me@contoso.com"),
            ("/etc/authrelay/proxy.yaml", "/etc/authrelay/proxy.yaml"),
            ("o'neil@contoso.com", "\"o'neil@contoso.com\""),
            ("my relay/proxy.yaml", "\"my relay/proxy.yaml\""),
            ("a;b@contoso.com", "\"a;b@contoso.com\""),
            ("*@contoso.com", "\"*@contoso.com\""),
            ("$x@contoso.com", "'$x@contoso.com'"),
            ("`x`'@contoso.com", r"'`x`'\''@contoso.com'"),
            ("", "\"\""),
        ] {
            assert_eq!(shell_argument(text), argument);
        }
    }

    #[test]
    fn names_that_powershell_interprets_are_quoted() {
        assert_eq!(quoted("a\u{2019}; rm\n"), "'a\u{2019}\u{2019}; rm'");
        for plain in ["me@contoso.com", "first.last+tag@contoso.com", "OBJECT_ID"] {
            assert_eq!(argument(plain), plain);
        }
        for (name, text) in [
            ("o'neil@contoso.com", "'o''neil@contoso.com'"),
            ("a;b@contoso.com", "'a;b@contoso.com'"),
            ("$x@contoso.com", "'$x@contoso.com'"),
            ("-x@contoso.com", "'-x@contoso.com'"),
            ("", "''"),
        ] {
            assert_eq!(argument(name), text);
        }
        assert_eq!(
            fill(
                "SENDER may not: Add-RecipientPermission -Identity SENDER",
                &[("SENDER", "a|b@c.com")]
            ),
            "a|b@c.com may not: Add-RecipientPermission -Identity 'a|b@c.com'"
        );
        // Whatever the parameter is called; and a name is no template.
        let names = [("MAILBOX", "SENDER'|x@c.com"), ("SENDER", "'|y@c.com")];
        assert_eq!(
            fill("Set-X -Mailbox MAILBOX -User SENDER", &names),
            "Set-X -Mailbox 'SENDER''|x@c.com' -User '''|y@c.com'"
        );
    }
}
