//! Making a peer's text harmless.

/// Longest text kept of what a peer said.
const CAP: usize = 400;

/// A run of base64 characters this long is taken for a credential. Exchange's host names are full
/// of dots and its identifiers are at most 36 long; XOAUTH2 responses and the parts of a JWT are
/// longer.
const CREDENTIAL: usize = 48;

/// One line of printable text: control characters become spaces, over-long base64 runs (an
/// upstream may echo the line that it did not understand) are cut out, and the whole is bounded.
pub fn sanitize(text: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for character in text.chars() {
        if out.len() + run.len() >= CAP && run.len() < CREDENTIAL {
            run.push('…');
            break;
        }
        if character.is_ascii_alphanumeric() || "+/=_-".contains(character) {
            // Only the fact that the run is too long matters from here on.
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

/// Includes the line separators that some log viewers break at, and the bidirectional overrides.
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
