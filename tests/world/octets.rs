//! IMAP and POP3: octets exactly once and in order, and a final reply only between replies.

use std::time::Duration;

use authrelay::fault::Kind;
use authrelay::relay::Tracker;
use authrelay::wire::Protocol;
use tokio::time::Instant;

use super::random::Random;
use super::session::{IDLE, Session};

/// What an upstream says, and where a reply of ours may stand in it.
pub struct Says {
    pub octets: Vec<u8>,
    pub boundaries: Vec<usize>,
}

/// What both sides say, in any pieces.
pub struct Script {
    pub protocol: Protocol,
    pub says: Says,
    pub sent: Vec<u8>,
    /// What arrives of it, with CRLF at the ends of commands.
    pub expected: Vec<u8>,
    /// The upstream speaks before it is asked; otherwise each of its replies answers a line.
    pub unasked: bool,
}

impl Script {
    /// What the upstream may have said once it has received `up`.
    fn sayable(&self, up: &[u8]) -> usize {
        let lines = up.iter().filter(|octet| **octet == b'\n').count();
        match self.unasked {
            true => self.says.octets.len(),
            false => self.says.boundaries[lines.min(self.says.boundaries.len() - 1)],
        }
    }

    pub fn play(&self, random: &mut Random) {
        let (says, sent) = (&self.says, &self.sent);
        let mut now = Instant::now();
        let tracker = Tracker::new(self.protocol);
        let mut session = Session::new(tracker, None, false, random, now);
        let (mut said, mut asked) = (0, 0);
        let (mut down, mut up) = (Vec::new(), Vec::new());
        let mut died = false;
        for step in 0.. {
            assert!(step < 10_000, "it never ends");
            let piece = 1 + random.below(30);
            match random.below(8) {
                0..=2 if !died => {
                    let end = (said + piece).min(self.sayable(&up));
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
        assert!(
            self.expected.starts_with(&up),
            "sent {:?}, got {:?}",
            String::from_utf8_lossy(sent),
            String::from_utf8_lossy(&up)
        );
        if let Some(fault) = &end.fault {
            let known = [Kind::Draining, Kind::Lost, Kind::Idle];
            assert!(known.contains(&fault.kind()), "{fault}");
        }
    }
}
