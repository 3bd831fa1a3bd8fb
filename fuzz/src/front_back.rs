//! Our server role against our client role: what one says goes to the other, altered on its way
//! as the input wants. Left alone, the two must understand each other.

use std::collections::VecDeque;

use authrelay::fault::{Fault, Kind};
use authrelay::login::back::{self, Back, Ready, Stage};
use authrelay::login::front::{self, Advertised, Front, Request};
use authrelay::login::{Step, SuccessReply};
use authrelay::wire::Protocol;
use authrelay::wire::sasl::{Mechanism, encode};

use super::back::{TOKEN, assert_discreet, assert_tellable, login, response};
use super::front::protocol;
use super::pieces::{Cut, assert_lines, contains, header, same_for_every_cut};

/// More turns than any dialogue takes.
const TURNS: usize = 24;

/// What an alteration may put in.
const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    " ",
    "*",
    "=",
    "+ ",
    "+OK",
    "-ERR",
    "* OK x\r\n",
    "* BYE x\r\n",
    "A1 OK x\r\n",
    "A1 NO [UNAVAILABLE] x\r\n",
    "* PREAUTH x\r\n",
    "* CAPABILITY IMAP4rev1 SASL-IR\r\n",
    "{3}\r\n",
    "{3+}\r\n",
    "{99999999}\r\n",
    "AUTH PLAIN AHUAcA==\r\n",
    "A1 LOGIN u p\r\n",
    "USER u\r\nPASS p\r\n",
    "QUIT\r\n",
    "STARTTLS\r\n",
    "STLS\r\n",
    "NOOP\r\n",
    "250-x\r\n",
    "250 SASL-IR\r\n",
    "334 \r\n",
    "235 x\r\n",
    "421 x\r\n",
    "535 5.7.8 x\r\n",
    "AQ==\r\n",
    ".\r\n",
    "SASL-IR",
];

/// The alterations, as the input wants them; none once it is used up.
struct Alterations<'a> {
    input: &'a [u8],
    /// Whether anything was altered.
    touched: bool,
    /// What was held back, by side.
    held: [Vec<u8>; 2],
}

impl Alterations<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(*first)
    }

    fn place(&mut self, length: usize) -> usize {
        usize::from(self.next().unwrap_or_default()) % (length + 1)
    }

    fn alter(&mut self, side: usize, said: Vec<u8>) -> Vec<u8> {
        let mut said = [std::mem::take(&mut self.held[side]), said].concat();
        let Some(how) = self.next() else {
            return said;
        };
        let before = said.clone();
        match how % 12 {
            0 => {
                let place = self.place(said.len());
                let with = self.next().unwrap_or_default();
                if let Some(octet) = said.get_mut(place) {
                    *octet = with;
                }
            }
            1 => {
                let place = self.place(said.len());
                let octets = self.place(said.len() - place);
                said.drain(place..place + octets);
            }
            2 => said.extend_from_within(..),
            3 => {
                let place = self.place(said.len());
                said.truncate(place);
            }
            4 => {
                let place = self.place(said.len());
                let octets = self.place(32).min(self.input.len());
                let (new, rest) = self.input.split_at(octets);
                self.input = rest;
                said.splice(place..place, new.iter().copied());
            }
            5 | 6 => {
                let place = match how % 12 {
                    5 => said.len(),
                    _ => self.place(said.len()),
                };
                let word = WORDS[usize::from(self.next().unwrap_or_default()) % WORDS.len()];
                said.splice(place..place, word.bytes());
            }
            7 => said.make_ascii_lowercase(),
            8 => said.clear(),
            9 => self.held[side] = std::mem::take(&mut said),
            10 => said.retain(|octet| *octet != b'\r'),
            _ => {}
        }
        self.touched |= said != before;
        said
    }
}

/// How a dialogue ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The client role is logged in.
    Done(Ready),
    /// It gave up.
    Refused(Kind),
    /// The server role gave up, or both wait.
    Silence(Kind),
    /// Something stood behind STARTTLS or its answer.
    Injected,
    /// Only one side begins TLS.
    Disagreement,
}

/// What a side does after its turn.
enum Turn<T> {
    Waits,
    StartTls,
    Injected,
    Ended(T),
}

/// The server role, and the decision on its only attempt.
struct Server {
    front: Box<dyn Front>,
    verdict: Option<Fault>,
    accepted: SuccessReply,
    said: Vec<u8>,
}

/// Octet 0 chooses the protocol; octet 1 STARTTLS (1), whether a password stands in for the token
/// (2) and the mechanism (4); octet 2 is even where the attempt is accepted, else it chooses why
/// not; the rest are alterations.
pub fn front_back(input: &[u8]) {
    let ([choice, kind, verdict], script) = header(input);
    let protocol = protocol(choice);
    let starttls = kind & 1 != 0;
    let translated = kind & 2 != 0;
    let mechanism = match kind & 4 {
        0 => Mechanism::Xoauth2,
        _ => Mechanism::Oauthbearer,
    };
    let verdict = (verdict % 2 == 1).then(|| {
        Fault::new(
            Kind::ALL[usize::from(verdict / 2) % Kind::ALL.len()],
            "decided so",
        )
    });
    // Every cut of every message would be too much.
    let length = script.len().min(8);
    let (end, touched) = same_for_every_cut(length, |cut| {
        let mut alterations = Alterations {
            input: script,
            touched: false,
            held: Default::default(),
        };
        let translate = |said: Vec<u8>| match translated {
            true => password_for_token(&said, mechanism),
            false => said,
        };
        let end = talk(
            protocol,
            mechanism,
            starttls,
            verdict.clone(),
            cut,
            &mut alterations,
            translate,
        );
        (end, alterations.touched)
    });
    if let End::Done(ready) = &end {
        shown_on(protocol, ready, touched);
    }
    if touched {
        return;
    }
    match (&end, translated, verdict) {
        (End::Done(ready), true, None) => assert_eq!(ready.accepted, accepted(protocol)),
        (End::Refused(_) | End::Silence(_), true, Some(_)) => {}
        (End::Refused(Kind::Refused), false, _) => {}
        (end, ..) => panic!("{protocol}: {end:?}"),
    }
}

fn talk(
    protocol: Protocol,
    mechanism: Mechanism,
    starttls: bool,
    verdict: Option<Fault>,
    cut: Cut,
    alterations: &mut Alterations<'_>,
    translate: impl Fn(Vec<u8>) -> Vec<u8>,
) -> End {
    let mut offer = offer(starttls, true);
    let mut server = Server {
        front: front::new(protocol, offer.clone()),
        verdict,
        accepted: accepted(protocol),
        said: Vec::new(),
    };
    let stage = match starttls {
        true => Stage::Cleartext,
        false => Stage::Implicit,
    };
    let mut encrypted = !starttls;
    let mut back = back::new(protocol, login(mechanism), stage);
    let mut heard = Vec::new();
    for _ in 0..TURNS {
        let turn = server.turn(&heard, cut);
        if let Turn::Injected = turn {
            return End::Injected;
        }
        let told = alterations.alter(0, std::mem::take(&mut server.said));
        let (said, next) = back_turn(back.as_mut(), &told, cut);
        assert!(encrypted || !contains(&said, TOKEN));
        assert!(encrypted || !contains(&said, &response(mechanism)));
        match (turn, next) {
            (_, Turn::Injected) => return End::Injected,
            (_, Turn::Ended(Ok(ready))) => return End::Done(ready),
            (_, Turn::Ended(Err(kind))) => return End::Refused(kind),
            (Turn::StartTls, Turn::StartTls) => {
                assert!(!encrypted, "TLS within TLS");
                encrypted = true;
                offer = self::offer(false, false);
                server.front = front::new(protocol, offer.clone());
                back = back::new(protocol, login(mechanism), Stage::Upgraded);
                alterations.held = Default::default();
                heard = back_turn(back.as_mut(), b"", cut).0;
            }
            (Turn::StartTls, _) | (_, Turn::StartTls) => return End::Disagreement,
            (Turn::Ended(()), Turn::Waits) => break,
            (Turn::Waits, Turn::Waits) if told.is_empty() && said.is_empty() => break,
            (Turn::Waits, Turn::Waits) | (Turn::Injected, _) => heard = said,
        }
        heard = alterations.alter(1, translate(heard));
    }
    let fault = back.closed();
    assert_tellable(&fault);
    assert_discreet(&fault);
    End::Silence(fault.kind())
}

impl Server {
    fn turn(&mut self, heard: &[u8], cut: Cut) -> Turn<()> {
        let mut unread: VecDeque<_> = cut.pieces(heard, 0).into();
        loop {
            match self.front.next() {
                Step::Read => match unread.pop_front() {
                    Some(piece) => self.front.receive(piece),
                    None => return Turn::Waits,
                },
                Step::Write(bytes) => {
                    assert_lines(&bytes);
                    self.said.extend_from_slice(&bytes);
                }
                Step::StartTls if unread.is_empty() => return Turn::StartTls,
                Step::StartTls => return Turn::Injected,
                Step::Failed(fault) if fault.detail().contains("after STARTTLS") => {
                    return Turn::Injected;
                }
                Step::Done(Request::Unauthenticated) => panic!("a device where none may come"),
                Step::Done(Request::Login(_)) => match self.verdict.take() {
                    Some(fault) => self.front.reject(&fault),
                    None => {
                        let words = self.front.accept(&self.accepted);
                        self.said.extend_from_slice(&words);
                        self.front.leftover();
                        return Turn::Waits;
                    }
                },
                Step::Done(Request::Quit) | Step::Failed(_) => return Turn::Ended(()),
            }
        }
    }
}

fn back_turn(back: &mut dyn Back, told: &[u8], cut: Cut) -> (Vec<u8>, Turn<Result<Ready, Kind>>) {
    let mut unread: VecDeque<_> = cut.pieces(told, 0).into();
    let mut said = Vec::new();
    let turn = loop {
        match back.next() {
            Step::Read => match unread.pop_front() {
                Some(piece) => back.receive(piece),
                None => break Turn::Waits,
            },
            Step::Write(bytes) => {
                assert_lines(&bytes);
                said.extend_from_slice(&bytes);
            }
            Step::StartTls if unread.is_empty() => break Turn::StartTls,
            Step::StartTls => break Turn::Injected,
            Step::Failed(fault) if fault.detail().contains("injecting") => break Turn::Injected,
            Step::Failed(fault) => {
                assert_tellable(&fault);
                assert_discreet(&fault);
                break Turn::Ended(Err(fault.kind()));
            }
            Step::Done(mut ready) => {
                ready.leftover = [
                    &ready.leftover,
                    unread.make_contiguous().concat().as_slice(),
                ]
                .concat()
                .into();
                break Turn::Ended(Ok(ready));
            }
        }
    };
    (said, turn)
}

fn offer(starttls: bool, greet_anew: bool) -> Advertised {
    let capabilities = ["UIDPLUS", "SASL-IR", "SIZE 157286400", "XOAUTH2"];
    Advertised {
        capabilities: capabilities.map(str::to_owned).into(),
        starttls,
        credentials: true,
        unauthenticated: false,
        greet: greet_anew,
        encrypted: false,
    }
}

fn accepted(protocol: Protocol) -> SuccessReply {
    let (untagged, text) = match protocol {
        Protocol::Imap => (
            "* CAPABILITY IMAP4rev1 IDLE\r\n",
            "OK AUTHENTICATE completed.",
        ),
        Protocol::Pop3 => ("", "+OK User successfully authenticated."),
        Protocol::Smtp => (
            "",
            "235-2.7.0 Welcome\r\n235 2.7.0 Authentication successful",
        ),
    };
    SuccessReply {
        untagged: untagged.into(),
        text: text.into(),
    }
}

/// What a client with a password would have said where the client role presents its token.
fn password_for_token(said: &[u8], mechanism: Mechanism) -> Vec<u8> {
    let plain = encode(b"\0tickets@contoso.test\0sandbox-local-7Qx2");
    String::from_utf8_lossy(said)
        .replace(mechanism.name(), "PLAIN")
        .replace(&response(mechanism), &plain)
        .into_bytes()
}

/// A listener shows what the upstream listed, and the client hears the upstream's words: whatever
/// they were, nothing but whole lines comes of it.
fn shown_on(protocol: Protocol, ready: &Ready, touched: bool) {
    let Some(capabilities) = &ready.capabilities else {
        return;
    };
    let (ask, log_in): (&[u8], &[u8]) = match protocol {
        Protocol::Imap => (b"a CAPABILITY\r\n", b"a LOGIN u p\r\n"),
        Protocol::Pop3 => (b"CAPA\r\n", b"USER u\r\nPASS p\r\n"),
        Protocol::Smtp => (b"EHLO x\r\n", b"AUTH PLAIN AHUAcA==\r\n"),
    };
    let show = |capabilities: &[String]| {
        let offer = Advertised {
            capabilities: capabilities.into(),
            starttls: false,
            credentials: true,
            unauthenticated: false,
            greet: false,
            encrypted: false,
        };
        let mut front = front::new(protocol, offer);
        front.receive(ask);
        match front.next() {
            Step::Write(bytes) => (front, bytes),
            other => panic!("{other:?}"),
        }
    };
    let (mut front, shown) = show(capabilities);
    assert_lines(&shown);
    if !touched {
        assert_eq!(
            shown,
            show(&offer(false, true).capabilities).1,
            "not what was shown to us"
        );
    }
    front.receive(log_in);
    while let Step::Write(_) = front.next() {}
    let words = front.accept(&ready.accepted);
    let text = ready.accepted.text.as_ref();
    assert!(
        words.ends_with(&[text, b"\r\n"].concat()) && !text.contains(&b'\n')
            || protocol == Protocol::Smtp
    );
    assert!(words.ends_with(b"\r\n"));
}
