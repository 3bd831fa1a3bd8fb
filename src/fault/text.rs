//! Sanitizes text of peers.

/// Longest sanitized text, in octets.
const CAP: usize = 400;

/// Length from which a run of base64 characters is taken for a credential. Exchange's host names
/// contain dots and its identifiers have at most 36 characters; XOAUTH2 responses and the parts of
/// a JWT are longer.
const CREDENTIAL: usize = 48;

/// Least length of a secret that is cut, in octets: a shorter one is part of many words.
const LEAST_SECRET: usize = 4;

/// Returns one line of printable text of bounded length. Control characters become spaces. Long
/// base64 runs are cut out, since an upstream may echo a line that it did not understand.
pub fn sanitize(text: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for character in text.chars() {
        if out.len() + run.len() >= CAP && run.len() < CREDENTIAL {
            run.push('…');
            break;
        }
        if character.is_ascii_alphanumeric() || "+/=_-".contains(character) {
            // Beyond this length only the fact that the run is too long matters.
            if run.len() <= CREDENTIAL {
                run.push(character);
            }
            continue;
        }
        flush(&mut run, &mut out);
        out.push(if is_control(character) {
            ' '
        } else {
            character
        });
    }
    flush(&mut run, &mut out);
    out.trim().to_owned()
}

/// Replaces the secrets of a request in the text of its answer, which some peers repeat.
pub fn cut_secrets<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        if secret.len() >= LEAST_SECRET && text.contains(secret) {
            text = text.replace(secret, "[cut]");
        }
    }
    text
}

/// Whether a character is a control character, a line separator at which some log viewers break, or
/// a bidirectional override.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn flush(run: &mut String, out: &mut String) {
    if run.len() >= CREDENTIAL && !run.ends_with('…') {
        out.push_str("[cut]");
    } else {
        out.push_str(run);
    }
    run.clear();
}
