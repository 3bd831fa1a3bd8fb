//! IMAP's server role before login (RFC 9051 §3.1, RFC 4959, RFC 7888, RFC 2971).

use bytes::Bytes;

use super::dialogue::{Advertised, needs_login};
use super::machine::{Command, Dialect, Parsed};
use crate::wire::Protocol;
use crate::wire::imap::{self, Tagged};
use crate::wire::line::{COMMAND_CAP, Fragments};

pub(super) struct Imap;

impl Dialect for Imap {
    const PROTOCOL: Protocol = Protocol::Imap;

    fn framing() -> Fragments {
        Fragments::of_commands(COMMAND_CAP).discarding_id()
    }

    fn greeting(offer: &Advertised) -> Vec<u8> {
        let listed = capabilities(offer);
        format!("* OK [CAPABILITY {listed}] authrelay ready.\r\n").into()
    }

    fn parse(&mut self, unit: &[u8], offer: &Advertised) -> Parsed {
        match imap::command(unit) {
            Some(Tagged { tag, command }) => Parsed {
                command: asked(&tag, command, offer),
                is_known: true,
                tag,
            },
            None => Parsed {
                tag: Bytes::new(),
                is_known: false,
                command: Command::Answer(b"* BAD No tag.\r\n".into()),
            },
        }
    }
}

fn asked(tag: &[u8], command: imap::Command, offer: &Advertised) -> Command {
    let say = |untagged: &str, tagged: &[u8]| {
        let untagged = untagged.as_bytes();
        [untagged, tag, b" ", tagged, b"\r\n"].concat()
    };
    match command {
        imap::Command::Capability => {
            let list = format!("* CAPABILITY {}\r\n", capabilities(offer));
            Command::Capabilities(say(&list, b"OK Done."))
        }
        imap::Command::Noop => Command::Answer(say("", b"OK Done.")),
        imap::Command::Id => Command::Answer(say("* ID (\"name\" \"authrelay\")\r\n", b"OK Done.")),
        imap::Command::Logout => Command::Quit(say("* BYE Goodbye.\r\n", b"OK Done.")),
        imap::Command::StartTls => Command::StartTls {
            name: "STARTTLS",
            ready: say("", b"OK Begin TLS negotiation now."),
            active: say("", b"BAD TLS is active."),
        },
        imap::Command::Login { login, password } => Command::Login {
            login,
            password,
            method: "LOGIN",
        },
        imap::Command::Authenticate { mechanism, initial } => Command::Sasl { mechanism, initial },
        imap::Command::Other => Command::Fault(needs_login()),
        imap::Command::MalformedLogin => Command::MalformedLogin("LOGIN or AUTHENTICATE"),
        imap::Command::Malformed => Command::Answer(say("", b"BAD Command not understood.")),
    }
}

fn capabilities(offer: &Advertised) -> String {
    imap::advertised(&offer.capabilities, offer.starttls, offer.credentials)
}
