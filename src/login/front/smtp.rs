//! SMTP's server role before login: submission (RFC 6409) with AUTH (RFC 4954) and STARTTLS (RFC
//! 3207). Mail transactions require a login.

use bytes::Bytes;

use super::dialogue::{Advertised, before_tls, needs_login};
use super::machine::{Command, Dialect, Parsed};
use crate::fault::Fault;
use crate::wire::Protocol;
use crate::wire::smtp;

const MAIL_FIRST: &[u8] = b"503 5.5.1 MAIL comes first.\r\n";

#[derive(Default)]
pub(super) struct Smtp {
    /// Temporary fault of the last login, which is also the reply to MAIL: after a temporary failure
    /// of AUTH, dma continues without a login and would return the message after a 530.
    postponed: Option<Fault>,
}

impl Dialect for Smtp {
    const PROTOCOL: Protocol = Protocol::Smtp;

    fn greeting(_offer: &Advertised) -> Vec<u8> {
        b"220 authrelay ESMTP ready.\r\n".into()
    }

    fn challenge(text: &str) -> String {
        format!("334 {text}\r\n")
    }

    fn parse(&mut self, line: &[u8], offer: &Advertised) -> Parsed {
        let command = smtp::command(line);
        Parsed {
            tag: Bytes::new(),
            is_known: command != smtp::Command::Unknown,
            command: self.asked(line, command, offer),
        }
    }

    fn on_rejected(&mut self, fault: &Fault) {
        let is_temporary = fault.reply(Protocol::Smtp, None).text.starts_with(b"4");
        self.postponed = is_temporary.then(|| fault.clone());
    }
}

impl Smtp {
    fn asked(&self, line: &[u8], command: smtp::Command, offer: &Advertised) -> Command {
        let say = |reply: &str| Command::Answer(format!("{reply}\r\n").into());
        match command {
            smtp::Command::Ehlo => {
                let list = ehlo_reply(&offer.capabilities, offer.starttls, offer.credentials);
                Command::Capabilities(list.into())
            }
            smtp::Command::Helo => say("250 authrelay"),
            smtp::Command::Noop | smtp::Command::Rset => say("250 2.0.0 Done."),
            smtp::Command::Quit => Command::Quit(b"221 2.0.0 Goodbye.\r\n".into()),
            smtp::Command::StartTls => Command::StartTls {
                name: "STARTTLS",
                ready: b"220 2.0.0 Begin TLS negotiation now.\r\n".into(),
                active: b"503 5.5.1 TLS is active.\r\n".into(),
            },
            smtp::Command::Auth { mechanism, initial } => Command::Sasl { mechanism, initial },
            smtp::Command::Mail => self.on_transaction(line, offer),
            smtp::Command::Unknown => say("500 5.5.1 Unknown command."),
            smtp::Command::MalformedLogin => Command::MalformedLogin("AUTH"),
            smtp::Command::Malformed => say("501 5.5.4 Arguments not understood."),
        }
    }

    /// Answers a command of the mail transaction before login.
    fn on_transaction(&self, line: &[u8], offer: &Advertised) -> Command {
        let verb = line.get(..4);
        let is_mail = verb.is_some_and(|verb| verb.eq_ignore_ascii_case(b"MAIL"));
        if !offer.credentials {
            // RFC 3207 §4 requires 530 for every other command.
            Command::Fault(before_tls().smtp_reply(&["530 5.7.0 Start TLS first.".into()]))
        } else if !offer.unauthenticated {
            Command::Fault(self.postponed.clone().unwrap_or_else(needs_login))
        } else if is_mail {
            Command::Unauthenticated([line, b"\r\n"].concat().into())
        } else if verb.is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT")) {
            // The chunk may follow at once: none of it is a command, also after a refused MAIL.
            match smtp::bdat(line) {
                Some((octets, _)) => Command::RefusedChunk(MAIL_FIRST.into(), octets),
                // The position of the next command is unknown.
                None => Command::Quit(b"501 5.5.4 Arguments not understood.\r\n".into()),
            }
        } else {
            Command::Answer(MAIL_FIRST.into())
        }
    }
}

/// Builds `ehlo-ok-rsp` (RFC 5321 §4.1.1.1) as complete lines.
pub(super) fn ehlo_reply(capabilities: &[String], starttls: bool, credentials: bool) -> String {
    let mut greeting = "authrelay";
    let mut reply = String::new();
    let lines = smtp::advertised(capabilities, starttls, credentials);
    for line in lines {
        reply.push_str(&format!("250-{greeting}\r\n"));
        greeting = line;
    }
    reply.push_str(&format!("250 {greeting}\r\n"));
    reply
}
