//! Server names of clients that are no host names: TLS goes on without a name.
//!
//! Some devices ask for the name that their user typed, blanks and brackets included. rustls refuses
//! such a ClientHello, and has no setting for it. [`hide`] therefore changes the type of the
//! extension before rustls reads it: to a private one, which rustls ignores. The length stays.
//! [`super::transcript`] gives the hash of the handshake what the client sent.
//!
//! Sending the private type gains nothing: a ClientHello with it and one with the registered type
//! have the same hash only where rustls could use no name of either, so both are treated alike.

use std::ops::Range;

use rustls_pki_types::ServerName;

use super::client_hello::Reader;

/// Type of the extension (RFC 6066 §3).
pub(super) const SERVER_NAME: u16 = 0;

/// Type in its place: of the range for private use, `0xff00` to `0xffff` (RFC 8447 §7).
const HIDDEN: u16 = 0xff5c;

/// Types of records (RFC 8446 §5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// Maximum length of a record in clear, in octets (RFC 8446 §5.1).
const MAX_RECORD: usize = 16_384;

/// Maximum length of a handshake message that rustls reads, in octets.
const MAX_MESSAGE: usize = 0xffff;

/// Hides a server name that rustls would refuse in a ClientHello at the front of `records`, which a
/// change_cipher_spec may precede (RFC 8446 §D.4). It may be split into records in any way.
///
/// Returns false if the ClientHello is incomplete: call again with the same octets and those that
/// follow, and keep them from rustls until then. Anything else stays as it is, for rustls to judge.
pub fn hide(records: &mut [u8]) -> bool {
    match Front::read(records) {
        Front::Incomplete => false,
        Front::Other => true,
        Front::ClientHello { message, fragments } => {
            if let Some(position) = find(&message, SERVER_NAME) {
                for (offset, octet) in HIDDEN.to_be_bytes().into_iter().enumerate() {
                    put(records, &fragments, position + offset, octet);
                }
            }
            true
        }
    }
}

/// Position of the hidden type in a message of a handshake, which may be cut off at its end.
pub(super) fn find_hidden(message: &[u8]) -> Option<usize> {
    find(message, HIDDEN)
}

/// First octets of a connection, or of a client's second flight.
enum Front {
    /// A whole ClientHello, and where in the records its fragments are.
    ClientHello {
        message: Vec<u8>,
        fragments: Vec<Range<usize>>,
    },
    /// The beginning of a ClientHello, or nothing yet.
    Incomplete,
    /// Octets that are no ClientHello.
    Other,
}

impl Front {
    fn read(records: &[u8]) -> Self {
        let mut message = Vec::new();
        let mut fragments = Vec::new();
        let mut reader = Reader(records);
        loop {
            let header = reader.take(5.min(reader.0.len())).unwrap_or_default();
            match header {
                [] | [HANDSHAKE] | [HANDSHAKE, 3, ..] => {}
                [CHANGE_CIPHER_SPEC] | [CHANGE_CIPHER_SPEC, 3, ..] if message.is_empty() => {}
                _ => return Self::Other,
            }
            let [kind, _, _, high, low] = *header else {
                return Self::Incomplete;
            };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 || length > MAX_RECORD {
                return Self::Other;
            }
            let start = records.len() - reader.0.len();
            let whole = reader.take(length);
            if kind == HANDSHAKE {
                message.extend_from_slice(whole.unwrap_or(reader.0));
                fragments.push(start..start + length);
            }
            match message_length(&message) {
                Err(()) => return Self::Other,
                _ if whole.is_none() => return Self::Incomplete,
                Ok(Some(length)) if message.len() >= length => {
                    message.truncate(length);
                    return Self::ClientHello { message, fragments };
                }
                Ok(_) => {}
            }
        }
    }
}

/// Length of a ClientHello with its header, as far as `message` has it. An error: it is none, or
/// longer than rustls reads.
fn message_length(message: &[u8]) -> Result<Option<usize>, ()> {
    let mut reader = Reader(message);
    match reader.number(1) {
        None => Ok(None),
        Some(1) => match reader.number(3) {
            Some(length) if length > MAX_MESSAGE => Err(()),
            length => Ok(length.map(|length| length + 4)),
        },
        Some(_) => Err(()),
    }
}

/// Replaces the octet of a message at `position`.
fn put(records: &mut [u8], fragments: &[Range<usize>], mut position: usize, octet: u8) {
    for fragment in fragments {
        if position < fragment.len() {
            if let Some(place) = records.get_mut(fragment.start + position) {
                *place = octet;
            }
            return;
        }
        position -= fragment.len();
    }
}

/// Position of the type of the first extension in a ClientHello that has type `wanted` and, as a
/// server name, is refused by rustls. `None` also for other messages. `message` may be cut off: the
/// hash of a PSK binder is that of its first part (RFC 8446 §4.2.11.2).
fn find(message: &[u8], wanted: u16) -> Option<usize> {
    let mut reader = Reader(message);
    if reader.number(1)? != 1 {
        return None;
    }
    // Length, version and random; then session, suites and compression.
    reader.take(3 + 2 + 32)?;
    reader.vector(1)?;
    reader.vector(2)?;
    reader.vector(1)?;
    reader.take(2)?;
    loop {
        let position = message.len() - reader.0.len();
        let kind = reader.number(2)?;
        let length = reader.number(2)?;
        let content = reader.take(length)?;
        if kind == usize::from(wanted) && !is_accepted(content) {
            return Some(position);
        }
    }
}

/// Whether rustls accepts this content of a server_name extension: one host name or IP address,
/// after which it ignores names of other types.
fn is_accepted(content: &[u8]) -> bool {
    let mut reader = Reader(content);
    if reader.number(2) != Some(reader.0.len()) || reader.number(1) != Some(0) {
        return false;
    }
    let name = reader.number(2).and_then(|length| reader.take(length));
    name.is_some_and(|name| ServerName::try_from(name).is_ok()) && !matches!(reader.0, [0, ..])
}

#[cfg(test)]
mod tests;
