//! Login dialogues from transcripts (`tests/transcripts/*.txt`), each replayed whole, byte by
//! byte and cut in two at every place.
//!
//! A file holds scenes, each begun by `== name`. The first line sets the stage, as in
//! `front imap starttls require_tls` or `back smtp cleartext`; then `C:` is the client, `U:` the
//! upstream, `P:` authrelay, one line each, and `>` what the dialogue comes to:
//!
//! ```text
//! > login NAME PASSWORD     the client's credentials; `accept TEXT` or `reject KIND` follows
//! > refused KIND            an attempt that was refused without asking
//! > quit | starttls | failed KIND | read
//! > ready TEXT              the upstream took the token
//! > leftover TEXT           what was sent behind the login
//! ```
//!
//! Lines end in CRLF; `\r`, `\n`, `\0` and `\xNN` mean those octets, and a line that ends in `\`
//! has no end of its own. `{XOAUTH2}` is the response for the token `tok-en`.

use std::fmt::Write as _;
use std::path::Path;

use authrelay::fault::{Fault, Kind};
use authrelay::login::back::{self, Stage, UpstreamCredentials};
use authrelay::login::front::{self, Advertised, Request};
use authrelay::login::{Step, SuccessReply};
use authrelay::secret::Secret;
use authrelay::wire::Protocol;
use authrelay::wire::sasl::{Mechanism, xoauth2};

const MAILBOX: &str = "tickets@contoso.com";
const TOKEN: &str = "tok-en";

/// How a peer's bytes are handed over.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Whole,
    Bytes,
    At(usize),
}

#[derive(Debug)]
enum Line {
    /// The peer says this (the lines of one turn, joined).
    Peer(Vec<u8>),
    /// The driver's decision.
    Accept(Vec<u8>),
    Reject(Kind),
    /// What is expected of us: octets, or a result in words.
    Says(Vec<u8>),
    Comes(String),
}

struct Scene {
    name: String,
    stage: Vec<String>,
    lines: Vec<Line>,
}

#[test]
fn transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut scenes = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        for scene in parse(&std::fs::read_to_string(&path).unwrap()) {
            scenes += 1;
            let name = format!("{}: {}", path.file_name().unwrap().display(), scene.name);
            let octets: usize = scene
                .lines
                .iter()
                .map(|line| {
                    if let Line::Peer(said) = line {
                        said.len()
                    } else {
                        0
                    }
                })
                .sum();
            for cut in [Cut::Whole, Cut::Bytes]
                .into_iter()
                .chain((1..octets).map(Cut::At))
            {
                let (expected, got) = match scene.stage.first().map(String::as_str) {
                    Some("front") => play_front(&scene, cut),
                    Some("back") => play_back(&scene, cut),
                    other => panic!("{name}: stage {other:?}"),
                };
                assert_eq!(expected, got, "{name}, {cut:?}");
            }
        }
    }
    assert!(scenes > 40, "only {scenes} scenes");
}

fn parse(text: &str) -> Vec<Scene> {
    let mut scenes: Vec<Scene> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(name) = line.strip_prefix("== ") {
            scenes.push(Scene {
                name: name.into(),
                stage: Vec::new(),
                lines: Vec::new(),
            });
            continue;
        }
        let scene = scenes.last_mut().expect("a scene begins with ==");
        let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
        let octets = |rest: &str| unescape(rest);
        match head {
            "front" | "back" => scene.stage = line.split(' ').map(str::to_owned).collect(),
            "C:" | "U:" => match scene.lines.last_mut() {
                Some(Line::Peer(said)) => said.extend(octets(rest)),
                _ => scene.lines.push(Line::Peer(octets(rest))),
            },
            "P:" => match scene.lines.last_mut() {
                Some(Line::Says(said)) => said.extend(octets(rest)),
                _ => scene.lines.push(Line::Says(octets(rest))),
            },
            ">" => scene.lines.push(Line::Comes(rest.into())),
            "accept" => scene.lines.push(Line::Accept(rest.as_bytes().to_vec())),
            "reject" => scene.lines.push(Line::Reject(kind(rest))),
            _ => panic!("{line:?}"),
        }
    }
    scenes
}

fn unescape(text: &str) -> Vec<u8> {
    let token = Secret::from(TOKEN);
    let text = text.replace("{XOAUTH2}", xoauth2(MAILBOX, &token).expose());
    let (text, end) = match text.strip_suffix('\\') {
        Some(text) => (text, &b""[..]),
        None => (text.as_str(), &b"\r\n"[..]),
    };
    let text = text
        .replace("{LONG}", &"x".repeat(16 * 1024))
        .replace("{HUGE}", &"x".repeat(64 * 1024));
    let mut octets = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            octets.extend(character.to_string().bytes());
            continue;
        }
        match characters.next() {
            Some('r') => octets.push(b'\r'),
            Some('n') => octets.push(b'\n'),
            Some('0') => octets.push(0),
            Some('\\') => octets.push(b'\\'),
            Some('x') => {
                let digits: String = characters.by_ref().take(2).collect();
                octets.push(u8::from_str_radix(&digits, 16).unwrap());
            }
            other => panic!("escape {other:?}"),
        }
    }
    octets.extend(end);
    octets
}

fn kind(name: &str) -> Kind {
    *Kind::ALL
        .iter()
        .find(|kind| kind.to_string() == name)
        .unwrap_or_else(|| panic!("no kind {name:?}"))
}

/// The pieces in which a peer's bytes arrive; `before` octets came in earlier turns.
fn pieces(said: &[u8], cut: Cut, before: usize) -> Vec<&[u8]> {
    match cut {
        Cut::Whole => vec![said],
        Cut::Bytes => said.chunks(1).collect(),
        Cut::At(at) => match at.checked_sub(before) {
            Some(at) if at > 0 && at < said.len() => {
                let (first, second) = said.split_at(at);
                vec![first, second]
            }
            _ => vec![said],
        },
    }
}

/// What a dialogue did, as text: `P:` lines and `>` lines.
#[derive(Default)]
struct Story(String);

impl Story {
    fn says(&mut self, octets: &[u8]) {
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            writeln!(self.0, "P: {}", line.escape_ascii()).unwrap();
        }
    }

    fn comes(&mut self, what: impl std::fmt::Display) {
        writeln!(self.0, "> {what}").unwrap();
    }

    fn expect(&mut self, line: &Line) {
        match line {
            Line::Says(octets) => self.says(octets),
            // Parts one turn of the peer from the next.
            Line::Comes(what) if what == "read" => {}
            Line::Comes(what) => self.comes(what),
            Line::Peer(_) | Line::Accept(_) | Line::Reject(_) => {}
        }
    }
}

fn protocol(scene: &Scene) -> Protocol {
    *Protocol::ALL
        .iter()
        .find(|protocol| protocol.name() == scene.stage[1])
        .unwrap()
}

fn play_front(scene: &Scene, cut: Cut) -> (String, String) {
    let is = |word: &str| scene.stage.iter().any(|other| other == word);
    let capabilities: Vec<String> = match protocol(scene) {
        Protocol::Imap => [
            "IMAP4rev1",
            "LOGINDISABLED",
            "AUTH=XOAUTH2",
            "SASL-IR",
            "IDLE",
            "COMPRESS=DEFLATE",
        ]
        .map(str::to_owned)
        .into(),
        Protocol::Pop3 => ["TOP", "UIDL", "SASL PLAIN XOAUTH2", "USER", "STLS"]
            .map(str::to_owned)
            .into(),
        Protocol::Smtp => [
            "SIZE 157286400",
            "PIPELINING",
            "STARTTLS",
            "AUTH LOGIN XOAUTH2",
            "CHUNKING",
        ]
        .map(str::to_owned)
        .into(),
    };
    let offer = Advertised {
        capabilities: capabilities.into(),
        starttls: is("starttls"),
        credentials: !is("require_tls"),
        unauthenticated: is("unauthenticated"),
        greet: !is("upgraded"),
        encrypted: is("upgraded"),
    };
    let mut front = front::new(protocol(scene), offer);
    let (mut expected, mut story) = (Story::default(), Story::default());
    let mut before = 0;
    let mut ended = run_front(front.as_mut(), &mut story);
    for line in &scene.lines {
        expected.expect(line);
        match line {
            Line::Peer(said) => {
                for piece in pieces(said, cut, before) {
                    front.receive(piece);
                    if !ended {
                        ended = run_front(front.as_mut(), &mut story);
                    }
                }
                before += said.len();
            }
            Line::Accept(text) => {
                let accepted = SuccessReply {
                    untagged: Default::default(),
                    text: text.clone().into(),
                };
                story.says(&front.accept(&accepted));
                let leftover = front.leftover();
                if !leftover.is_empty() {
                    story.comes(format_args!("leftover {}", leftover.escape_ascii()));
                }
                ended = true;
            }
            Line::Reject(kind) => {
                front.reject(&Fault::new(*kind, "as the transcript says"));
                ended = run_front(front.as_mut(), &mut story);
            }
            Line::Says(_) | Line::Comes(_) => {}
        }
    }
    (expected.0, story.0)
}

/// Runs until the machine wants bytes or a decision; true where it has ended.
fn run_front(front: &mut dyn front::Front, story: &mut Story) -> bool {
    loop {
        match front.next() {
            Step::Read => return false,
            Step::Write(octets) => {
                story.says(&octets);
                if let Some(refused) = front.take_refused() {
                    story.comes(format_args!("refused {}", refused.fault.kind()));
                }
            }
            Step::StartTls => {
                story.comes("starttls");
                return true;
            }
            Step::Done(Request::Quit) => {
                story.comes("quit");
                return true;
            }
            Step::Done(Request::Unauthenticated) => {
                story.comes("unauthenticated");
                return false;
            }
            Step::Done(Request::Login(attempt)) => {
                let credentials = attempt.credentials;
                story.comes(format_args!(
                    "login {} {}",
                    credentials.login,
                    credentials.password.expose()
                ));
                return false;
            }
            Step::Failed(fault) => {
                story.comes(format_args!("failed {}", fault.kind()));
                return true;
            }
        }
    }
}

fn play_back(scene: &Scene, cut: Cut) -> (String, String) {
    let is = |word: &str| scene.stage.iter().any(|other| other == word);
    let login = UpstreamCredentials {
        mailbox: MAILBOX.into(),
        token: TOKEN.into(),
        mechanism: if is("oauthbearer") {
            Mechanism::Oauthbearer
        } else {
            Mechanism::Xoauth2
        },
        host: "outlook.office365.com".into(),
        port: 993,
        client_name: "[192.0.2.1]".into(),
    };
    let stage = match scene.stage[2].as_str() {
        "cleartext" => Stage::Cleartext,
        "implicit" => Stage::Implicit,
        "upgraded" => Stage::Upgraded,
        other => panic!("{other}"),
    };
    let mut back = back::new(protocol(scene), login, stage);
    let (mut expected, mut story) = (Story::default(), Story::default());
    let mut before = 0;
    let mut ended = run_back(back.as_mut(), &mut story);
    for line in &scene.lines {
        expected.expect(line);
        match line {
            Line::Peer(said) if said.as_slice() == b"EOF\r\n" => {
                story.comes(format_args!("failed {}", back.closed().kind()));
            }
            Line::Peer(said) => {
                // What arrives later than its last useful octet is the relay's already.
                for piece in pieces(said, cut, before) {
                    if ended {
                        break;
                    }
                    back.receive(piece);
                    ended = run_back(back.as_mut(), &mut story);
                }
                before += said.len();
            }
            Line::Accept(_) | Line::Reject(_) | Line::Says(_) | Line::Comes(_) => {}
        }
    }
    (expected.0, story.0)
}

fn run_back(back: &mut dyn back::Back, story: &mut Story) -> bool {
    loop {
        match back.next() {
            Step::Read => return false,
            Step::Write(octets) => story.says(&octets),
            Step::StartTls => {
                story.comes("starttls");
                return true;
            }
            Step::Done(ready) => {
                let untagged = ready.accepted.untagged.escape_ascii().to_string();
                story.comes(format_args!(
                    "ready {}{}",
                    untagged,
                    ready.accepted.text.escape_ascii()
                ));
                return true;
            }
            Step::Failed(fault) => {
                assert!(!fault.to_string().contains(TOKEN), "{fault}");
                story.comes(format_args!("failed {}", fault.kind()));
                return true;
            }
        }
    }
}
