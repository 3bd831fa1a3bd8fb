//! IMAP before login: client commands, upstream responses, capabilities.
//!
//! Accepted deviations from the RFCs, all seen in the field: verbs and mechanism names in any case,
//! trailing spaces (`quirk_trailing_space`), backslashes that escape nothing (`quirk_backslash`,
//! `quirk_userid`).

use bytes::Bytes;
use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, tag_no_case, take, take_while, take_while1};
use nom::character::complete::{char, line_ending, space1, u32 as number};
use nom::combinator::{all_consuming, map, map_opt, opt, rest, value};
use nom::multi::fold_many0;
use nom::sequence::{delimited, preceded, separated_pair, terminated};
use nom::{IResult, Parser};

use super::literal::TAG_CAP;

/// A client's command before login, with its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// Tag as the client wrote it.
    pub tag: Bytes,
    /// Command that follows the tag.
    pub command: Command,
}

/// A client's command before login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// CAPABILITY (RFC 9051 §6.1.1).
    Capability,
    /// NOOP (RFC 9051 §6.1.2).
    Noop,
    /// LOGOUT (RFC 9051 §6.1.3).
    Logout,
    /// ID (RFC 2971).
    Id,
    /// STARTTLS (RFC 9051 §6.2.1).
    StartTls,
    /// LOGIN (RFC 9051 §6.2.3).
    Login {
        /// User name, decoded from `userid`.
        login: Vec<u8>,
        /// Password, decoded from `password`.
        password: Vec<u8>,
    },
    /// AUTHENTICATE (RFC 9051 §6.2.2).
    Authenticate {
        /// Name of the mechanism, upper-cased.
        mechanism: String,
        /// Initial response: base64, or `=` for an empty one (RFC 4959).
        initial: Option<Bytes>,
    },
    /// LOGIN or AUTHENTICATE with invalid arguments.
    MalformedLogin,
    /// Any other verb; the arguments are not checked.
    Other,
    /// A tag followed by something that is not a command.
    Malformed,
}

/// Parses `command = tag SP (command-any / command-nonauth)` (RFC 9051 §9).
///
/// Returns `None` if the input does not even begin with a tag.
pub fn command(input: &[u8]) -> Option<Tagged> {
    let (rest, tag) = terminated(imap_tag, char(' ')).parse(input).ok()?;
    let command = all_consuming(terminated(command_nonauth, quirk_trailing_space))
        .parse(rest)
        .map_or_else(|_| malformed(rest), |(_, command)| command);
    Some(Tagged {
        tag: Bytes::copy_from_slice(tag),
        command,
    })
}

/// Classifies a command that the grammar rejects.
fn malformed(input: &[u8]) -> Command {
    let verb = input.split(|octet| !octet.is_ascii_alphabetic()).next();
    let is_login = |verb: &[u8]| {
        ["LOGIN", "AUTHENTICATE"]
            .iter()
            .any(|login| login.as_bytes().eq_ignore_ascii_case(verb))
    };
    match verb.is_some_and(is_login) {
        true => Command::MalformedLogin,
        false => Command::Malformed,
    }
}

/// `tag = 1*<any ASTRING-CHAR except "+">`, at most [`TAG_CAP`] of them.
fn imap_tag(input: &[u8]) -> IResult<&[u8], &[u8]> {
    map_opt(
        take_while1(|octet| is_astring_char(octet) && octet != b'+'),
        |tag: &[u8]| (tag.len() <= TAG_CAP).then_some(tag),
    )
    .parse(input)
}

fn command_nonauth(input: &[u8]) -> IResult<&[u8], Command> {
    alt((
        value(Command::Capability, verb("CAPABILITY")),
        value(Command::Noop, verb("NOOP")),
        value(Command::Logout, verb("LOGOUT")),
        value(Command::StartTls, verb("STARTTLS")),
        // The parameters of ID are not used (RFC 2971 §3.1).
        value(Command::Id, (tag_no_case("ID"), space1, rest)),
        login,
        authenticate,
        map_opt((atom, rest), |(name, _): (&[u8], &[u8])| {
            let known = ["LOGIN", "AUTHENTICATE", "ID"];
            (!known
                .iter()
                .any(|known| known.as_bytes().eq_ignore_ascii_case(name)))
            .then_some(Command::Other)
        }),
    ))
    .parse(input)
}

/// Matches a verb without arguments.
fn verb(name: &str) -> impl Fn(&[u8]) -> IResult<&[u8], &[u8]> {
    move |input| terminated(tag_no_case(name), nom::combinator::not(is_not(" "))).parse(input)
}

/// `login = "LOGIN" SP userid SP password ; both astring`
fn login(input: &[u8]) -> IResult<&[u8], Command> {
    map(
        preceded(
            (tag_no_case("LOGIN"), space1),
            separated_pair(alt((quirk_userid, astring)), space1, astring),
        ),
        |(login, password)| Command::Login { login, password },
    )
    .parse(input)
}

/// Parses a `userid` that is an atom with backslashes: imaplib does not quote `CONTOSO\tickets`.
fn quirk_userid(input: &[u8]) -> IResult<&[u8], Vec<u8>> {
    map(
        take_while1(|octet| is_astring_char(octet) || octet == b'\\'),
        <[u8]>::to_vec,
    )
    .parse(input)
}

/// `authenticate = "AUTHENTICATE" SP auth-type [SP (base64 / "=")]` (RFC 4959 §3)
fn authenticate(input: &[u8]) -> IResult<&[u8], Command> {
    map(
        preceded(
            (tag_no_case("AUTHENTICATE"), space1),
            (atom, opt(preceded(space1, is_not(" \r\n")))),
        ),
        |(mechanism, initial): (&[u8], Option<&[u8]>)| Command::Authenticate {
            mechanism: String::from_utf8_lossy(mechanism).to_ascii_uppercase(),
            initial: initial.map(Bytes::copy_from_slice),
        },
    )
    .parse(input)
}

fn quirk_trailing_space(input: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while(|octet| octet == b' ')(input)
}

/// `astring = 1*ASTRING-CHAR / string`
fn astring(input: &[u8]) -> IResult<&[u8], Vec<u8>> {
    alt((
        map(take_while1(is_astring_char), <[u8]>::to_vec),
        quoted,
        map(literal, <[u8]>::to_vec),
    ))
    .parse(input)
}

/// `quoted = DQUOTE *QUOTED-CHAR DQUOTE`
fn quoted(input: &[u8]) -> IResult<&[u8], Vec<u8>> {
    let text = fold_many0(
        alt((is_not("\"\\\r\n\0"), quirk_backslash)),
        Vec::new,
        |mut text: Vec<u8>, part: &[u8]| {
            text.extend_from_slice(part);
            text
        },
    );
    delimited(char('"'), text, char('"')).parse(input)
}

/// Parses `QUOTED-CHAR`'s `"\" quoted-specials`. A backslash before any other character stands for
/// itself: old clients quote without escaping, and Exchange accepts that.
fn quirk_backslash(input: &[u8]) -> IResult<&[u8], &[u8]> {
    alt((preceded(char('\\'), alt((tag("\\"), tag("\"")))), tag("\\"))).parse(input)
}

/// `literal = "{" number ["+"] "}" CRLF *CHAR8`. LF alone ends a line as well.
fn literal(input: &[u8]) -> IResult<&[u8], &[u8]> {
    let announced = (opt(char('+')), char('}'), line_ending);
    let (input, octets) = delimited(char('{'), number, announced).parse(input)?;
    take(octets)(input)
}

/// `atom = 1*ATOM-CHAR`
fn atom(input: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|octet| is_astring_char(octet) && octet != b']').parse(input)
}

/// `ASTRING-CHAR = ATOM-CHAR / "]"`; `ATOM-CHAR` is any CHAR but atom-specials.
fn is_astring_char(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"(){%*\"\\".contains(&octet)
}

/// An upstream's response before login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Continuation request `+ text`, without the plus sign.
    Continue(Bytes),
    /// Untagged response `* …`, the whole line.
    Untagged(Bytes),
    /// Tagged response to the command with the expected tag, without the tag.
    Tagged(Status, Bytes),
}

/// Status of a response: `resp-cond-state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The command has succeeded.
    Ok,
    /// The command was refused.
    No,
    /// The command was not understood.
    Bad,
}

/// Parses `response = continue-req / response-data / response-tagged` (RFC 9051 §9).
///
/// A tagged response is returned without its tag (`OK AUTHENTICATE completed.`). Tags are compared
/// without regard to case. Returns `None` if the line is not IMAP or has another tag.
pub fn response(input: &[u8], expected: &str) -> Option<Response> {
    if let Some(text) = input.strip_prefix(b"+") {
        // Some servers omit the space.
        let text = text.strip_prefix(b" ").unwrap_or(text);
        return Some(Response::Continue(Bytes::copy_from_slice(text)));
    }
    if input.starts_with(b"* ") {
        return Some(Response::Untagged(Bytes::copy_from_slice(input)));
    }
    let (text, _) = with_tag(input, expected).ok()?;
    let (_, status) = status(text).ok()?;
    Some(Response::Tagged(status, Bytes::copy_from_slice(text)))
}

/// `tag SP`
fn with_tag<'a>(input: &'a [u8], expected: &str) -> IResult<&'a [u8], &'a [u8]> {
    terminated(tag_no_case(expected), char(' ')).parse(input)
}

/// Status of a greeting or untagged response; `None` unless it is `OK`, `NO` or `BAD`.
pub fn untagged_status(line: &[u8]) -> Option<Status> {
    status(line.strip_prefix(b"* ")?)
        .ok()
        .map(|(_, status)| status)
}

/// Whether `line` is the untagged response `* NAME …`.
pub fn is_untagged(line: &[u8], name: &str) -> bool {
    line.strip_prefix(b"* ")
        .is_some_and(|line| verb(name)(line).is_ok())
}

fn status(input: &[u8]) -> IResult<&[u8], Status> {
    terminated(
        alt((
            value(Status::Ok, tag_no_case("OK")),
            value(Status::No, tag_no_case("NO")),
            value(Status::Bad, tag_no_case("BAD")),
        )),
        nom::combinator::not(is_not(" ")),
    )
    .parse(input)
}

/// Capabilities listed in a line: `* CAPABILITY …`, or a `[CAPABILITY …]` code. At most 100.
///
/// ```abnf
/// capability-data = "CAPABILITY" *(SP capability) SP "IMAP4rev2" *(SP capability)
/// ```
pub fn capabilities(line: &[u8]) -> Option<Vec<String>> {
    let list = if is_untagged(line, "CAPABILITY") {
        line
    } else {
        let start = memchr::memmem::find(line, b"[CAPABILITY ")?;
        let list = line.get(start..)?;
        list.get(..memchr::memchr(b']', list)?)?
    };
    let atoms = list.split(|octet| *octet == b' ').filter(|atom| {
        !matches!(*atom, b"" | b"*") && atom.iter().all(|octet| is_astring_char(*octet))
    });
    let names = atoms.filter_map(|atom| std::str::from_utf8(atom).ok());
    Some(
        names
            .filter(|name| !name.eq_ignore_ascii_case("CAPABILITY"))
            .filter(|name| !name.starts_with('['))
            .map(str::to_owned)
            .take(100)
            .collect(),
    )
}

/// Builds the capability list of a listener: the upstream's capabilities without those that
/// authrelay cannot provide, plus its own AUTH and STARTTLS entries.
pub fn advertised(upstream: &[String], starttls: bool, credentials: bool) -> String {
    let promised = |name: &&String| {
        let name = name.to_ascii_uppercase();
        !["AUTH=", "COMPRESS="]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            && ![
                "STARTTLS",
                "LOGINDISABLED",
                "XCLIENT",
                "UNAUTHENTICATE",
                "IMAP4REV1",
            ]
            .contains(&name.as_str())
            && !name.starts_with("BACKENDAUTHENTICATE")
    };
    // RFC 3501 §7.2.1 requires IMAP4rev1, and some clients look for it first.
    let mut list = String::from("IMAP4rev1");
    for name in upstream.iter().filter(promised) {
        list.push(' ');
        list.push_str(name);
    }
    if starttls {
        list.push_str(" STARTTLS");
    }
    list.push_str(if credentials {
        " AUTH=PLAIN AUTH=LOGIN"
    } else {
        " LOGINDISABLED"
    });
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Command {
        command(line.as_bytes()).unwrap().command
    }

    fn login(login: &str, password: &str) -> Command {
        Command::Login {
            login: login.into(),
            password: password.into(),
        }
    }

    #[test]
    fn tags_may_be_long() {
        for (length, is_tag) in [(1, true), (255, true), (1000, true), (1001, false)] {
            let line = format!("{} NOOP", "t".repeat(length));
            assert_eq!(command(line.as_bytes()).is_some(), is_tag, "{length}");
        }
    }

    /// RFC 9051 §6.2.3 and the forms that clients use.
    #[test]
    fn login_in_every_form() {
        let smith = login("SMITH", "SESAME");
        for line in [
            "a001 LOGIN SMITH SESAME",
            "a001 login \"SMITH\" \"SESAME\"",
            "a001 Login SMITH \"SESAME\" ",
            "a001 LOGIN {5}\r\nSMITH {6+}\r\nSESAME",
            "a001 LOGIN {5+}\r\nSMITH SESAME",
            "a001 LOGIN {5}\nSMITH {6+}\nSESAME",
        ] {
            assert_eq!(parsed(line), smith, "{line:?}");
        }
        assert_eq!(parsed(r#"a LOGIN "a\"b" "c\\ d""#), login("a\"b", "c\\ d"));
        assert_eq!(parsed("a LOGIN \"\" {0}\r\n"), login("", ""));
        assert_eq!(parsed("a LOGIN x] y]"), login("x]", "y]"));
        assert_eq!(parsed("a LOGIN {4}\r\na\r\nb c"), login("a\r\nb", "c"));
        for line in [
            "a LOGIN",
            "a LOGIN x",
            "a LOGIN x y z",
            "a LOGIN {9}\r\nx y",
            "a LOGIN \"x y",
            "a LOGIN \"a\\\" c",
            "a LOGIN x p\\w",
            "a LOGIN\"x\" \"y\"",
        ] {
            assert_eq!(parsed(line), Command::MalformedLogin, "{line:?}");
        }
        assert_eq!(parsed("a LOGIN A\\b \"c\""), login("A\\b", "c"));
        assert_eq!(
            parsed("a LOGIN \"A\\b\" \"c\\d\\\\\""),
            login("A\\b", "c\\d\\")
        );
    }

    #[test]
    fn authenticate_with_and_without_initial_response() {
        let authenticate = |mechanism: &str, initial: Option<&'static str>| Command::Authenticate {
            mechanism: mechanism.into(),
            initial: initial.map(Bytes::from_static_str),
        };
        assert_eq!(parsed("a AUTHENTICATE plain"), authenticate("PLAIN", None));
        assert_eq!(
            parsed("a authenticate LOGIN dXNlcg=="),
            authenticate("LOGIN", Some("dXNlcg=="))
        );
        assert_eq!(
            parsed("a AUTHENTICATE PLAIN ="),
            authenticate("PLAIN", Some("="))
        );
        assert_eq!(parsed("a AUTHENTICATE"), Command::MalformedLogin);
    }

    trait StaticStr {
        fn from_static_str(text: &'static str) -> Bytes;
    }
    impl StaticStr for Bytes {
        fn from_static_str(text: &'static str) -> Bytes {
            Bytes::from_static(text.as_bytes())
        }
    }

    #[test]
    fn other_commands_and_no_commands() {
        assert_eq!(parsed("a capability"), Command::Capability);
        assert_eq!(parsed("a ID (\"name\" \"x\")"), Command::Id);
        assert_eq!(parsed("a ID NIL"), Command::Id);
        assert_eq!(parsed("a SELECT INBOX"), Command::Other);
        assert_eq!(parsed("a NOOPX"), Command::Other);
        assert_eq!(parsed("a "), Command::Malformed);
        for line in [
            "",
            "a",
            " a NOOP",
            "+ NOOP",
            "* OK",
            "\"a\" NOOP",
            "a\u{1} NOOP",
        ] {
            assert_eq!(command(line.as_bytes()), None, "{line:?}");
        }
    }

    #[test]
    fn responses_are_told_apart() {
        let text = Bytes::from_static(b"OK AUTHENTICATE completed.");
        assert_eq!(
            response(b"r1 OK AUTHENTICATE completed.", "R1"),
            Some(Response::Tagged(Status::Ok, text))
        );
        assert_eq!(response(b"+", "R1"), Some(Response::Continue(Bytes::new())));
        assert_eq!(
            response(b"+ e30=", "R1"),
            Some(Response::Continue(Bytes::from_static(b"e30=")))
        );
        assert_eq!(response(b"R2 OK x", "R1"), None);
        assert_eq!(response(b"R1 OKAY", "R1"), None);
        assert_eq!(untagged_status(b"* ok"), Some(Status::Ok));
        assert_eq!(untagged_status(b"* PREAUTH x"), None);
        assert!(is_untagged(b"* bye now", "BYE"));
    }

    #[test]
    fn capabilities_are_read_and_rewritten() {
        let exchange = capabilities(b"* CAPABILITY IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS COMPRESS=DEFLATE STARTTLS IDLE").unwrap();
        assert_eq!(
            advertised(&exchange, false, true),
            "IMAP4rev1 IMAP4 SASL-IR UIDPLUS IDLE AUTH=PLAIN AUTH=LOGIN"
        );
        assert_eq!(
            advertised(&exchange, true, false),
            "IMAP4rev1 IMAP4 SASL-IR UIDPLUS IDLE STARTTLS LOGINDISABLED"
        );
        let code = capabilities(b"* OK [CAPABILITY IMAP4rev1 SASL-IR] ready").unwrap();
        assert_eq!(code, ["IMAP4rev1", "SASL-IR"]);
        assert_eq!(capabilities(b"* OK ready"), None);
    }
}
