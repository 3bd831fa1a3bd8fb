//! The client role against a hostile upstream: all three protocols, from each stage, with both
//! mechanisms.

use std::collections::VecDeque;

use authrelay::fault::{Fault, Kind};
use authrelay::login::Step;
use authrelay::login::back::{self, AwaitedReply, Back, Ready, Stage, UpstreamCredentials};
use authrelay::secret::Secret;
use authrelay::wire::Protocol;
use authrelay::wire::line::REPLY_CAP;
use authrelay::wire::sasl::{Mechanism, oauthbearer, xoauth2};
use authrelay::wire::smtp;

use super::front::{flights, protocol};
use super::pieces::{Cut, assert_lines, contains, header, same_for_every_cut};

/// The token: it must not be seen in clear, nor in anything that is logged or told.
pub const TOKEN: &str = "eyJ0eXAi.T0ken-of-Contoso_4Kd0vYz1.c2lnbmF0dXJl";

/// Whose it is.
pub const MAILBOX: &str = "tickets@contoso.test";

/// How a dialogue ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// Everything was read and more would be: what is said if the upstream closes now.
    Reading(&'static str, Said),
    StartTls,
    Done {
        /// Its leftover apart.
        ready: Ready,
        leftover: Vec<u8>,
    },
    Failed(Said),
}

/// A fault, as far as anybody sees it.
type Said = (Kind, String, Option<String>);

/// All that can be seen of a dialogue.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    written: Vec<u8>,
    end: End,
}

/// What the upstream is told.
pub fn login(mechanism: Mechanism) -> UpstreamCredentials {
    UpstreamCredentials {
        mailbox: MAILBOX.into(),
        token: Secret::from(TOKEN),
        mechanism,
        host: "localhost".into(),
        port: 993,
        client_name: "[127.0.0.1]".into(),
    }
}

/// The SASL response that presents the token.
pub fn response(mechanism: Mechanism) -> String {
    let token = Secret::from(TOKEN);
    match mechanism {
        Mechanism::Xoauth2 => xoauth2(MAILBOX, &token),
        Mechanism::Oauthbearer => oauthbearer(MAILBOX, "localhost", 993, &token),
    }
    .expose()
    .to_owned()
}

/// Octet 0 chooses the protocol, octet 1 stage and mechanism, the rest is the upstream's.
pub fn back(input: &[u8]) {
    let ([choice, start], stream) = header(input);
    let protocol = protocol(choice);
    let mechanism = match start & 4 {
        0 => Mechanism::Xoauth2,
        _ => Mechanism::Oauthbearer,
    };
    let stage = [Stage::Cleartext, Stage::Implicit, Stage::Upgraded][usize::from(start & 3) % 3];
    let (clear, encrypted) = match stage {
        Stage::Cleartext => flights(stream),
        Stage::Implicit | Stage::Upgraded => (stream, [].as_slice()),
    };
    same_for_every_cut(stream.len(), |cut| {
        let first = dialogue(protocol, mechanism, stage, cut, clear, 0);
        if first.end != End::StartTls {
            return (first, None);
        }
        assert_eq!(stage, Stage::Cleartext, "TLS within TLS");
        let offset = clear.len() + 1;
        let upgraded = Stage::Upgraded;
        let second = dialogue(protocol, mechanism, upgraded, cut, encrypted, offset);
        (first, Some(second))
    });
}

fn dialogue(
    protocol: Protocol,
    mechanism: Mechanism,
    stage: Stage,
    cut: Cut,
    stream: &[u8],
    offset: usize,
) -> Outcome {
    let mut back = back::new(protocol, login(mechanism), stage);
    let mut unread: VecDeque<_> = cut.pieces(stream, offset).into();
    let mut written = Vec::new();
    let mut waited = AwaitedReply::Greeting;
    loop {
        let step = back.next();
        waited = onward(waited, back.waiting());
        let end = match step {
            Step::Read => match unread.pop_front() {
                Some(piece) => {
                    back.receive(piece);
                    continue;
                }
                None => End::Reading(back.waiting().name(), said(&back.closed())),
            },
            Step::Write(bytes) => {
                assert!(!bytes.is_empty());
                assert_lines(&bytes);
                written.extend_from_slice(&bytes);
                continue;
            }
            Step::StartTls if unread.is_empty() => End::StartTls,
            // Had it come in one piece, it would have been seen.
            Step::StartTls => End::Failed(said(&injected())),
            Step::Done(ready) => done(ready, cut, unread.make_contiguous()),
            Step::Failed(fault) => End::Failed(said(&fault)),
        };
        if !matches!(end, End::Reading(..)) {
            silent_for_good(back.as_mut());
        }
        discreet(protocol, mechanism, stage, &written, &end);
        return Outcome { written, end };
    }
}

/// A dialogue never goes back to wait for what it had.
fn onward(before: AwaitedReply, now: AwaitedReply) -> AwaitedReply {
    let rank = |waiting| match waiting {
        AwaitedReply::Greeting => 0,
        AwaitedReply::Capabilities => 1,
        AwaitedReply::Authentication => 2,
    };
    assert!(rank(before) <= rank(now), "{before:?}, then {now:?}");
    now
}

/// As the product says it.
fn injected() -> Fault {
    let mut back = back::new(Protocol::Pop3, login(Mechanism::Xoauth2), Stage::Cleartext);
    back.receive(b"+OK\r\n");
    assert!(matches!(back.next(), Step::Write(_)));
    back.receive(b"+OK\r\n+OK\r\n");
    match back.next() {
        Step::Failed(fault) => fault,
        other => panic!("{other:?}"),
    }
}

fn done(mut ready: Ready, cut: Cut, unread: &[&[u8]]) -> End {
    let mut leftover = std::mem::take(&mut ready.leftover).to_vec();
    if let Cut::Octets = cut {
        assert!(leftover.is_empty(), "octets that were not sent yet");
    }
    leftover.extend(unread.concat());
    End::Done { ready, leftover }
}

fn said(fault: &Fault) -> Said {
    assert_tellable(fault);
    assert_discreet(fault);
    (
        fault.kind(),
        fault.detail().to_owned(),
        fault.remedy().map(str::to_owned),
    )
}

/// A fault may be logged and told: no control characters, and whole replies.
pub fn assert_tellable(fault: &Fault) {
    let texts = [fault.detail(), fault.remedy().unwrap_or_default()];
    for text in texts {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() < 1000, "{text:?}");
    }
    for protocol in Protocol::ALL {
        let reply = fault.reply(protocol, Some(b"a1"));
        assert_lines(&reply.text);
    }
    let reply = fault.reply(Protocol::Smtp, None).text;
    let mut parsed = smtp::Reply::default();
    if reply.is_empty() {
        return;
    }
    let lines: Vec<_> = reply
        .strip_suffix(b"\r\n")
        .unwrap_or_default()
        .split(|octet| *octet == b'\n')
        .collect();
    for (n, line) in lines.iter().enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let last = n + 1 == lines.len();
        assert_eq!(
            parsed.push(line),
            Some(last),
            "{:?}",
            String::from_utf8_lossy(&reply)
        );
    }
}

/// No token shows, whoever sees the fault.
pub fn assert_discreet(fault: &Fault) {
    assert_no_token(fault.detail().as_bytes());
    for protocol in Protocol::ALL {
        assert_no_token(&fault.reply(protocol, None).text);
    }
}

fn assert_no_token(text: &[u8]) {
    assert!(
        !contains(text, TOKEN),
        "{:?}",
        String::from_utf8_lossy(text)
    );
    for mechanism in [Mechanism::Xoauth2, Mechanism::Oauthbearer] {
        assert!(!contains(text, &response(mechanism)));
    }
}

/// What is said upstream is of our own making, and the token is said once, encrypted.
fn discreet(protocol: Protocol, mechanism: Mechanism, stage: Stage, written: &[u8], end: &End) {
    let response = response(mechanism);
    let name = mechanism.name();
    let mut lines: Vec<_> = written.split(|octet| *octet == b'\n').collect();
    lines.pop();
    let mut presented = 0;
    for line in lines {
        let line = std::str::from_utf8(line)
            .unwrap()
            .strip_suffix('\r')
            .unwrap();
        presented += usize::from(line.ends_with(&response));
        let line = line.replace(&response, "RESPONSE").replace(name, "NAME");
        let known: &[&str] = match protocol {
            Protocol::Imap => &[
                "A1 STARTTLS",
                "A1 CAPABILITY",
                "A1 AUTHENTICATE NAME",
                "A1 AUTHENTICATE NAME RESPONSE",
            ],
            Protocol::Pop3 => &["STLS", "CAPA", "AUTH NAME"],
            Protocol::Smtp => &["EHLO [127.0.0.1]", "STARTTLS", "AUTH NAME"],
        };
        assert!(
            known.contains(&line.as_str())
                || line == "RESPONSE"
                || line == mechanism.acknowledgement(),
            "{line:?}"
        );
    }
    assert!(presented <= 1, "the token twice");
    match stage {
        Stage::Cleartext => {
            assert!(
                !contains(written, TOKEN) && presented == 0,
                "the token in clear"
            );
            assert!(!matches!(end, End::Done { .. }), "logged in without TLS");
        }
        Stage::Implicit | Stage::Upgraded => assert_ne!(*end, End::StartTls, "TLS within TLS"),
    }
    if let End::Done { ready, .. } = end {
        assert_eq!(presented, 1, "logged in without a token");
        assert!(ready.leftover.is_empty());
        assert!(ready.accepted.untagged.len() <= 2 * REPLY_CAP);
        let capabilities = ready.capabilities.iter().flatten();
        let octets: usize = capabilities.clone().map(String::len).sum();
        assert!(octets <= 3 * REPLY_CAP, "{octets} octets of capabilities");
        for line in capabilities {
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

fn silent_for_good(back: &mut dyn Back) {
    for words in [b"".as_slice(), b"A1 OK x\r\n+OK\r\n220 x\r\n"] {
        back.receive(words);
        if !matches!(back.next(), Step::Read) {
            panic!("a step after the last");
        }
    }
}
