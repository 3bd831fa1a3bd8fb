//! IMAP: an upstream that speaks when it likes, and literals on both sides.

use authrelay::wire::Protocol;

use super::octets::{Says, Script};
use super::random::Random;

fn imap_says(random: &mut Random) -> Says {
    let mut says = Says {
        octets: Vec::new(),
        boundaries: vec![0],
    };
    for n in 0..random.below(8) {
        let pad = "x".repeat(random.below(130));
        let literal = random.below(40);
        let body = b"* BYE\r\n{9}\r\n)abcdefghijklmnopqrstuvwxyz0123456789"[..literal].to_vec();
        match random.below(4) {
            0 => says.octets.extend(format!("* {n} EXISTS\r\n").into_bytes()),
            1 => says
                .octets
                .extend(format!("* OK {pad} {{5}}\r\n").into_bytes()),
            _ => {
                says.octets
                    .extend(format!("* {n} FETCH ({pad} {{{literal}}}\r\n").into_bytes());
                says.octets.extend(body);
                says.octets.extend(b")\r\n");
            }
        }
        says.boundaries.push(says.octets.len());
    }
    says
}

fn imap_client(random: &mut Random) -> Vec<u8> {
    let mut octets = Vec::new();
    for n in 0..random.below(6) {
        let literal = random.below(20);
        match random.below(3) {
            0 => octets.extend(format!("t{n} NOOP\r\n").into_bytes()),
            1 => octets.extend(format!("t{n} NOOP\n").into_bytes()),
            _ => {
                octets.extend(format!("t{n} APPEND x {{{literal}+}}\r\n").into_bytes());
                octets.extend(&b"a\nb\r\n{3}\r\nNOOP\n12345"[..literal]);
                octets.extend(b"\r\n");
            }
        }
    }
    octets
}

/// The client's octets with CRLF at the ends of lines outside of literals.
fn with_crlf(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
        let text = String::from_utf8_lossy(line).into_owned();
        if let Some(count) = text
            .strip_suffix("+}")
            .and_then(|text| text.rsplit('{').next())
        {
            let octets: usize = count.parse().unwrap();
            out.extend_from_slice(&rest[..octets]);
            rest = &rest[octets..];
        }
    }
    out.extend_from_slice(rest);
    out
}

pub fn play(mut random: Random) {
    let says = imap_says(&mut random);
    let sent = imap_client(&mut random);
    let expected = with_crlf(&sent);
    let script = Script {
        protocol: Protocol::Imap,
        says,
        sent,
        expected,
        unasked: true,
    };
    script.play(&mut random);
}
