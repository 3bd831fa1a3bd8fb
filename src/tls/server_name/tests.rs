//! Names that rustls takes and refuses, whole, split, cut off and altered.

use proptest::prelude::*;
use rustls::server::Acceptor;

use super::super::transcript::restored;
use super::*;

fn vector(octets: usize, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[length.len() - octets..], content].concat()
}

/// Content of an extension with one host name.
fn host_name(name: &[u8]) -> Vec<u8> {
    vector(2, &[&[0], &vector(2, name)[..]].concat())
}

/// A ClientHello with this content of a server_name, among other extensions.
fn client_hello(content: &[u8]) -> Vec<u8> {
    let extensions = [
        // A GREASE extension (RFC 8701), the name, signature_algorithms, supported_groups.
        &[0x1a, 0x1a, 0, 0][..],
        &[0, 0],
        &vector(2, content),
        &[0, 13],
        &vector(2, &vector(2, &[4, 3, 8, 4])),
        &[0, 10],
        &vector(2, &vector(2, &[0, 29])),
    ]
    .concat();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &vector(1, &[9; 32]),
        &vector(2, &[0x13, 1, 0xc0, 0x2f]),
        &vector(1, &[0]),
        &vector(2, &extensions),
    ]
    .concat();
    [&[1][..], &vector(3, &body)].concat()
}

/// Records with so many octets of a message each.
fn records(message: &[u8], octets: usize) -> Vec<u8> {
    let record = |fragment: &[u8]| [&[HANDSHAKE, 3, 1][..], &vector(2, fragment)].concat();
    message.chunks(octets).flat_map(record).collect()
}

/// The message in records, as rustls puts it together.
fn message(mut records: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (fragment, rest) = rest.split_at(length.min(rest.len()));
        message.extend_from_slice(fragment);
        records = rest;
    }
    message
}

fn restored_message(message: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    restored(message, |part| all.extend_from_slice(part));
    all
}

/// Whether rustls reads a ClientHello.
fn is_read_by_rustls(mut records: &[u8]) -> bool {
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut records).unwrap();
    matches!(acceptor.accept(), Ok(Some(_)))
}

const NONE: [&[u8]; 8] = [
    b"relay test",
    b"[relay.test]",
    b"[::1]",
    b"-",
    b"a..b",
    b"r\xfcro.test",
    b"a:465",
    b"1.2.3",
];

#[test]
fn names_that_are_none_are_hidden_however_the_message_is_split() {
    for name in NONE {
        let sent = client_hello(&host_name(name));
        for octets in [1, 2, 3, 5, 40, 100, sent.len() - 1, sent.len()] {
            let original = records(&sent, octets);
            assert!(!is_read_by_rustls(&original), "{}", name.escape_ascii());
            for end in 0..original.len() {
                let mut part = original[..end].to_vec();
                assert!(!hide(&mut part));
                assert_eq!(part, original[..end]);
            }
            // Octets that follow are those of the next message.
            let mut hidden = [&original[..], b"\x17\x03\x03"].concat();
            assert!(hide(&mut hidden));
            hidden.truncate(original.len());
            assert!(is_read_by_rustls(&hidden));
            let changed = original.iter().zip(&hidden).filter(|(one, two)| one != two);
            assert_eq!(changed.count(), 2);
            assert_eq!(restored_message(&message(&hidden)), sent);
        }
    }
}

#[test]
fn host_names_and_addresses_stay() {
    let other = [&host_name(b"relay.test")[2..], &[7, 1, 2][..]].concat();
    for content in [
        host_name(b"relay.test"),
        host_name(b"relay.test."),
        host_name(b"RELAY_1"),
        host_name(b"192.0.2.1"),
        host_name(b"2001:db8::1"),
        vector(2, &other),
    ] {
        let original = records(&client_hello(&content), 1_000);
        let mut octets = original.clone();
        assert!(hide(&mut octets));
        assert_eq!(octets, original);
        assert!(is_read_by_rustls(&octets));
    }
}

#[test]
fn other_malformed_names_are_hidden() {
    let one = &host_name(b"relay.test")[2..];
    for content in [
        vec![],
        vec![0],
        vec![0, 0],
        vec![0, 1, 0],
        host_name(b""),
        vector(2, &[one, one].concat()),
        vector(2, &[7, 0, 0]),
        [&host_name(b"relay.test")[..], &[0]].concat(),
        [&[0, 99][..], one].concat(),
    ] {
        let sent = client_hello(&content);
        let mut octets = records(&sent, 1_000);
        assert!(!is_read_by_rustls(&octets), "{content:?}");
        assert!(hide(&mut octets));
        assert!(is_read_by_rustls(&octets), "{content:?}");
        assert_eq!(restored_message(&message(&octets)), sent);
    }
}

/// The hash of a PSK binder is that of the message without its end.
#[test]
fn a_message_that_is_cut_off_behind_the_name_is_restored() {
    let sent = client_hello(&host_name(b"relay test"));
    let mut octets = records(&sent, 1_000);
    assert!(hide(&mut octets));
    let hidden = message(&octets);
    let name = find_hidden(&hidden).unwrap();
    let end = name + 4 + host_name(b"relay test").len();
    for cut in 0..hidden.len() {
        let expected = match cut < end {
            true => &hidden[..cut],
            false => &sent[..cut],
        };
        assert_eq!(restored_message(&hidden[..cut]), expected, "{cut}");
    }
}

#[test]
fn a_second_flight_may_begin_with_a_change_cipher_spec() {
    let front = [CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1];
    let sent = client_hello(&host_name(b"relay test"));
    let mut octets = [&front[..], &records(&sent, 50)].concat();
    assert!(hide(&mut octets));
    assert!(is_read_by_rustls(&octets[front.len()..]));
    // A Finished, encrypted.
    let finished = [&front[..], &[0x17, 3, 3, 0, 2, 1, 1]].concat();
    let mut octets = finished.clone();
    assert!(hide(&mut octets));
    assert_eq!(octets, finished);
}

#[test]
fn what_is_no_client_hello_is_not_kept_from_rustls() {
    for octets in [
        &b"EHLO device\r\n"[..],
        b"\x80\x2e\x01\x03\x01",
        &[HANDSHAKE, 2],
        &[HANDSHAKE, 3, 1, 0, 0],
        &[HANDSHAKE, 3, 1, 0xff, 0xff],
        // A ServerHello, a message that is too long, and one with something else within.
        &[HANDSHAKE, 3, 1, 0, 4, 2],
        &[HANDSHAKE, 3, 1, 0, 100, 1, 1, 0, 0],
        &[HANDSHAKE, 3, 1, 0, 1, 1, CHANGE_CIPHER_SPEC],
    ] {
        let mut same = octets.to_vec();
        assert!(hide(&mut same), "{octets:?}");
        assert_eq!(same, octets);
    }
}

#[test]
fn no_octet_causes_a_panic_or_another_length() {
    let sent = client_hello(&host_name(b"relay test"));
    for octets in [7, 1_000] {
        let original = records(&sent, octets);
        for position in 0..original.len() {
            for flip in [1, 0x80, 0xff] {
                let mut changed = original.clone();
                changed[position] ^= flip;
                let before = changed.clone();
                let _ = hide(&mut changed);
                assert_eq!(restored_message(&message(&changed)), message(&before));
            }
        }
    }
}

proptest! {
    /// A name is hidden where rustls would refuse it, and nowhere else.
    #[test]
    fn the_decision_is_that_of_rustls(name in "[ -~]{1,20}|[a-z0-9.]{1,20}|[0-9a-f:.]{1,20}|[\\PC]{1,70}") {
        let content = host_name(name.as_bytes());
        let original = records(&client_hello(&content), 1_000);
        prop_assert_eq!(is_accepted(&content), is_read_by_rustls(&original));
        let mut octets = original;
        prop_assert!(hide(&mut octets));
        prop_assert!(is_read_by_rustls(&octets));
    }

    #[test]
    fn any_octets_are_taken(mut octets: Vec<u8>, plausible: bool) {
        if plausible {
            octets = [&[HANDSHAKE, 3, 1][..], &vector(2, &octets)].concat();
        }
        let length = octets.len();
        let _ = hide(&mut octets);
        prop_assert_eq!(octets.len(), length);
        let _ = is_accepted(&octets);
    }
}
