//! A PROXY header and what follows it, from a balancer that may be hostile: whoever reads only what
//! is asked for must end exactly behind the header, and the rest must change nothing.

use authrelay::accept::proxy_protocol::{Malformed, Parsed, ProxyHeader, V1_CAP, V2_CAP, parse};

use super::pieces::same_for_every_cut;

/// Reads as the relay does, but never beyond what has arrived: the header and its length, or how
/// much was read when it was refused.
fn take(pieces: &[&[u8]]) -> (Result<Option<ProxyHeader>, Malformed>, usize) {
    let (mut read, mut waiting): (Vec<u8>, Vec<u8>) = Default::default();
    let mut pieces = pieces.iter();
    loop {
        match parse(&read) {
            Err(malformed) => return (Err(malformed), read.len()),
            Ok(Parsed::Complete(header)) => return (Ok(Some(header)), read.len()),
            Ok(Parsed::Missing(more)) => {
                assert!(more > 0, "nothing is missing after {}", read.len());
                if waiting.is_empty() {
                    match pieces.next() {
                        Some(piece) => waiting = piece.to_vec(),
                        None => return (Ok(None), read.len()),
                    }
                }
                read.extend(waiting.drain(..more.min(waiting.len())));
            }
        }
    }
}

/// The whole input is one header and more.
pub fn proxy_header(input: &[u8]) {
    let (outcome, length) = same_for_every_cut(input.len(), |cut| {
        let (outcome, length) = take(&cut.pieces(input, 0));
        // Garbage is found out sooner where it comes octet by octet.
        match outcome {
            Ok(_) => (outcome.ok(), length),
            Err(_) => (None, 0),
        }
    });
    let Some(header) = outcome else { return };
    let Some(header) = header else {
        assert_eq!(length, input.len(), "waits although there is more");
        assert!(length < V2_CAP);
        return;
    };
    assert!(length <= V2_CAP);
    let text = &input[..length];
    if text[0] == b'P' {
        assert!(length <= V1_CAP && text.ends_with(b"\r\n"));
        assert_eq!(text.iter().filter(|octet| **octet == b'\n').count(), 1);
    } else {
        assert_eq!(
            length,
            16 + usize::from(u16::from_be_bytes([text[14], text[15]]))
        );
    }
    if let ProxyHeader::Client(client) = header {
        assert_eq!(client.ip(), client.ip().to_canonical());
    }
    // Nothing behind the header has a say in it, and nothing less is one.
    assert_eq!(parse(text), Ok(Parsed::Complete(header)));
    for end in 0..length {
        assert!(matches!(parse(&text[..end]), Ok(Parsed::Missing(_))));
    }
}
