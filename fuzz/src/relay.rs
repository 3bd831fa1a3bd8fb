//! The machine of a relayed session, whose two sides may both be hostile: it may lose track, but
//! must never let a final reply be put inside a line, and must never end a message that its client
//! did not end.

use std::time::Duration;

use authrelay::relay::{Action, Event, Input, Machine, Next, Permit, Policy, SmtpRules, Tracker};
use authrelay::wire::Protocol;
use authrelay::wire::address::Pattern;
use tokio::time::Instant;

use super::front::protocol;
use super::pieces::{contains, header, same_for_every_cut};

/// Stands where the other side begins to speak.
const TURN: u8 = 0x1f;

/// SMTP under every rule there is.
fn rules() -> SmtpRules {
    let pattern = |text: &str| Some(vec![Pattern::parse(text).unwrap()]);
    SmtpRules {
        policy: Some(Policy {
            senders: pattern("*@b"),
            recipients: pattern("*@d"),
            max_size: Some(40),
            from: Some("box@b".into()),
        }),
        rate_limited: true,
        chunking: true,
        ..SmtpRules::default()
    }
}

/// A machine, and what it did.
struct Played {
    machine: Machine,
    now: Instant,
    up: Vec<u8>,
    down: Vec<u8>,
    messages: usize,
    closed: bool,
}

impl Played {
    fn new(tracker: Tracker) -> Self {
        let now = Instant::now();
        Self {
            machine: Machine::new(tracker, Duration::from_secs(1800), now),
            now,
            up: Vec::new(),
            down: Vec::new(),
            messages: 0,
            closed: false,
        }
    }

    /// The product's loop, with connections that take everything at once.
    fn input(&mut self, input: Input<'_>) {
        let mut input = Some(input);
        while let Some(next) = input.take() {
            let mut permit = false;
            let (up, down) = (&mut self.up, &mut self.down);
            let (messages, closed) = (&mut self.messages, &mut self.closed);
            self.machine
                .handle(next, self.now, &mut |action| match action {
                    Action::ToClient(octets) => down.extend_from_slice(octets),
                    Action::ToUpstream(octets) => {
                        assert!(!*closed, "sent to an upstream that was closed");
                        up.extend_from_slice(octets);
                    }
                    Action::CloseUpstream => *closed = true,
                    Action::RequestPermit(_) => permit = true,
                    Action::Record(Event::Message(_)) => *messages += 1,
                    Action::Record(Event::Fault(_))
                    | Action::ReleasePermit
                    | Action::DropUpstream
                    | Action::OpenUpstream(_)
                    | Action::BackOff(_) => {}
                });
            if permit {
                input = Some(Input::Permit(Permit::Granted));
            }
        }
    }

    fn flush(&mut self) {
        self.input(Input::Flushed {
            client: true,
            upstream: true,
        });
    }

    fn has_ended(&self) -> bool {
        matches!(self.machine.next(), Next::End(_))
    }
}

/// A session under rules: what is sent up and down is the same for every cut, and a message that
/// its client did not end is not ended upstream.
fn ruled(stream: &[u8]) {
    same_for_every_cut(stream.len(), |cut| {
        let mut played = Played::new(Tracker::with_rules(rules()));
        let mut client = Vec::new();
        let mut offset = 0;
        'session: for (turn, words) in stream.split(|octet| *octet == TURN).enumerate() {
            for piece in cut.pieces(words, offset) {
                // Where an upstream speaks unasked, it is a matter of timing what its words answer:
                // it speaks line by line here.
                let lines: Vec<&[u8]> = match turn % 2 {
                    0 => piece.split_inclusive(|octet| *octet == b'\n').collect(),
                    _ => vec![piece],
                };
                for piece in lines {
                    if turn % 2 == 0 {
                        if !played.closed {
                            played.input(Input::Upstream(piece));
                        }
                    } else {
                        client.extend_from_slice(piece);
                        played.input(Input::Client(piece));
                    }
                    played.flush();
                    if played.has_ended() {
                        break 'session;
                    }
                }
            }
            offset += words.len() + 1;
        }
        // How much of a message that was cut off was sent is a matter of pieces.
        let sent = match played.closed {
            true => Vec::new(),
            false => played.up.clone(),
        };
        assert!(
            !contains(&played.up, "\r\n.\r\n") || contains(&client, "\n.\r\n"),
            "a message was ended upstream"
        );
        if played.closed {
            let ended = played.up.ends_with(b"\r\n.\r\n");
            assert!(!ended, "a message over the size was ended");
        }
        (sent, (played.down, played.messages))
    });
}

/// Octet 0 chooses the protocol, `S` being SMTP under rules; then the upstream and the client take
/// turns.
pub fn relay(input: &[u8]) {
    let ([choice], stream) = header(input);
    if choice == b'S' {
        return ruled(stream);
    }
    let protocol = protocol(choice);
    same_for_every_cut(stream.len(), |cut| {
        let mut played = Played::new(Tracker::new(protocol));
        let mut states = Vec::new();
        let (mut said, mut sent) = (Vec::new(), Vec::new());
        let mut offset = 0;
        for (turn, words) in stream.split(|octet| *octet == TURN).enumerate() {
            for piece in cut.pieces(words, offset) {
                if turn % 2 == 0 {
                    said.extend_from_slice(piece);
                    played.input(Input::Upstream(piece));
                    assert_eq!(played.down, said, "an octet of the upstream was changed");
                } else {
                    sent.extend_from_slice(piece);
                    played.input(Input::Client(piece));
                }
                played.flush();
                if played.machine.tracker().at_reply_boundary() {
                    let ends = said.last().is_none_or(|octet| *octet == b'\n');
                    assert!(ends, "inside a line");
                    assert_ne!(protocol, Protocol::Pop3, "POP3 has no unasked reply");
                }
            }
            offset += words.len() + 1;
            let tracker = played.machine.tracker();
            states.push((
                tracker.at_reply_boundary(),
                tracker.is_idle(),
                tracker.closing_announced(),
            ));
        }
        // Nothing but line ends of commands is changed, and nothing is reordered.
        let without_cr = |octets: &[u8]| {
            let kept = octets.iter().copied().filter(|octet| *octet != b'\r');
            kept.collect::<Vec<_>>()
        };
        let (up, sent) = (without_cr(&played.up), without_cr(&sent));
        assert!(sent.starts_with(&up), "an octet of the client was changed");
        (states, played.messages)
    });
}
