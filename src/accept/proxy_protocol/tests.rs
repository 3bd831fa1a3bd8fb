//! Examples of the specification, and headers that it forbids.

use super::*;

/// Reads as [`read`] does, and asserts that no octet after the header is requested.
fn take(input: &[u8]) -> Result<(Parsed, usize), Malformed> {
    let mut taken = 0;
    loop {
        match parse(&input[..taken])? {
            Parsed::Missing(more) if taken + more <= input.len() => taken += more,
            parsed => return Ok((parsed, taken)),
        }
    }
}

/// Reads a header that the session's first octets follow.
fn header(input: &[u8]) -> Result<ProxyHeader, Malformed> {
    let followed = [input, b"EHLO client\r\n"].concat();
    match take(&followed)? {
        (Parsed::Complete(header), taken) => {
            assert_eq!(taken, input.len(), "{}", input.escape_ascii());
            Ok(header)
        }
        missing => panic!("{missing:?}: {}", input.escape_ascii()),
    }
}

fn client(address: &str) -> ProxyHeader {
    ProxyHeader::Client(address.parse().unwrap())
}

/// §2.1.
#[test]
fn lines() {
    for (line, expected) in [
        // The longest header of each kind.
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            client("255.255.255.255:65535"),
        ),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
        ("PROXY UNKNOWN\r\n", ProxyHeader::Local),
        (
            "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            ProxyHeader::Local,
        ),
        // The example of §2.1.
        (
            "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
            client("192.168.0.1:56324"),
        ),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 0 1\r\n", client("1.2.3.4:0")),
        ("PROXY TCP6 ::1 ::2 1 2\r\n", client("[::1]:1")),
        (
            "PROXY TCP6 ::ffff:10.0.0.1 ::ffff:10.0.0.2 1 2\r\n",
            client("10.0.0.1:1"),
        ),
    ] {
        assert_eq!(header(line.as_bytes()), Ok(expected), "{line}");
    }
}

#[test]
fn lines_that_are_none() {
    let endless = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
    for (line, why) in [
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", Malformed::Line),
        ("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 70000\r\n", Malformed::Line),
        ("PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 nobody 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 ::1 ::2 1 2\r\n", Malformed::Line),
        ("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", Malformed::Line),
        ("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", Malformed::Line),
        ("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n", Malformed::Line),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n", Malformed::Line),
        ("PROXY UNKNOWN\nPROXY UNKNOWN\r\n", Malformed::Line),
        ("PROXY unknown\r\n", Malformed::Line),
        ("proxy UNKNOWN\r\n", Malformed::Foreign),
        ("PROXYUNKNOWN \r\n", Malformed::Foreign),
        ("EHLO client.test\r\n", Malformed::Foreign),
        ("\r\n\r\n\0\r\nQUIT\r\x21\x11\0", Malformed::Foreign),
        (
            "\x16\x03\x01\x02\0\x01\0\x01\x7c\x03\x03\0\0\0\0",
            Malformed::Foreign,
        ),
        (&endless, Malformed::Long),
    ] {
        let outcome = take(line.as_bytes()).map(|_| ());
        assert_eq!(outcome, Err(why), "{}", line.escape_debug());
    }
}

/// Builds a header of version 2.
fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family][..], &length, body].concat()
}

const V4: [u8; 12] = [192, 168, 0, 1, 192, 168, 0, 11, 0xdc, 0x04, 0x01, 0xbb];

/// Checksum of a PROXY header with [`V4`] and the extensions of [`binary_headers`] before it.
const CHECKED: [u8; 7] = [3, 0, 4, 0x8a, 0xe4, 0x38, 0x58];

/// §2.2.
#[test]
fn binary_headers() {
    let mut v6 = [0; 36];
    (v6[15], v6[31], v6[33]) = (1, 2, 25);
    // PP2_TYPE_ALPN, PP2_TYPE_NOOP.
    let extensions = [1, 0, 2, b'h', b'2', 4, 0, 1, 0];
    for (input, expected) in [
        (v2(0x21, 0x11, &V4), client("192.168.0.1:56324")),
        (
            v2(0x21, 0x11, &[&V4[..], &extensions].concat()),
            client("192.168.0.1:56324"),
        ),
        (v2(0x21, 0x21, &v6), client("[::1]:25")),
        (v2(0x21, 0x00, &[]), ProxyHeader::Local),
        (v2(0x20, 0x00, &[]), ProxyHeader::Local),
        (v2(0x20, 0x11, &V4), ProxyHeader::Local),
        (v2(0x20, 0xff, &extensions), ProxyHeader::Local),
        // A checksum, and octets after the last extension that begin none.
        (
            v2(0x21, 0x11, &[&V4[..], &extensions, &CHECKED].concat()),
            client("192.168.0.1:56324"),
        ),
        (
            v2(0x21, 0x11, &[&V4[..], &[0; V2_CAP - V2_HEAD - 12]].concat()),
            client("192.168.0.1:56324"),
        ),
    ] {
        assert_eq!(header(&input), Ok(expected), "{}", input.escape_ascii());
    }
}

#[test]
fn binary_headers_that_are_none() {
    for (input, why) in [
        // Version 1, version 3, an unassigned command.
        (v2(0x11, 0x11, &V4), Malformed::Kind),
        (v2(0x31, 0x11, &V4), Malformed::Kind),
        (v2(0x22, 0x11, &V4), Malformed::Kind),
        // UDP, a Unix socket, an unassigned family.
        (v2(0x21, 0x12, &V4), Malformed::Kind),
        (v2(0x21, 0x31, &[0; 216]), Malformed::Kind),
        (v2(0x21, 0x41, &V4), Malformed::Kind),
        (v2(0x21, 0x10, &V4), Malformed::Kind),
        (v2(0x21, 0x11, &V4[..11]), Malformed::Short),
        (v2(0x21, 0x21, &[0; 35]), Malformed::Short),
        (v2(0x20, 0x00, &[0; V2_CAP - V2_HEAD + 1]), Malformed::Long),
        (
            v2(0x21, 0x11, &[&V4[..], &[4, 0, 2, 0]].concat()),
            Malformed::Extension,
        ),
        // The checksum of another header, and one that is too short.
        (
            v2(0x21, 0x11, &[&V4[..], &CHECKED].concat()),
            Malformed::Checksum,
        ),
        (
            v2(0x21, 0x11, &[&V4[..], &[3, 0, 0]].concat()),
            Malformed::Checksum,
        ),
    ] {
        assert_eq!(
            take(&input).map(|_| ()),
            Err(why),
            "{}",
            input.escape_ascii()
        );
    }
}

/// The rest of an incomplete header is awaited, wherever it was cut.
#[test]
fn beginnings_are_no_headers() {
    for input in [
        b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n".to_vec(),
        v2(0x21, 0x11, &[&V4[..], &[4, 0, 1, 0]].concat()),
    ] {
        for cut in 0..input.len() {
            let parsed = parse(&input[..cut]).unwrap();
            let Parsed::Missing(more) = parsed else {
                panic!("{parsed:?} after {cut} octets");
            };
            assert!((1..=input.len() - cut).contains(&more), "{more} of {cut}");
        }
    }
}
