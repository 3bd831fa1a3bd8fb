//! IMAP's literals as they pass, against a plain reference that sees all of the input: the scanner
//! that the login dialogues and the relay share, and what the relay makes of it.

use std::time::Duration;

use authrelay::relay::{Input, Machine, Tracker};
use authrelay::wire::Protocol;
use authrelay::wire::literal::{Line, Scanner, TAG_CAP};
use tokio::time::Instant;

use super::pieces::{header, same_for_every_cut};

/// A line: whether it begins a command or response, and what it announces.
type Seen = (bool, Option<(u64, bool)>);

/// Every line, and at each octet whether a command or response ends before it.
fn reference(input: &[u8], responses: bool) -> (Vec<Seen>, Vec<bool>) {
    let (mut lines, mut boundaries) = (Vec::new(), vec![true]);
    let (mut at, mut first) = (0, true);
    while at < input.len() {
        let Some(length) = input[at..].iter().position(|octet| *octet == b'\n') else {
            boundaries.resize(input.len() + 1, false);
            break;
        };
        let line = &input[at..at + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let announced = match responses && first && is_text(line) {
            true => None,
            false => announcement(line),
        };
        lines.push((first, announced));
        boundaries.resize(at + length + 1, false);
        at += length + 1;
        first = announced.is_none();
        boundaries.push(first);
        let literal = announced.map_or(0, |(octets, _)| octets);
        at = at.saturating_add(literal as usize).min(input.len());
        boundaries.resize(at + 1, first);
    }
    (lines, boundaries)
}

fn is_text(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line).to_ascii_uppercase();
    let line = line.trim_ascii_end();
    let second = line.split(' ').nth(1).unwrap_or_default();
    line.starts_with('+') || ["OK", "NO", "BAD", "BYE", "PREAUTH"].contains(&second)
}

/// `{n}` or `{n+}` at the end.
fn announcement(line: &[u8]) -> Option<(u64, bool)> {
    let open = line.iter().rposition(|octet| *octet == b'{')?;
    let inner = line[open + 1..].strip_suffix(b"}")?;
    let (digits, waits) = match inner.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (inner, true),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).unwrap().parse();
    Some((number.unwrap_or(u64::MAX), waits))
}

/// An octet 0 of `r`: responses; else commands.
pub fn literals(input: &[u8]) {
    let ([choice], stream) = header(input);
    let responses = choice == b'r';
    let (lines, boundaries) = reference(stream, responses);
    // A first word longer than any tag may hide that a response is text.
    let is_no_tag = |line: &[u8]| {
        let first = line.split(|octet| *octet == b' ').next();
        first.is_some_and(|word| word.len() > TAG_CAP)
    };
    if responses && stream.split(|octet| *octet == b'\n').any(is_no_tag) {
        return;
    }
    same_for_every_cut(stream.len(), |cut| {
        let mut scanner = match responses {
            true => Scanner::of_responses(),
            false => Scanner::of_commands(),
        };
        let now = Instant::now();
        let idle = Duration::from_secs(1800);
        let mut machine = Machine::new(Tracker::new(Protocol::Imap), idle, now);
        let mut seen = Vec::new();
        let mut at = 0;
        for piece in cut.pieces(stream, 0) {
            let mut rest = piece;
            while !rest.is_empty() {
                let (taken, line) = scanner.take(rest);
                assert!(taken > 0);
                rest = &rest[taken..];
                if let Some(Line { head, literal, .. }) = line {
                    let literal = literal.map(|literal| (literal.octets, literal.synchronizing));
                    seen.push((head.is_some(), literal));
                }
            }
            at += piece.len();
            assert_eq!(scanner.is_at_boundary(), boundaries[at], "at {at}");
            if responses {
                machine.handle(Input::Upstream(piece), now, &mut |_| {});
                let at_boundary = machine.tracker().at_reply_boundary();
                assert_eq!(at_boundary, boundaries[at], "the relay at {at}");
            } else {
                machine.handle(Input::Client(piece), now, &mut |_| {});
                let idle = machine.tracker().is_idle();
                assert!(!idle || boundaries[at], "the relay at {at}");
            }
        }
        assert_eq!(seen, lines);
    });
}
