//! The grammars, fed as they are in the product: framed first, parsed second.
//!
//! The framers are compared with references that see the whole input at once. What has an
//! encoder goes through it and back.

use authrelay::fault::{Refusal, classify};
use authrelay::secret::Secret;
use authrelay::wire::imap::{self, Response};
use authrelay::wire::line::{COMMAND_CAP, Fragment, Fragments, Lines, REPLY_CAP};
use authrelay::wire::literal::TAG_CAP;
use authrelay::wire::sasl::{self, CREDENTIAL_CAP, Credentials};
use authrelay::wire::{pop3 as pop, smtp};

use super::pieces::{header, same_for_every_cut};

/// Small caps are where framers go wrong soonest.
const CAPS: [usize; 6] = [COMMAND_CAP, REPLY_CAP, 1024, 64, 16, 1];

/// What a framer gave out, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Framed {
    units: Vec<Unit>,
    too_long: bool,
    /// What is held at the end: nothing was given out twice, nothing was lost.
    held: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Unit {
    Whole(Vec<u8>),
    Announced,
}

fn cap(choice: u8) -> usize {
    CAPS[usize::from(choice) % CAPS.len()]
}

/// Lines under a cap, by looking at all of the input.
fn lines_reference(mut input: &[u8], cap: usize) -> Framed {
    let mut framed = Framed::default();
    loop {
        let end = input.iter().position(|octet| *octet == b'\n');
        if end.unwrap_or(input.len()) >= cap {
            framed.too_long = true;
            return framed;
        }
        let Some(end) = end else {
            framed.held = input.len();
            return framed;
        };
        framed
            .units
            .push(Unit::Whole(cut_cr(&input[..end]).to_vec()));
        input = &input[end + 1..];
    }
}

fn cut_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// IMAP units under a cap, by looking at all of the input.
fn fragments_reference(mut input: &[u8], cap: usize, responses: bool) -> Framed {
    let mut framed = Framed::default();
    let mut unit = Vec::new();
    loop {
        let end = input.iter().position(|octet| *octet == b'\n');
        if unit.len() + end.unwrap_or(input.len()) >= cap {
            framed.too_long = true;
            return framed;
        }
        let Some(end) = end else {
            framed.held = unit.len() + input.len();
            return framed;
        };
        let (line, line_end) = input[..=end].split_at(cut_cr(&input[..end]).len());
        input = &input[end + 1..];
        // Text for people: whatever it ends in is text as well.
        let text = responses && unit.is_empty() && {
            let line = String::from_utf8_lossy(line).to_ascii_uppercase();
            let second = line.split(' ').nth(1).unwrap_or_default().to_owned();
            line.starts_with('+')
                || ["OK", "NO", "BAD", "BYE", "PREAUTH"].contains(&second.as_str())
        };
        unit.extend_from_slice(line);
        let Some((octets, waits)) = announcement(line).filter(|_| !text) else {
            framed.units.push(Unit::Whole(std::mem::take(&mut unit)));
            continue;
        };
        if octets.is_none_or(|octets| (unit.len() + line_end.len()) as u128 + octets >= cap as u128)
        {
            framed.too_long = true;
            return framed;
        }
        unit.extend_from_slice(line_end);
        if waits {
            framed.units.push(Unit::Announced);
        }
        let octets = octets.unwrap_or_default() as usize;
        let (literal, rest) = input.split_at(octets.min(input.len()));
        unit.extend_from_slice(literal);
        input = rest;
        if literal.len() < octets {
            framed.held = unit.len();
            return framed;
        }
    }
}

/// `{n}` or `{n+}` at the end of a line; `None` inside: a number beyond all bounds.
fn announcement(line: &[u8]) -> Option<(Option<u128>, bool)> {
    let open = line.iter().rposition(|octet| *octet == b'{')?;
    let inner = line[open + 1..].strip_suffix(b"}")?;
    let (digits, waits) = match inner.strip_suffix(b"+") {
        Some(digits) => (digits, false),
        None => (inner, true),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((std::str::from_utf8(digits).unwrap().parse().ok(), waits))
}

/// Frames lines in every way and compares with the reference.
fn lines(stream: &[u8], cap: usize) -> Vec<Vec<u8>> {
    let framed = same_for_every_cut(stream.len(), |cut| {
        let mut framed = Framed::default();
        let mut lines = Lines::new(cap);
        'stream: for piece in cut.pieces(stream, 0) {
            lines.push(piece);
            assert!(lines.held() <= cap + piece.len(), "more than cap and push");
            loop {
                match lines.line() {
                    Ok(Some(line)) => framed.units.push(Unit::Whole(line.to_vec())),
                    Ok(None) => break,
                    Err(_) => {
                        framed.too_long = true;
                        break 'stream;
                    }
                }
            }
            assert!(
                lines.held() < cap.max(1),
                "more than the cap without a push"
            );
            assert_eq!(lines.is_empty(), lines.held() == 0);
        }
        if !framed.too_long {
            framed.held = lines.held();
            let rest = lines.take_rest();
            assert!(stream.ends_with(&rest) && rest.len() == framed.held);
            assert!(lines.is_empty() && lines.take_rest().is_empty());
        }
        framed
    });
    assert_eq!(framed, lines_reference(stream, cap));
    wholes(framed)
}

/// Frames IMAP units in every way and compares with the reference.
fn fragments(stream: &[u8], cap: usize, responses: bool) -> Vec<Vec<u8>> {
    let (framed, _) = same_for_every_cut(stream.len(), |cut| {
        let mut framed = Framed::default();
        let mut fragments = match responses {
            true => Fragments::of_responses(cap),
            false => Fragments::of_commands(cap),
        };
        let mut tag = None;
        'stream: for piece in cut.pieces(stream, 0) {
            fragments.push(piece);
            assert!(
                fragments.held() <= cap + piece.len(),
                "more than cap and push"
            );
            loop {
                match fragments.fragment() {
                    Ok(Some(Fragment::Whole(unit))) => {
                        assert!(unit.len() < cap, "a unit over the cap");
                        framed.units.push(Unit::Whole(unit.to_vec()));
                    }
                    Ok(Some(Fragment::Announced)) => framed.units.push(Unit::Announced),
                    Ok(None) => break,
                    Err(_) => {
                        framed.too_long = true;
                        tag = Some(fragments.tag().to_vec());
                        break 'stream;
                    }
                }
            }
            assert!(
                fragments.held() < cap.max(1),
                "more than the cap without a push"
            );
        }
        if let Some(tag) = &tag {
            assert!((1..=TAG_CAP).contains(&tag.len()));
            assert!(
                tag == b"*"
                    || tag
                        .iter()
                        .all(|octet| octet.is_ascii_alphanumeric() || b".-_".contains(octet))
            );
        } else {
            framed.held = fragments.held();
            assert_eq!(fragments.is_empty(), framed.held == 0);
            assert!(stream.ends_with(&fragments.take_rest()));
            assert!(fragments.is_empty());
        }
        // Whether a tag that the cap has no room for is seen depends on the pieces.
        let tag = tag.map(|tag| match tag.len() < cap {
            true => tag,
            false => b"*".to_vec(),
        });
        (framed, tag)
    });
    assert_eq!(framed, fragments_reference(stream, cap, responses));
    wholes(framed)
}

fn wholes(framed: Framed) -> Vec<Vec<u8>> {
    let unit = |unit| match unit {
        Unit::Whole(unit) => Some(unit),
        Unit::Announced => None,
    };
    framed.units.into_iter().filter_map(unit).collect()
}

/// Commands of an IMAP client. Octet 0 chooses the cap.
pub fn imap_commands(input: &[u8]) {
    let ([choice], stream) = header(input);
    for unit in fragments(stream, cap(choice), false) {
        imap_command(&unit);
    }
    // Also what no framer lets through.
    imap_command(stream);
}

fn imap_command(unit: &[u8]) {
    let Some(parsed) = imap::command(unit) else {
        return;
    };
    let tag = parsed.tag.as_ref();
    assert!(unit.starts_with(tag) && (1..=TAG_CAP).contains(&tag.len()));
    assert!(
        tag.iter()
            .all(|octet| octet.is_ascii_graphic() && !b"(){%*\"\\+".contains(octet))
    );
    let again = |parts: &[&[u8]]| {
        let unit = parts.concat();
        let again = imap::command(&unit).unwrap();
        assert_eq!(again, parsed, "{:?}", String::from_utf8_lossy(&unit));
    };
    match &parsed.command {
        imap::Command::Login { login, password } => {
            let literal = |octets: &[u8], plus| {
                [format!("{{{}{plus}}}\r\n", octets.len()).as_bytes(), octets].concat()
            };
            again(&[
                tag,
                b" LOGIN ",
                &literal(login, ""),
                b" ",
                &literal(password, "+"),
            ]);
            if let (Some(login), Some(password)) = (quoted(login), quoted(password)) {
                again(&[tag, b" login ", &login, b" ", &password]);
            }
        }
        imap::Command::Authenticate { mechanism, initial } => {
            assert_eq!(*mechanism, mechanism.to_ascii_uppercase());
            let initial = initial.as_ref().map(|text| [b" ", text.as_ref()].concat());
            again(&[
                tag,
                b" AUTHENTICATE ",
                mechanism.as_bytes(),
                &initial.unwrap_or_default(),
            ]);
        }
        imap::Command::Capability => again(&[tag, b" CAPABILITY"]),
        imap::Command::Noop => again(&[tag, b" noop  "]),
        imap::Command::Logout => again(&[tag, b" LOGOUT"]),
        imap::Command::StartTls => again(&[tag, b" STARTTLS"]),
        imap::Command::Id => again(&[tag, b" ID NIL"]),
        imap::Command::Other | imap::Command::Malformed | imap::Command::MalformedLogin => {}
    }
}

/// As a quoted string, if it can be one.
fn quoted(octets: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![b'"'];
    for octet in octets {
        match octet {
            b'\r' | b'\n' | 0 => return None,
            b'"' | b'\\' => out.extend([b'\\', *octet]),
            _ => out.push(*octet),
        }
    }
    out.push(b'"');
    Some(out)
}

/// Responses of an IMAP upstream. Octet 0 chooses the cap.
pub fn imap_responses(input: &[u8]) {
    let ([choice], stream) = header(input);
    for unit in fragments(stream, cap(choice), true) {
        imap_response(&unit);
    }
    imap_response(stream);
}

fn imap_response(unit: &[u8]) {
    let parsed = imap::response(unit, "A1");
    match &parsed {
        Some(Response::Tagged(_, text)) => {
            assert!(unit.ends_with(text));
            let again = [b"a1 ", text.as_ref()].concat();
            assert_eq!(imap::response(&again, "A1"), parsed);
            assert_eq!(imap::response(&again, "A2"), None, "another command's");
            let untagged = [b"* ", text.as_ref()].concat();
            assert!(imap::untagged_status(&untagged).is_some());
        }
        Some(Response::Continue(text)) => {
            let again = [b"+ ", text.as_ref()].concat();
            assert_eq!(imap::response(&again, "A1"), parsed);
        }
        Some(Response::Untagged(line)) => assert_eq!(line.as_ref(), unit),
        None => assert_eq!(imap::untagged_status(unit), None),
    }
    assert!(!(imap::is_untagged(unit, "BYE") && imap::untagged_status(unit).is_some()));
    let Some(listed) = imap::capabilities(unit) else {
        return;
    };
    assert!(listed.len() <= 100);
    for name in &listed {
        assert!(!name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic()));
    }
    for (starttls, credentials) in [(false, true), (true, false), (true, true)] {
        let shown = imap::advertised(&listed, starttls, credentials);
        let names: Vec<_> = shown.split(' ').collect();
        let count = |name: &str| {
            names
                .iter()
                .filter(|other| other.eq_ignore_ascii_case(name))
                .count()
        };
        assert!(names[0] == "IMAP4rev1" && count("IMAP4rev1") == 1);
        assert_eq!(count("STARTTLS"), usize::from(starttls));
        assert_eq!(count("LOGINDISABLED"), usize::from(!credentials));
        assert_eq!(count("XCLIENT") + count("UNAUTHENTICATE"), 0);
        let auth = |name: &&str| name.to_ascii_uppercase().starts_with("AUTH=");
        let auth: Vec<_> = names.iter().copied().filter(auth).collect();
        assert_eq!(
            auth,
            if credentials {
                vec!["AUTH=PLAIN", "AUTH=LOGIN"]
            } else {
                vec![]
            }
        );
        let compress = |name: &&str| name.to_ascii_uppercase().starts_with("COMPRESS=");
        assert!(!names.iter().any(compress));
        // What is shown is what a client reads.
        let read = imap::capabilities(format!("* CAPABILITY {shown}").as_bytes()).unwrap();
        assert_eq!(read, names.into_iter().take(100).collect::<Vec<_>>());
    }
}

/// Commands of a POP3 client and replies of a POP3 upstream. Octet 0 chooses the cap.
pub fn pop3(input: &[u8]) {
    let ([choice], stream) = header(input);
    let lines = lines(stream, cap(choice));
    for line in lines.iter().map(Vec::as_slice).chain([stream]) {
        pop3_command(line);
        pop3_reply(line);
    }
    let capabilities: Vec<_> = lines
        .iter()
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    let name = |line: &str| {
        line.split(' ')
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase()
    };
    let shown: Vec<_> = pop::advertised(&capabilities, true, true)
        .iter()
        .map(|line| name(line))
        .collect();
    for (own, times) in [
        ("STLS", 1),
        ("USER", 1),
        ("SASL", 1),
        ("XCLIENT", 0),
        ("IMPLEMENTATION", 0),
    ] {
        assert_eq!(
            shown.iter().filter(|name| *name == own).count(),
            times,
            "{own}"
        );
    }
}

fn pop3_command(line: &[u8]) {
    let parsed = pop::command(line);
    let again = |parts: &[&[u8]]| assert_eq!(pop::command(&parts.concat()), parsed);
    match &parsed {
        pop::Command::User(name) => again(&[b"USER ", name]),
        pop::Command::Pass(password) => again(&[b"PASS ", password]),
        pop::Command::Auth {
            mechanism: None,
            initial,
        } => {
            assert_eq!(*initial, None);
            again(&[b"AUTH"]);
        }
        pop::Command::Auth {
            mechanism: Some(mechanism),
            initial,
        } => {
            let initial = initial.as_ref().map(|text| [b" ", text.as_ref()].concat());
            again(&[b"AUTH ", mechanism.as_bytes(), &initial.unwrap_or_default()]);
        }
        pop::Command::Capa => again(&[b"CAPA"]),
        pop::Command::Stls => again(&[b"STLS"]),
        pop::Command::Quit => again(&[b"QUIT"]),
        pop::Command::Other | pop::Command::Apop | pop::Command::MalformedLogin => {}
    }
}

fn pop3_reply(line: &[u8]) {
    let parsed = pop::reply(line);
    match &parsed {
        Some(pop::Reply::Ok) => assert!(line[..3].eq_ignore_ascii_case(b"+OK")),
        Some(pop::Reply::Err) => assert!(line[..4].eq_ignore_ascii_case(b"-ERR")),
        Some(pop::Reply::Continue(text)) => {
            assert_eq!(pop::reply(&[b"+ ", text.as_ref()].concat()), parsed);
        }
        None => assert!(line != b"+OK" && line != b"-ERR" && line != b"+"),
    }
}

/// Commands of an SMTP client. Octet 0 chooses the cap.
pub fn smtp_commands(input: &[u8]) {
    let ([choice], stream) = header(input);
    let lines = lines(stream, cap(choice));
    for line in lines.iter().map(Vec::as_slice).chain([stream]) {
        let parsed = smtp::command(line);
        if let smtp::Command::Auth { mechanism, initial } = &parsed {
            assert!(!mechanism.is_empty() && *mechanism == mechanism.to_ascii_uppercase());
            let initial = initial.as_ref().map(|text| [b" ", text.as_ref()].concat());
            let again = [b"AUTH ", mechanism.as_bytes(), &initial.unwrap_or_default()].concat();
            assert_eq!(smtp::command(&again), parsed);
        }
        // A command is its verb: nothing in front of it, and known verbs alone mean something.
        if !line.first().is_some_and(u8::is_ascii_alphabetic) {
            assert_eq!(
                parsed,
                smtp::Command::Unknown,
                "{:?}",
                String::from_utf8_lossy(line)
            );
        }
    }
}

/// Replies of an SMTP upstream. Octet 0 chooses the cap.
pub fn smtp_replies(input: &[u8]) {
    let ([choice], stream) = header(input);
    let mut reply = smtp::Reply::default();
    for line in lines(stream, cap(choice)) {
        let Some(last) = reply.push(&line) else {
            assert!(reply.lines.len() <= 100);
            return;
        };
        assert!((200..600).contains(&reply.code));
        if last {
            smtp_reply(&std::mem::take(&mut reply));
        }
    }
}

fn smtp_reply(reply: &smtp::Reply) {
    let mut again = smtp::Reply::default();
    for (n, line) in reply.lines.iter().enumerate() {
        let last = n + 1 == reply.lines.len();
        assert_eq!(again.push(line.as_bytes()), Some(last), "{line:?}");
    }
    assert_eq!(again, *reply);
    let octets: usize = reply.lines.iter().map(String::len).sum();
    // Octets that are not UTF-8 grow to three.
    assert!(octets <= 3 * REPLY_CAP, "{octets} octets held for a reply");
    let extensions: Vec<_> = reply.texts().skip(1).map(str::to_owned).collect();
    let shown = smtp::advertised(&extensions, true, true);
    let count = |name: &str| {
        shown
            .iter()
            .filter(|line| smtp::is_extension(line, name))
            .count()
    };
    assert_eq!((count("AUTH"), count("STARTTLS")), (1, 1));
    assert_eq!((count("XCLIENT"), count("XFORWARD")), (0, 0));
    for refusal in [Refusal::Temporary, Refusal::Final] {
        let fault = classify(&reply.lines.join(" / "), refusal).smtp_reply(&reply.lines);
        super::back::assert_tellable(&fault);
    }
}

/// A line of a SASL exchange, or octets to be encoded as one.
pub fn sasl(input: &[u8]) {
    assert_eq!(sasl::decode(sasl::encode(input).as_bytes()).unwrap(), input);
    let padded = [b" ", sasl::encode(input).as_bytes(), b"\t\r"].concat();
    assert_eq!(sasl::decode(&padded).unwrap(), input);
    if let Ok(octets) = sasl::decode(input) {
        assert!(octets.len() <= input.len());
        assert_eq!(
            sasl::decode(sasl::encode(&octets).as_bytes()).unwrap(),
            octets
        );
    }
    let encoded = sasl::encode(input);
    for line in [input, encoded.as_bytes()] {
        let message = sasl::decode(line);
        if let Ok(credentials) = message.and_then(|message| Credentials::from_plain(&message)) {
            credible(&credentials);
            let (login, password) = (&credentials.login, credentials.password.expose());
            let given = credentials.authorization.as_deref();
            let same = given.map_or(vec!["", login], |authorization| vec![authorization]);
            for authzid in same {
                let message = format!("{authzid}\0{login}\0{password}");
                let again = Credentials::from_plain(message.as_bytes());
                assert_eq!(again, Ok(credentials.clone()));
            }
        }
    }
    let half = input.len() / 2;
    let (login, password) = input.split_at(half);
    if let Ok(credentials) = Credentials::new(login, password) {
        credible(&credentials);
        assert_eq!(credentials.login.as_bytes(), login);
        assert_eq!(credentials.password.expose().as_bytes(), password);
        assert!(format!("{credentials:?}").ends_with("password: [secret] }"));
    }
    if let (Ok(mailbox), Ok(token)) = (std::str::from_utf8(login), std::str::from_utf8(password)) {
        responses(mailbox, token);
    }
}

fn credible(credentials: &Credentials) {
    for text in [&credentials.login, credentials.password.expose()] {
        assert!((1..=CREDENTIAL_CAP).contains(&text.len()) && !text.chars().any(char::is_control));
    }
}

fn responses(mailbox: &str, token: &str) {
    let secret = Secret::from(token);
    let xoauth2 = sasl::decode(sasl::xoauth2(mailbox, &secret).expose().as_bytes()).unwrap();
    let auth = format!("auth=Bearer {token}\x01\x01");
    assert_eq!(xoauth2, format!("user={mailbox}\x01{auth}").as_bytes());
    let bearer = sasl::oauthbearer(mailbox, "host", 993, &secret);
    let bearer = String::from_utf8(sasl::decode(bearer.expose().as_bytes()).unwrap()).unwrap();
    let (name, rest) = bearer
        .strip_prefix("n,a=")
        .unwrap()
        .split_once(',')
        .unwrap();
    assert_eq!(rest, format!("\x01host=host\x01port=993\x01{auth}"));
    assert_eq!(name.replace("=2C", ",").replace("=3D", "="), mailbox);
}
