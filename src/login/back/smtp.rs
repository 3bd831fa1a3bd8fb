//! SMTP's client role before login: EHLO, STARTTLS (RFC 3207), AUTH (RFC 4954 §4).

use bytes::Bytes;

use super::dialogue::{UpstreamCredentials, is_showable};
use super::machine::{self, Dialect, Sent};
use crate::fault::Refusal;
use crate::wire::Protocol;
use crate::wire::smtp::Reply;

#[derive(Default)]
pub(super) struct Smtp {
    /// Lines of the incomplete reply.
    reply: Reply,
    capabilities: Option<Vec<String>>,
}

impl Dialect for Smtp {
    const PROTOCOL: Protocol = Protocol::Smtp;
    const STARTTLS: &'static str = "STARTTLS";
    const AUTHENTICATE: &'static str = "AUTH";

    fn ask(login: &UpstreamCredentials) -> String {
        format!("EHLO {}", login.client_name)
    }

    fn read(&mut self, line: &Bytes, sent: Sent) -> machine::Reply {
        match self.reply.push(line) {
            Some(true) => {}
            Some(false) => return machine::Reply::Partial,
            None => return machine::Reply::Violation("a reply"),
        }
        let reply = std::mem::take(&mut self.reply);
        match (sent, reply.code) {
            (Sent::Ask, 250) => {
                let lines = reply.texts().skip(1).filter(|line| is_showable(line));
                self.capabilities = Some(lines.map(str::to_owned).collect());
                machine::Reply::Positive(Bytes::new())
            }
            (Sent::Nothing | Sent::StartTls, 220) => machine::Reply::Positive(Bytes::new()),
            (Sent::Authenticate, 235) => machine::Reply::Positive(reply.lines.join("\r\n").into()),
            (Sent::Authenticate, 334) => machine::Reply::Continue,
            (_, 400..) => {
                let refusal = match reply.code < 500 {
                    true => Refusal::Temporary,
                    false => Refusal::Final,
                };
                machine::Reply::Negative(
                    refusal,
                    reply.lines.into_iter().map(Bytes::from).collect(),
                )
            }
            _ => machine::Reply::Violation("a reply"),
        }
    }

    fn capabilities(&mut self) -> &mut Option<Vec<String>> {
        &mut self.capabilities
    }
}
