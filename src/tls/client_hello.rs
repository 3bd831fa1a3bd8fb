//! Reads a client's TLS offer for the log after a failed handshake: versions and cipher suites of
//! the ClientHello (RFC 8446 §4.1.2). No decision depends on it.

use std::fmt::Write as _;

use rustls::{CipherSuite, ProtocolVersion};

/// Maximum number of cipher suites named in a description; the rest are counted.
const NAMED: usize = 5;

/// TLS offer of a client.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Supported versions; a client older than TLS 1.3 offers only its newest.
    pub versions: Vec<u16>,
    /// Offered cipher suites in the client's order of preference.
    pub suites: Vec<u16>,
}

/// Reads octets from the front.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, octets: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(octets)?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads a big-endian number of `octets` octets.
    pub(super) fn number(&mut self, octets: usize) -> Option<usize> {
        let digits = self.take(octets)?;
        Some(
            digits
                .iter()
                .fold(0, |number, digit| number << 8 | usize::from(*digit)),
        )
    }

    /// Reads a vector with a length prefix of `octets` octets; shorter if the input is cut off.
    pub(super) fn vector(&mut self, octets: usize) -> Option<Reader<'a>> {
        let length = self.number(octets)?.min(self.0.len());
        self.take(length).map(Reader)
    }

    fn numbers(mut self) -> Vec<u16> {
        let mut numbers = Vec::new();
        while let Some(number) = self.number(2) {
            numbers.extend(u16::try_from(number));
        }
        numbers
    }
}

impl ClientHello {
    /// Parses the offer in the first octets of a connection, as far as they go. `None`: not a
    /// ClientHello of SSL 3.0 or later.
    pub fn parse(first: &[u8]) -> Option<Self> {
        let message = handshake(first)?;
        let mut reader = Reader(&message);
        if reader.number(1)? != 1 {
            return None;
        }
        let mut body = reader.vector(3)?;
        let version = u16::try_from(body.number(2)?).ok()?;
        body.take(32)?;
        body.vector(1)?;
        let mut hello = Self {
            versions: vec![version],
            suites: body.vector(2)?.numbers(),
        };
        hello.suites.retain(|suite| !is_grease(*suite));
        let extensions = body.vector(1).and_then(|_| body.vector(2));
        hello.read_extensions(extensions.unwrap_or(Reader(&[])));
        Some(hello)
    }

    fn read_extensions(&mut self, mut extensions: Reader<'_>) {
        while let Some(kind) = extensions.number(2) {
            let Some(mut extension) = extensions.vector(2) else {
                return;
            };
            // supported_versions (RFC 8446 §4.2.1)
            if kind == 43 {
                let list = extension.vector(1).unwrap_or(Reader(&[]));
                let mut versions = list.numbers();
                versions.retain(|version| !is_grease(*version));
                self.versions = versions;
            }
        }
    }

    /// Describes versions and suites, for example `TLS 1.2 with A, B and 3 others`.
    pub fn describe(&self) -> String {
        let versions: Vec<_> = self
            .versions
            .iter()
            .map(|version| name_version(*version))
            .collect();
        let mut text = versions.join(", ");
        let suites = self.suites.iter().filter(|suite| !is_signal(**suite));
        let names: Vec<_> = suites.map(|suite| name_suite(*suite)).collect();
        let named = names.get(..NAMED).unwrap_or(&names);
        let _ = write!(text, " with {}", named.join(", "));
        if names.len() > NAMED {
            let _ = write!(text, " and {} others", names.len() - NAMED);
        }
        text
    }

    /// Whether TLS 1.2 or 1.3 is among the versions.
    pub fn has_usable_version(&self) -> bool {
        self.versions.iter().any(|version| *version >= 0x0303)
    }
}

/// Reassembles the first handshake message from its records (RFC 8446 §5.1).
fn handshake(first: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(first);
    let mut message = Vec::new();
    while let Some(kind) = reader.number(1) {
        if kind != 22 || reader.number(1)? != 3 {
            break;
        }
        reader.take(1)?;
        message.extend_from_slice(reader.vector(2)?.0);
    }
    (!message.is_empty()).then_some(message)
}

/// Whether a value is GREASE, which is to be ignored (RFC 8701).
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// Whether a suite is only a signal (RFC 5746, RFC 7507).
fn is_signal(suite: u16) -> bool {
    matches!(suite, 0x00ff | 0x5600)
}

fn name_version(version: u16) -> String {
    match ProtocolVersion::from(version) {
        ProtocolVersion::SSLv3 => "SSL 3.0".into(),
        ProtocolVersion::TLSv1_0 => "TLS 1.0".into(),
        ProtocolVersion::TLSv1_1 => "TLS 1.1".into(),
        ProtocolVersion::TLSv1_2 => "TLS 1.2".into(),
        ProtocolVersion::TLSv1_3 => "TLS 1.3".into(),
        _ => format!("version {version:#06x}"),
    }
}

fn name_suite(suite: u16) -> String {
    let old = OLD_SUITES.iter().find(|(number, _)| *number == suite);
    let known = format!("{:?}", CipherSuite::from(suite));
    match old {
        Some((_, name)) => (*name).to_owned(),
        None if known.starts_with("TLS") => known,
        None => format!("{suite:#06x}"),
    }
}

/// Cipher suites of old devices (IANA registry) that rustls has no names for.
const OLD_SUITES: &[(u16, &str)] = &[
    (0x0004, "TLS_RSA_WITH_RC4_128_MD5"),
    (0x0005, "TLS_RSA_WITH_RC4_128_SHA"),
    (0x0009, "TLS_RSA_WITH_DES_CBC_SHA"),
    (0x000a, "TLS_RSA_WITH_3DES_EDE_CBC_SHA"),
    (0x0016, "TLS_DHE_RSA_WITH_3DES_EDE_CBC_SHA"),
    (0x002f, "TLS_RSA_WITH_AES_128_CBC_SHA"),
    (0x0033, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA"),
    (0x0035, "TLS_RSA_WITH_AES_256_CBC_SHA"),
    (0x0039, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA"),
    (0x003c, "TLS_RSA_WITH_AES_128_CBC_SHA256"),
    (0x003d, "TLS_RSA_WITH_AES_256_CBC_SHA256"),
    (0x0067, "TLS_DHE_RSA_WITH_AES_128_CBC_SHA256"),
    (0x006b, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256"),
    (0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256"),
    (0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384"),
    (0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256"),
    (0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"),
    (0xc009, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"),
    (0xc00a, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"),
    (0xc012, "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"),
    (0xc013, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"),
    (0xc014, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"),
    (0xc023, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"),
    (0xc024, "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"),
    (0xc027, "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
    (0xc028, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(octets: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - octets..], content].concat()
    }

    fn hello(version: [u8; 2], suites: &[u8], extensions: &[u8]) -> Vec<u8> {
        let body = [
            &version[..],
            &[7; 32],
            &vector(1, b""),
            &vector(2, suites),
            &vector(1, &[0]),
            &vector(2, extensions),
        ]
        .concat();
        let message = [&[1][..], &vector(3, &body)].concat();
        // Split into two records, as some devices do.
        let (one, two) = message.split_at(20);
        [
            &[22, 3, 1][..],
            &vector(2, one),
            &[22, 3, 1],
            &vector(2, two),
        ]
        .concat()
    }

    #[test]
    fn offers_are_read_and_named() {
        let old = ClientHello::parse(&hello([3, 1], &[0, 0x2f, 0, 0x0a, 0, 0xff], b"")).unwrap();
        assert_eq!(
            old.describe(),
            "TLS 1.0 with TLS_RSA_WITH_AES_128_CBC_SHA, TLS_RSA_WITH_3DES_EDE_CBC_SHA"
        );
        assert!(!old.has_usable_version());
        let versions = [
            &[0, 43][..],
            &vector(2, &vector(1, &[0x1a, 0x1a, 3, 4, 3, 3])),
        ]
        .concat();
        let suites = [0x2a, 0x2a, 0x13, 1, 0xfe, 0xfe];
        let new = hello([3, 3], &suites, &versions);
        let parsed = ClientHello::parse(&new).unwrap();
        assert_eq!(parsed.versions, [0x0304, 0x0303]);
        assert_eq!(
            parsed.describe(),
            "TLS 1.3, TLS 1.2 with TLS13_AES_128_GCM_SHA256, 0xfefe"
        );
        // No cut-off input causes a panic.
        for end in 0..new.len() {
            let _ = ClientHello::parse(&new[..end]);
        }
        assert_eq!(ClientHello::parse(b"EHLO client.test\r\n"), None);
    }
}
