//! POP3: each line is answered, some with lines up to a dot, in which dots are stuffed; commands are
//! sent without waiting (RFC 2449 §6.8).

use authrelay::wire::Protocol;

use super::octets::{Says, Script};
use super::random::Random;

/// Commands, and the replies to them.
fn dialogue(random: &mut Random) -> (Vec<u8>, Says) {
    let mut says = Says {
        octets: Vec::new(),
        boundaries: vec![0],
    };
    let mut sent = Vec::new();
    for _ in 0..random.below(8) {
        let (command, multiline) = random.one_of(&[
            ("STAT", false),
            ("LIST", true),
            ("LIST 1", false),
            ("UIDL", true),
            ("uidl 2", false),
            ("RETR 1", true),
            ("retr 2", true),
            ("TOP 1 0", true),
            ("CAPA", true),
            ("DELE 1", false),
            ("NOOP", false),
            ("RSET", false),
            ("XYZZY", false),
        ]);
        sent.extend_from_slice(command.as_bytes());
        sent.extend_from_slice(random.one_of(&[b"\r\n".as_slice(), b"\r\n", b"\n"]));
        reply(random, multiline, &mut says.octets);
        says.boundaries.push(says.octets.len());
    }
    (sent, says)
}

fn reply(random: &mut Random, multiline: bool, octets: &mut Vec<u8>) {
    if random.once_in(5) {
        return octets.extend_from_slice(b"-ERR no\r\n");
    }
    octets.extend_from_slice(b"+OK\r\n");
    if multiline {
        let lines: &[&[u8]] = &[
            b"\r\n",
            b"..\r\n",
            b"..x\r\n",
            b"x.\r\n",
            b".. \r\n",
            b"a line of a message that is not short at all, and ends here\r\n",
            b"+OK\r\n",
            b"-ERR\r\n",
            b"bare\n..\n",
            b"\r.\r\n",
        ];
        for _ in 0..random.below(6) {
            octets.extend_from_slice(random.one_of(lines));
        }
        octets.extend_from_slice(b".\r\n");
    }
}

pub fn play(mut random: Random) {
    let (sent, says) = dialogue(&mut random);
    let mut expected = Vec::new();
    for line in sent.split_inclusive(|octet| *octet == b'\n') {
        expected.extend_from_slice(line.trim_ascii_end());
        expected.extend_from_slice(b"\r\n");
    }
    let script = Script {
        protocol: Protocol::Pop3,
        says,
        sent,
        expected,
        unasked: false,
    };
    script.play(&mut random);
}
