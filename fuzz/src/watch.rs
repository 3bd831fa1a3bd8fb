//! The relay's watch over a session, whose two sides may both be hostile: it may lose track, but
//! must never let a last word be put inside a line.

use authrelay::relay::{Gate, Policy, Watch};
use authrelay::wire::Protocol;
use authrelay::wire::address::Pattern;

use super::front::protocol;
use super::pieces::{contains, header, same_for_every_cut};

/// Stands where the other side begins to speak.
const TURN: u8 = 0x1f;

/// SMTP with everything between that can stand there.
fn policed() -> Watch {
    let pattern = |text: &str| Some(vec![Pattern::parse(text).unwrap()]);
    Watch::gated(Gate {
        policy: Some(Policy {
            senders: pattern("*@b"),
            recipients: pattern("*@d"),
            max_size: Some(40),
            from: Some("box@b".into()),
        }),
        paced: true,
    })
}

/// A session under a policy: what goes up and down is the same for every cut, and a message that
/// its client did not end is not ended upstream.
fn gate(stream: &[u8]) {
    same_for_every_cut(stream.len(), |cut| {
        let mut watch = policed();
        let (mut up, mut down, mut client) = (Vec::new(), Vec::new(), Vec::new());
        let mut offset = 0;
        for (turn, words) in stream.split(|octet| *octet == TURN).enumerate() {
            let pieces = cut.pieces(words, offset);
            // Where an upstream speaks unasked, it is a matter of timing what its words answer:
            // it speaks line by line here.
            let lines = |piece| match turn % 2 {
                0 => <[u8]>::split_inclusive(piece, |octet| *octet == b'\n').collect(),
                _ => vec![piece],
            };
            for piece in pieces.into_iter().flat_map(lines) {
                if turn % 2 == 0 {
                    if !watch.is_cut() {
                        watch.down(piece, &mut |octets| down.extend_from_slice(octets));
                    }
                } else {
                    client.extend_from_slice(piece);
                    watch.up(piece, &mut |octets| up.extend_from_slice(octets));
                }
                while watch.is_owing() || watch.asks() {
                    down.extend(watch.take_ours());
                    watch.settle(&mut |octets| up.extend_from_slice(octets));
                    if watch.asks() {
                        watch.leave(true, &mut |octets| up.extend_from_slice(octets));
                    }
                }
            }
            offset += words.len() + 1;
        }
        // How much of a message that was cut off went up is a matter of pieces.
        let sent = match watch.is_cut() {
            true => Vec::new(),
            false => up.clone(),
        };
        let ended = |octets: &[u8], end: &str| contains(octets, end);
        assert!(
            !ended(&up, "\r\n.\r\n") || ended(&client, "\n.\r\n"),
            "a message was ended upstream"
        );
        if watch.is_cut() {
            assert!(
                !up.ends_with(b"\r\n.\r\n"),
                "a message over the size was ended"
            );
        }
        (sent, (client, down, watch.finish().len()))
    });
}

/// Octet 0 chooses the protocol, `S` being SMTP under a policy; then the upstream and the client take turns.
pub fn watch(input: &[u8]) {
    let ([choice], stream) = header(input);
    if choice == b'S' {
        return gate(stream);
    }
    let protocol = protocol(choice);
    same_for_every_cut(stream.len(), |cut| {
        let mut watch = Watch::new(protocol);
        let mut states = Vec::new();
        // The last octet that the client was told.
        let mut told = None;
        let mut offset = 0;
        for (turn, words) in stream.split(|octet| *octet == TURN).enumerate() {
            for piece in cut.pieces(words, offset) {
                if turn % 2 == 0 {
                    watch.down(piece, &mut |bytes| assert_eq!(bytes, piece));
                    told = piece.last();
                } else {
                    watch.up(piece, &mut |bytes| assert_eq!(bytes, piece));
                }
                if watch.may_speak() {
                    assert!(told.is_none_or(|octet| *octet == b'\n'), "inside a line");
                    assert_ne!(protocol, Protocol::Pop3, "POP3 knows no words unasked");
                }
            }
            offset += words.len() + 1;
            states.push((watch.may_speak(), watch.is_idle(), watch.said_goodbye()));
        }
        states
    });
}
