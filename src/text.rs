//! Text files from any editor, and counts in sentences.
//!
//! Accepted are UTF-8 with or without byte order mark, and UTF-16 with one, as written by Notepad
//! and PowerShell's `Out-File`.

use zeroize::Zeroizing;

const UTF_8: [u8; 3] = [0xef, 0xbb, 0xbf];
const UTF_16_LITTLE: [u8; 2] = [0xff, 0xfe];
const UTF_16_BIG: [u8; 2] = [0xfe, 0xff];

/// Decodes a text without its mark; `None` if it is neither UTF-8 nor marked UTF-16.
pub fn decode(octets: &[u8]) -> Option<Zeroizing<String>> {
    let units = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, odd) = rest.as_chunks::<2>();
        let units = pairs.iter().map(|pair| unit(*pair));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.ok().filter(|_| odd.is_empty())
    };
    let text = if let Some(rest) = octets.strip_prefix(&UTF_16_LITTLE) {
        units(rest, u16::from_le_bytes)?
    } else if let Some(rest) = octets.strip_prefix(&UTF_16_BIG) {
        units(rest, u16::from_be_bytes)?
    } else {
        let rest = octets.strip_prefix(&UTF_8).unwrap_or(octets);
        std::str::from_utf8(rest).ok()?.to_owned()
    };
    Some(Zeroizing::new(text))
}

/// Whether the text begins with a byte order mark.
pub fn is_marked(octets: &[u8]) -> bool {
    octets.starts_with(&UTF_8)
        || octets.starts_with(&UTF_16_LITTLE)
        || octets.starts_with(&UTF_16_BIG)
}

/// The text without one line end behind it.
pub fn without_line_end(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

/// `1 record`, `2 records`: a count and its noun, which takes an s unless the count is 1.
pub fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        for (count, text) in [(0, "0 days"), (1, "1 day"), (2, "2 days")] {
            assert_eq!(counted(count, "day"), text);
        }
    }

    #[test]
    fn marks_are_no_text_and_decide_how_it_is_read() {
        let utf_16 = |unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
            "\u{feff}Zoë\r\n".encode_utf16().flat_map(unit).collect()
        };
        for octets in [
            "Zoë\r\n".as_bytes().to_vec(),
            "\u{feff}Zoë\r\n".as_bytes().to_vec(),
            utf_16(u16::to_le_bytes),
            utf_16(u16::to_be_bytes),
        ] {
            assert_eq!(decode(&octets).unwrap().as_str(), "Zoë\r\n", "{octets:?}");
        }
        assert!(decode(&[0xff, 0xfe, 0x41]).is_none());
        assert!(decode(&[0xff, 0xfe, 0x00, 0xd8]).is_none());
        assert!(decode(b"Zo\xeb").is_none());
    }
}
