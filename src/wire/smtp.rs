//! SMTP before login: client commands, upstream replies, extensions.

use bytes::Bytes;
use nom::bytes::complete::{take, take_while1};
use nom::character::complete::{char, one_of};
use nom::combinator::{all_consuming, map_opt, opt, rest};
use nom::sequence::preceded;
use nom::{IResult, Parser};

use super::line::REPLY_CAP;

/// Largest size that a chunk of BDAT may announce, in octets.
const MAX_CHUNK: u64 = 9_999_999_999;

/// A client's command before login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// EHLO (RFC 5321 §4.1.1.1).
    Ehlo,
    /// HELO (RFC 5321 §4.1.1.1).
    Helo,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954 §4).
    Auth {
        /// Name of the mechanism, upper-cased.
        mechanism: String,
        /// Initial response: base64 or `=`.
        initial: Option<Bytes>,
    },
    /// NOOP (RFC 5321 §4.1.1.9).
    Noop,
    /// RSET (RFC 5321 §4.1.1.5).
    Rset,
    /// QUIT (RFC 5321 §4.1.1.10).
    Quit,
    /// A command of the mail transaction, which needs a login.
    Mail,
    /// An unknown verb.
    Unknown,
    /// AUTH with invalid arguments.
    MalformedLogin,
    /// A known verb with invalid arguments.
    Malformed,
}

/// Parses `command = verb *(SP argument) CRLF`, verbs in any case (RFC 5321 §2.4).
pub fn command(line: &[u8]) -> Command {
    let Ok((argument, verb)) = word(line) else {
        return Command::Unknown;
    };
    let argument = argument.trim_ascii();
    match verb.to_ascii_uppercase().as_slice() {
        b"EHLO" => Command::Ehlo,
        b"HELO" => Command::Helo,
        b"STARTTLS" if argument.is_empty() => Command::StartTls,
        b"AUTH" => auth(argument).map_or(Command::MalformedLogin, |(_, command)| command),
        b"NOOP" => Command::Noop,
        b"RSET" => Command::Rset,
        b"QUIT" => Command::Quit,
        b"MAIL" | b"RCPT" | b"DATA" | b"BDAT" | b"VRFY" | b"EXPN" | b"ETRN" | b"BURL" => {
            Command::Mail
        }
        b"STARTTLS" => Command::Malformed,
        _ => Command::Unknown,
    }
}

fn word(input: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|octet: u8| octet.is_ascii_graphic())(input)
}

/// `"AUTH" SP sasl-mech [SP initial-response]` (RFC 4954 §4)
fn auth(argument: &[u8]) -> IResult<&[u8], Command> {
    let spaces = |input| take_while1(|octet| octet == b' ')(input);
    let (rest, (mechanism, initial)) =
        all_consuming((word, opt(preceded(spaces, word)))).parse(argument)?;
    let command = Command::Auth {
        mechanism: String::from_utf8_lossy(mechanism).to_ascii_uppercase(),
        initial: initial.map(Bytes::copy_from_slice),
    };
    Ok((rest, command))
}

/// Parses `bdat-cmd = "BDAT" SP chunk-size [SP "LAST"] CR LF` (RFC 3030 §2). A size over
/// 9,999,999,999 octets is invalid.
pub fn bdat(line: &[u8]) -> Option<(u64, bool)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_ascii_whitespace().skip(1);
    let size = words.next()?;
    let octets = size.bytes().all(|octet| octet.is_ascii_digit());
    let octets = octets.then(|| size.parse().ok()).flatten()?;
    let last = match (words.next(), words.next()) {
        (None, _) => false,
        (Some(last), None) if last.eq_ignore_ascii_case("LAST") => true,
        (Some(_), _) => return None,
    };
    (octets <= MAX_CHUNK).then_some((octets, last))
}

/// One line of an upstream's reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyLine {
    /// Code of the reply line, 200 to 599.
    pub code: u16,
    /// Whether it is the reply's last line.
    pub last: bool,
    /// Text after the code and its separator.
    pub text: Bytes,
}

/// Parses one line of `Reply-line = *( Reply-code "-" [ textstring ] CRLF ) Reply-code [ SP
/// textstring ] CRLF` (RFC 5321 §4.2).
pub fn reply_line(line: &[u8]) -> Option<ReplyLine> {
    let separator = opt(one_of("- "));
    let parsed: IResult<&[u8], ReplyLine> = map_opt(
        (reply_code, separator, rest),
        |(code, separator, text): (u16, Option<char>, &[u8])| {
            (separator.is_some() || text.is_empty()).then(|| ReplyLine {
                code,
                last: separator != Some('-'),
                text: Bytes::copy_from_slice(text),
            })
        },
    )
    .parse(line);
    parsed.ok().map(|(_, line)| line)
}

/// Parses `Reply-code = %x32-35 %x30-35 %x30-39`; any second digit is accepted, as servers send it.
fn reply_code(input: &[u8]) -> IResult<&[u8], u16> {
    map_opt(take(3usize), |digits: &[u8]| {
        let digits = std::str::from_utf8(digits).ok()?;
        let code = digits.parse().ok()?;
        (digits.bytes().all(|octet| octet.is_ascii_digit()) && (200..600).contains(&code))
            .then_some(code)
    })
    .parse(input)
}

/// A reply with all its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Code of the reply, 200 to 599.
    pub code: u16,
    /// Lines with their codes, without terminators.
    pub lines: Vec<String>,
}

impl Reply {
    /// Adds a line. `Some(true)`: the reply is complete. `None`: the line is not SMTP, has another
    /// code than the lines before, or exceeds 100 lines or 64 KiB.
    pub fn push(&mut self, line: &[u8]) -> Option<bool> {
        let parsed = reply_line(line)?;
        let held: usize = self.lines.iter().map(String::len).sum();
        if self.lines.is_empty() {
            self.code = parsed.code;
        } else if self.code != parsed.code
            || self.lines.len() >= 100
            || held + line.len() > REPLY_CAP
        {
            return None;
        }
        self.lines.push(String::from_utf8_lossy(line).into_owned());
        Some(parsed.last)
    }

    /// Texts of the lines, without code and separator.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .map(|line| line.get(4..).unwrap_or_default())
    }
}

/// Builds a listener's reply lines to EHLO: the upstream's lines without those that authrelay
/// cannot provide, plus its own STARTTLS and AUTH.
///
/// The non-standard `250-AUTH=X` that some servers send is removed too.
pub fn advertised(upstream: &[String], starttls: bool, credentials: bool) -> Vec<&str> {
    let own = ["AUTH", "STARTTLS", "XCLIENT", "XFORWARD"];
    let promised = |line: &&str| {
        let name = line.split([' ', '=']).next().unwrap_or_default();
        !own.iter().any(|own| own.eq_ignore_ascii_case(name))
    };
    let mut lines: Vec<_> = upstream
        .iter()
        .map(String::as_str)
        .filter(promised)
        .collect();
    if starttls {
        lines.push("STARTTLS");
    }
    if credentials {
        lines.push("AUTH PLAIN LOGIN");
    }
    lines
}

/// Whether an EHLO line names the extension.
pub fn is_extension(line: &str, name: &str) -> bool {
    let parsed: IResult<&[u8], (&[u8], Option<char>)> =
        (take_while1(|octet: u8| octet != b' '), opt(char(' '))).parse(line.as_bytes());
    parsed.is_ok_and(|(_, (word, _))| word.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_any_case() {
        let auth = |mechanism: &str, initial: Option<&'static str>| Command::Auth {
            mechanism: mechanism.into(),
            initial: initial.map(|text| Bytes::from_static(text.as_bytes())),
        };
        for (line, expected) in [
            ("ehlo [10.0.0.1]", Command::Ehlo),
            ("HELO", Command::Helo),
            ("starttls ", Command::StartTls),
            ("STARTTLS x", Command::Malformed),
            ("auth plain", auth("PLAIN", None)),
            ("AUTH  LOGIN  dXNlcg== ", auth("LOGIN", Some("dXNlcg=="))),
            ("AUTH PLAIN =", auth("PLAIN", Some("="))),
            ("AUTH", Command::MalformedLogin),
            ("AUTH PLAIN a b", Command::MalformedLogin),
            ("mail FROM:<a@b>", Command::Mail),
            ("BDAT 3 LAST", Command::Mail),
            ("XCLIENT ADDR=1.2.3.4", Command::Unknown),
            ("", Command::Unknown),
            ("\u{1b}%-12345X@PJL", Command::Unknown),
        ] {
            assert_eq!(command(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn replies_are_put_together() {
        let mut reply = Reply::default();
        assert_eq!(
            reply.push(b"535-5.7.8 Username and Password not accepted."),
            Some(false)
        );
        assert_eq!(reply.push(b"535 5.7.8 Learn more"), Some(true));
        assert_eq!(reply.code, 535);
        assert_eq!(reply.texts().collect::<Vec<_>>()[1], "5.7.8 Learn more");
        assert_eq!(Reply::default().push(b"334"), Some(true));
        for line in [
            "", "25", "199 x", "600 x", "2500 x", "abc x", "+25 x", "250_x",
        ] {
            assert_eq!(reply_line(line.as_bytes()), None, "{line:?}");
        }
        let mut long = Reply::default();
        let line = [b"250-".as_slice(), &[b'x'; 30_000]].concat();
        assert_eq!(long.push(&line), Some(false));
        assert_eq!(long.push(&line), Some(false));
        assert_eq!(long.push(&line), None);
        let mut mixed = Reply::default();
        mixed.push(b"250-a");
        assert_eq!(mixed.push(b"550 b"), None);
    }

    #[test]
    fn extensions_are_rewritten() {
        let exchange = [
            "SIZE 157286400",
            "PIPELINING",
            "AUTH LOGIN XOAUTH2",
            "AUTH=LOGIN",
            "STARTTLS",
            "XCLIENT NAME",
            "CHUNKING",
        ]
        .map(str::to_owned);
        assert_eq!(
            advertised(&exchange, true, true),
            [
                "SIZE 157286400",
                "PIPELINING",
                "CHUNKING",
                "STARTTLS",
                "AUTH PLAIN LOGIN"
            ]
        );
        assert_eq!(
            advertised(&exchange, false, false),
            ["SIZE 157286400", "PIPELINING", "CHUNKING"]
        );
        assert!(is_extension("starttls", "STARTTLS"));
        assert!(!is_extension("STARTTLSX", "STARTTLS"));
    }
}
