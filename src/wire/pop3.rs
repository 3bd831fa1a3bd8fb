//! POP3 before login: client commands, upstream replies, capabilities.

use std::borrow::Cow;

use bytes::Bytes;
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_while1};
use nom::character::complete::space1;
use nom::combinator::{all_consuming, opt, rest, value};
use nom::sequence::preceded;
use nom::{IResult, Parser};

/// A client's command before login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// CAPA (RFC 2449 §5).
    Capa,
    /// USER with the rest of the line (RFC 1939 §7).
    User(Bytes),
    /// PASS with the rest of the line, spaces included (RFC 1939 §7).
    Pass(Bytes),
    /// AUTH (RFC 5034 §4); without a mechanism it requests the list of mechanisms (RFC 1734).
    Auth {
        /// Name of the mechanism, upper-cased.
        mechanism: Option<String>,
        /// Initial response: base64 or `=`.
        initial: Option<Bytes>,
    },
    /// APOP (RFC 1939 §7), which needs the password in plain text on both sides.
    Apop,
    /// STLS (RFC 2595 §4).
    Stls,
    /// QUIT (RFC 1939 §4).
    Quit,
    /// AUTH with invalid arguments.
    MalformedLogin,
    /// Any other command.
    Other,
}

/// Parses `command = keyword *(SP param) CRLF` (RFC 2449 §4), keywords in any case.
pub fn command(line: &[u8]) -> Command {
    let (argument, keyword) = match keyword(line) {
        Ok(parsed) => parsed,
        Err(_) => return Command::Other,
    };
    let argument = argument.strip_prefix(b" ").unwrap_or(argument);
    match keyword.to_ascii_uppercase().as_slice() {
        b"CAPA" => Command::Capa,
        b"USER" => Command::User(Bytes::copy_from_slice(argument.trim_ascii())),
        b"PASS" => Command::Pass(Bytes::copy_from_slice(argument)),
        b"AUTH" => {
            auth(argument.trim_ascii()).map_or(Command::MalformedLogin, |(_, command)| command)
        }
        b"APOP" => Command::Apop,
        b"STLS" => Command::Stls,
        b"QUIT" => Command::Quit,
        _ => Command::Other,
    }
}

/// Parses `keyword = 3*4VCHAR` (RFC 2449 §4). Keywords of other lengths match no command.
fn keyword(line: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|octet: u8| octet.is_ascii_graphic())(line)
}

/// `auth-command = "AUTH" SP sasl-mech [SP initial-response]` (RFC 5034 §7)
fn auth(argument: &[u8]) -> IResult<&[u8], Command> {
    let word = |input| take_while1(|octet: u8| octet.is_ascii_graphic())(input);
    // Some clients send two spaces. An initial response requires a mechanism.
    let (rest, words) = all_consuming(opt((word, opt(preceded(space1, word))))).parse(argument)?;
    let (mechanism, initial) = words.unzip();
    let command = Command::Auth {
        mechanism: mechanism.map(|name: &[u8]| String::from_utf8_lossy(name).to_ascii_uppercase()),
        initial: initial.flatten().map(Bytes::copy_from_slice),
    };
    Ok((rest, command))
}

/// The first line of an upstream's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Success, `+OK …`.
    Ok,
    /// Failure, `-ERR …`.
    Err,
    /// Continuation `+ …`, without the plus sign.
    Continue(Bytes),
}

/// Parses the first line of `response = greeting / single-line / capa-resp / multi-line` (RFC 2449
/// §4).
pub fn reply(line: &[u8]) -> Option<Reply> {
    let parsed: IResult<&[u8], Reply> = alt((
        value(Reply::Ok, (tag_no_case("+OK"), end_of_word)),
        value(Reply::Err, (tag_no_case("-ERR"), end_of_word)),
        // Exchange and Dovecot send `+ `; a bare `+` is accepted too.
        nom::combinator::map(
            (tag("+"), end_of_word, rest),
            |(_, _, text): (_, _, &[u8])| {
                Reply::Continue(Bytes::copy_from_slice(text.trim_ascii()))
            },
        ),
    ))
    .parse(line);
    parsed.ok().map(|(_, reply)| reply)
}

fn end_of_word(input: &[u8]) -> IResult<&[u8], ()> {
    nom::combinator::not(nom::bytes::complete::is_not(" ")).parse(input)
}

/// Builds a listener's reply lines to CAPA: the upstream's lines without those that authrelay
/// cannot provide, plus its own SASL, USER and STLS.
pub fn advertised(upstream: &[String], starttls: bool, credentials: bool) -> Vec<Cow<'_, str>> {
    // The command UTF8 must precede the login (RFC 6856 §2), which nothing of the client's passes.
    let own = ["SASL", "USER", "STLS", "XCLIENT", "IMPLEMENTATION", "UTF8"];
    let promised = |line: &&String| {
        let name = line.split(' ').next().unwrap_or_default();
        !own.iter().any(|own| own.eq_ignore_ascii_case(name))
    };
    let mut lines: Vec<_> = upstream
        .iter()
        .filter(promised)
        .map(|line| Cow::Borrowed(line.as_str()))
        .collect();
    if starttls {
        lines.push("STLS".into());
    }
    if credentials {
        lines.extend(["USER".into(), "SASL PLAIN LOGIN".into()]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_any_case_with_all_that_belongs_to_them() {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let auth = |mechanism: Option<&str>, initial: Option<&'static str>| Command::Auth {
            mechanism: mechanism.map(str::to_owned),
            initial: initial.map(bytes),
        };
        for (line, expected) in [
            ("capa", Command::Capa),
            ("USER  mrose ", Command::User(bytes("mrose"))),
            ("pass tan sta af ", Command::Pass(bytes("tan sta af "))),
            ("AUTH", auth(None, None)),
            ("auth plain", auth(Some("PLAIN"), None)),
            ("AUTH PLAIN dGVzdA==", auth(Some("PLAIN"), Some("dGVzdA=="))),
            ("AUTH  PLAIN", auth(Some("PLAIN"), None)),
            ("AUTH PLAIN a b", Command::MalformedLogin),
            ("STLS", Command::Stls),
            ("apop mrose c4c9334bac560ecc979e58001b3e22fb", Command::Apop),
            ("quit", Command::Quit),
            ("RETR 1", Command::Other),
            ("", Command::Other),
            ("USERNAME x", Command::Other),
        ] {
            assert_eq!(command(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn replies_are_told_apart() {
        assert_eq!(reply(b"+OK"), Some(Reply::Ok));
        assert_eq!(reply(b"+ok ready"), Some(Reply::Ok));
        assert_eq!(reply(b"-ERR no"), Some(Reply::Err));
        assert_eq!(reply(b"+ "), Some(Reply::Continue(Bytes::new())));
        assert_eq!(
            reply(b"+ e30="),
            Some(Reply::Continue(Bytes::from_static(b"e30=")))
        );
        assert_eq!(reply(b"+OKAY"), None);
        assert_eq!(reply(b"* OK"), None);
    }

    #[test]
    fn capabilities_are_rewritten() {
        let exchange = ["TOP", "UIDL", "SASL PLAIN XOAUTH2", "USER", "STLS"].map(str::to_owned);
        assert_eq!(
            advertised(&exchange, false, true),
            ["TOP", "UIDL", "USER", "SASL PLAIN LOGIN"]
        );
        let utf8 = ["UTF8 USER", "LANG", "utf8"].map(str::to_owned);
        assert_eq!(advertised(&utf8, false, false), ["LANG"]);
        assert_eq!(advertised(&exchange, true, false), ["TOP", "UIDL", "STLS"]);
    }
}
