//! The relay's watch over a session, whose two sides may both be hostile: it may lose track, but
//! must never let a last word be put inside a line.

use authrelay::relay::Watch;
use authrelay::wire::Protocol;

use super::front::protocol;
use super::pieces::{header, same_for_every_cut};

/// Stands where the other side begins to speak.
const TURN: u8 = 0x1f;

/// Octet 0 chooses the protocol; then the upstream and the client take turns.
pub fn watch(input: &[u8]) {
    let ([choice], stream) = header(input);
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
