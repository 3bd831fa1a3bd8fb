//! POP3's server role before login: the AUTHORIZATION state of RFC 1939 §4, with CAPA (RFC 2449),
//! AUTH (RFC 5034) and STLS (RFC 2595 §4).

use bytes::Bytes;

use super::dialogue::{Advertised, needs_login};
use super::machine::{Command, Dialect, Parsed};
use crate::wire::Protocol;
use crate::wire::pop3;

#[derive(Default)]
pub(super) struct Pop3 {
    /// Name in the preceding USER command; only CAPA may come between USER and PASS.
    user: Option<Bytes>,
}

impl Dialect for Pop3 {
    const PROTOCOL: Protocol = Protocol::Pop3;

    fn greeting(_offer: &Advertised) -> Vec<u8> {
        b"+OK authrelay ready.\r\n".into()
    }

    fn parse(&mut self, line: &[u8], offer: &Advertised) -> Parsed {
        let command = pop3::command(line);
        Parsed {
            tag: Bytes::new(),
            is_known: command != pop3::Command::Other,
            command: self.asked(command, offer),
        }
    }
}

impl Pop3 {
    fn asked(&mut self, command: pop3::Command, offer: &Advertised) -> Command {
        let user = self.user.take();
        match command {
            pop3::Command::Capa => {
                self.user = user;
                let lines =
                    pop3::advertised(&offer.capabilities, offer.starttls, offer.credentials);
                let list = lines.join("\r\n");
                Command::Capabilities(format!("+OK Capabilities follow.\r\n{list}\r\n.\r\n").into())
            }
            pop3::Command::Quit => Command::Quit(b"+OK Goodbye.\r\n".into()),
            pop3::Command::Stls => Command::StartTls {
                name: "STLS",
                ready: b"+OK Begin TLS negotiation now.\r\n".into(),
                active: b"-ERR TLS is active.\r\n".into(),
            },
            pop3::Command::User(name) if name.is_empty() => Command::MalformedLogin("USER"),
            pop3::Command::User(name) => {
                self.user = offer.credentials.then_some(name);
                Command::Credentials(b"+OK Send the password.\r\n".into())
            }
            pop3::Command::Pass(password) => match user {
                Some(name) => Command::Login {
                    login: name.into(),
                    password: password.into(),
                    method: "USER",
                },
                None => Command::Credentials(b"-ERR Send USER first.\r\n".into()),
            },
            pop3::Command::Auth {
                mechanism: Some(mechanism),
                initial,
            } => Command::Sasl { mechanism, initial },
            pop3::Command::Auth {
                mechanism: None, ..
            } => Command::Credentials(b"+OK Mechanisms follow.\r\nPLAIN\r\nLOGIN\r\n.\r\n".into()),
            pop3::Command::Apop => Command::Sasl {
                mechanism: "APOP".to_owned(),
                initial: None,
            },
            pop3::Command::MalformedLogin => Command::MalformedLogin("AUTH"),
            pop3::Command::Other => Command::Fault(needs_login()),
        }
    }
}
