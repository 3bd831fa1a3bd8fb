//! The server role against a hostile client: all three protocols, with and without STARTTLS, the
//! driver's decisions taken from the input.

use std::collections::VecDeque;

use authrelay::fault::{Fault, Kind};
use authrelay::login::front::{self, Advertised, Attempt, Front, Request};
use authrelay::login::{Step, SuccessReply};
use authrelay::wire::Protocol;
use authrelay::wire::sasl::CREDENTIAL_CAP;

use super::pieces::{Cut, assert_lines, header, same_for_every_cut};

/// Stands where the client begins TLS: a handshake record's type. What follows is encrypted.
pub const TLS: u8 = 0x16;

/// `i`, `p` or `s`; any other octet chooses one too.
pub fn protocol(choice: u8) -> Protocol {
    match choice {
        b'i' => Protocol::Imap,
        b'p' => Protocol::Pop3,
        b's' => Protocol::Smtp,
        other => Protocol::ALL[usize::from(other) % 3],
    }
}

/// What is said in clear, and what comes encrypted behind the first [`TLS`].
pub fn flights(stream: &[u8]) -> (&[u8], &[u8]) {
    match stream.iter().position(|octet| *octet == TLS) {
        Some(at) => (&stream[..at], &stream[at + 1..]),
        None => (stream, &[]),
    }
}

/// How a dialogue ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// Everything was read and more would be.
    Reading,
    Quit,
    Failed(Kind),
    StartTls,
    SuccessReply {
        words: Vec<u8>,
        leftover: Vec<u8>,
    },
}

/// All that can be seen of a dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    written: Vec<u8>,
    refused: Vec<Kind>,
    attempts: Vec<Attempt>,
    end: End,
}

/// What the driver decides, attempt by attempt.
struct Decisions {
    accept: u8,
    fault: u8,
    taken: u32,
}

impl Decisions {
    fn next(&mut self) -> Option<Fault> {
        let accept = self.accept.rotate_right(self.taken) & 1 == 1;
        let kind = Kind::ALL[(usize::from(self.fault) + self.taken as usize) % Kind::ALL.len()];
        self.taken += 1;
        (!accept).then(|| Fault::new(kind, "decided so"))
    }
}

/// Octet 0 chooses the protocol, octet 1 what is offered (1 STARTTLS, 2 credentials, 4 greeting),
/// octet 2 which attempts are accepted, octet 3 why others are not; the rest is the client's.
pub fn front(input: &[u8]) {
    let ([choice, offer, accept, fault], stream) = header(input);
    let protocol = protocol(choice);
    let (clear, encrypted) = flights(stream);
    same_for_every_cut(stream.len(), |cut| {
        let mut decisions = Decisions {
            accept,
            fault,
            taken: 0,
        };
        let starttls = offer & 1 != 0;
        let first = offered(starttls, offer & 2 != 0, offer & 4 != 0);
        let before = dialogue(protocol, &first, cut, clear, 0, &mut decisions);
        if before.end != End::StartTls {
            return (before, None);
        }
        let second = offered(false, true, false);
        let offset = clear.len() + 1;
        let after = dialogue(protocol, &second, cut, encrypted, offset, &mut decisions);
        (before, Some(after))
    });
}

/// An offer of capabilities that all three protocols can show.
fn offered(starttls: bool, credentials: bool, greet: bool) -> Advertised {
    let capabilities = [
        "UIDPLUS",
        "TOP",
        "SIZE 157286400",
        "AUTH=XOAUTH2",
        "STARTTLS",
    ];
    Advertised {
        capabilities: capabilities.map(str::to_owned).into(),
        starttls,
        credentials,
        unauthenticated: false,
        greet,
        encrypted: false,
    }
}

fn dialogue(
    protocol: Protocol,
    offer: &Advertised,
    cut: Cut,
    stream: &[u8],
    offset: usize,
    decisions: &mut Decisions,
) -> Outcome {
    let mut front = front::new(protocol, offer.clone());
    let mut unread: VecDeque<_> = cut.pieces(stream, offset).into();
    let mut outcome = Outcome {
        written: Vec::new(),
        refused: Vec::new(),
        attempts: Vec::new(),
        end: End::Reading,
    };
    loop {
        let step = front.next();
        if let Some(refused) = front.take_refused() {
            outcome.refused.push(refused.fault.kind());
        }
        outcome.end = match step {
            Step::Read => match unread.pop_front() {
                Some(piece) => {
                    front.receive(piece);
                    continue;
                }
                None => End::Reading,
            },
            Step::Write(bytes) => {
                assert!(!bytes.is_empty());
                assert_lines(&bytes);
                assert!(bytes.is_ascii(), "what is said is ours alone");
                outcome.written.extend_from_slice(&bytes);
                continue;
            }
            Step::StartTls => {
                assert!(offer.starttls, "TLS that was not offered");
                match unread.is_empty() {
                    true => End::StartTls,
                    // Had it come in one piece, it would have been seen: said in clear, never
                    // executed.
                    false => injected(protocol, &mut outcome),
                }
            }
            Step::Done(Request::Quit) => End::Quit,
            Step::Done(Request::Unauthenticated) => panic!("a device where none may come"),
            Step::Done(Request::Login(attempt)) => {
                assert!(offer.credentials, "credentials before TLS");
                credible(&attempt);
                assert!(
                    matches!(front.next(), Step::Read),
                    "no step before the decision"
                );
                outcome.attempts.push(attempt);
                match decisions.next() {
                    Some(fault) => {
                        front.reject(&fault);
                        continue;
                    }
                    None => accepted(protocol, front.as_mut(), cut, unread.make_contiguous()),
                }
            }
            Step::Failed(fault) => End::Failed(fault.kind()),
        };
        silent_for_good(front.as_mut());
        bounded(stream, &outcome);
        return outcome;
    }
}

/// The outcome of bytes that stood behind STARTTLS, with the answer to it taken back.
fn injected(protocol: Protocol, outcome: &mut Outcome) -> End {
    let go_ahead: &[u8] = match protocol {
        Protocol::Imap => b"OK Begin TLS negotiation now.\r\n",
        Protocol::Pop3 => b"+OK Begin TLS negotiation now.\r\n",
        Protocol::Smtp => b"220 2.0.0 Begin TLS negotiation now.\r\n",
    };
    let before = outcome.written.strip_suffix(go_ahead).unwrap();
    // IMAP's tag goes with it.
    let line = match protocol {
        Protocol::Imap => before
            .iter()
            .rposition(|octet| *octet == b'\n')
            .map_or(0, |at| at + 1),
        Protocol::Pop3 | Protocol::Smtp => before.len(),
    };
    outcome.written.truncate(line);
    End::Failed(Kind::Tls)
}

fn credible(attempt: &Attempt) {
    let credentials = &attempt.credentials;
    for text in [&credentials.login, credentials.password.expose()] {
        assert!((1..=CREDENTIAL_CAP).contains(&text.len()));
        assert!(!text.chars().any(char::is_control));
    }
    assert!(["LOGIN", "USER", "PLAIN"].contains(&attempt.method));
}

/// What the client is told, and all that it sent behind its credentials.
fn accepted(protocol: Protocol, front: &mut dyn Front, cut: Cut, unread: &[&[u8]]) -> End {
    let (untagged, text): (&'static [u8], &'static [u8]) = match protocol {
        Protocol::Imap => (b"* CAPABILITY IMAP4rev1\r\n", b"OK done."),
        Protocol::Pop3 => (b"", b"+OK done."),
        Protocol::Smtp => (b"", b"235-2.7.0 done.\r\n235 2.7.0 done."),
    };
    let words = front.accept(&SuccessReply {
        untagged: untagged.into(),
        text: text.into(),
    });
    assert_lines(&words);
    assert!(words.starts_with(untagged) && words.ends_with(&[text, b"\r\n"].concat()));
    let mut leftover = front.leftover().to_vec();
    if let Cut::Octets = cut {
        // The last octet of the credentials was the last that was read.
        assert!(leftover.is_empty(), "octets that were not sent yet");
    }
    assert!(front.leftover().is_empty(), "the leftover twice");
    leftover.extend(unread.concat());
    End::SuccessReply {
        words: words.to_vec(),
        leftover,
    }
}

/// The dialogue is over: whatever comes, nothing is said or done any more.
fn silent_for_good(front: &mut dyn Front) {
    if let Step::Read = front.next() {
        return;
    }
    panic!("a step after the last");
}

/// What a client can make us write is a small multiple of what it sends.
fn bounded(stream: &[u8], outcome: &Outcome) {
    let lines = 2 + stream.iter().filter(|octet| **octet == b'\n').count();
    assert!(outcome.written.len() <= lines * 512);
}
