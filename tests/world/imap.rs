//! IMAP and POP3: octets exactly once and in order, and a final reply only between replies.

use std::time::Duration;

use authrelay::fault::Kind;
use authrelay::relay::Tracker;
use authrelay::wire::Protocol;
use tokio::time::Instant;

use crate::random::Random;
use crate::session::{IDLE, Session};

/// What an upstream says, and where a reply of ours may stand in it.
struct Says {
    octets: Vec<u8>,
    boundaries: Vec<usize>,
}

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

pub fn play(seed: u64) {
    let mut random = Random::new(seed);
    let mut now = Instant::now();
    let mut session = Session::new(Tracker::new(Protocol::Imap), None, &mut random, now);
    let says = imap_says(&mut random);
    let sent = imap_client(&mut random);
    let (mut said, mut asked) = (0, 0);
    let (mut down, mut up) = (Vec::new(), Vec::new());
    let mut died = false;
    for step in 0.. {
        assert!(step < 10_000, "it never ends");
        let piece = 1 + random.below(30);
        match random.below(8) {
            0..=2 if !died => {
                let end = (said + piece).min(says.octets.len());
                session
                    .upstream
                    .0
                    .borrow_mut()
                    .to_relay
                    .extend(&says.octets[said..end]);
                said = end;
            }
            3..=5 => {
                let end = (asked + piece).min(sent.len());
                session
                    .client
                    .0
                    .borrow_mut()
                    .to_relay
                    .extend(&sent[asked..end]);
                asked = end;
            }
            6 => {
                let wire = if random.once_in(2) {
                    &session.client
                } else {
                    &session.upstream
                };
                wire.0.borrow_mut().window = if random.once_in(2) { 7 } else { usize::MAX };
            }
            _ if step > 10 => match random.below(5) {
                0 => session.drain(Duration::from_secs(random.below(5) as u64), now),
                1 => session.stop(now),
                2 => {
                    died = true;
                    session.upstream.0.borrow_mut().peer_ended = true;
                }
                3 => {
                    session.client.0.borrow_mut().peer_ended = true;
                    session.upstream.0.borrow_mut().peer_ended = true;
                    died = true;
                }
                _ => {
                    now += if random.once_in(20) {
                        IDLE
                    } else {
                        Duration::from_millis(300)
                    }
                }
            },
            _ => {}
        }
        if session.deadline.is_some() {
            now = now.max(session.until().min(now + Duration::from_millis(100)));
        }
        session.run(now);
        down.append(&mut session.client.0.borrow_mut().to_peer);
        up.append(&mut session.upstream.0.borrow_mut().to_peer);
        if session.over {
            break;
        }
        if step > 300 {
            session.client.0.borrow_mut().window = usize::MAX;
            session.upstream.0.borrow_mut().window = usize::MAX;
            session.client.0.borrow_mut().peer_ended = true;
            session.upstream.0.borrow_mut().peer_ended = true;
            now = now.max(session.until());
        }
    }
    let end = session.recorded().end.clone().unwrap();
    // All that the upstream said so far, or a part that ends between two responses and what the
    // client took of a final reply.
    let reply_at = |at: &usize| end.reply.starts_with(down.get(*at..).unwrap_or(b"\0"));
    let in_order = says.octets.starts_with(&down)
        || says
            .boundaries
            .iter()
            .any(|at| reply_at(at) && down[..*at] == says.octets[..*at]);
    assert!(
        in_order,
        "said {:?}, the client got {:?}",
        String::from_utf8_lossy(&says.octets),
        String::from_utf8_lossy(&down)
    );
    let expected = with_crlf(&sent);
    assert!(
        expected.starts_with(&up),
        "sent {:?}, got {:?}",
        String::from_utf8_lossy(&sent),
        String::from_utf8_lossy(&up)
    );
    if let Some(fault) = &end.fault {
        let known = [Kind::Draining, Kind::Lost, Kind::Idle];
        assert!(known.contains(&fault.kind()), "{fault}");
    }
}
