//! SMTP's server role before login: submission (RFC 6409) with AUTH (RFC 4954) and STARTTLS (RFC
//! 3207). Mail transactions require a login.

use bytes::Bytes;

use super::dialogue::{
    Advertised, Attempt, Front, Request, before_tls, injected, syntax, too_long,
};
use super::notes::{Notes, no_starttls};
use super::sasl::{SaslExchange, SaslOutcome};
use crate::fault::{Fault, Kind};
use crate::login::{Step, SuccessReply};
use crate::wire::Protocol;
use crate::wire::line::{COMMAND_CAP, Lines};
use crate::wire::smtp::{self, Command};

pub(super) struct Smtp {
    offer: Advertised,
    input: Lines,
    output: Vec<u8>,
    state: State,
    notes: Notes,
    /// MAIL command of a client without login; sent to the upstream once accepted.
    mail: Bytes,
    /// Temporary reason why the last login could not be decided.
    postponed: Option<Fault>,
}

#[derive(Debug)]
enum State {
    Greeting,
    Commands,
    /// AUTH awaits a response.
    Sasl(SaslExchange),
    /// The driver checks the credentials.
    AwaitingVerdict,
    /// STARTTLS was answered; TLS begins next.
    StartTls,
    /// QUIT was answered; the connection ends next.
    Quit,
    Failed(Fault),
    /// The final step was returned.
    Finished,
}

impl Smtp {
    pub(super) fn new(offer: Advertised) -> Self {
        Self {
            state: if offer.greet {
                State::Greeting
            } else {
                State::Commands
            },
            offer,
            input: Lines::new(COMMAND_CAP),
            output: Vec::new(),
            notes: Notes::default(),
            mail: Bytes::new(),
            postponed: None,
        }
    }

    fn say(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn answer(&mut self, fault: &Fault) {
        let reply = fault.reply(Protocol::Smtp, None);
        self.output.extend_from_slice(&reply.text);
        self.state = if reply.close {
            State::Failed(fault.clone())
        } else {
            State::Commands
        };
    }

    fn refuse(&mut self, fault: Fault) {
        self.answer(&fault);
        self.notes.on_refused(fault, None);
    }

    fn ehlo(&mut self) {
        self.notes.on_capabilities();
        let Advertised {
            capabilities,
            starttls,
            credentials,
            ..
        } = &self.offer;
        let reply = ehlo_reply(capabilities, *starttls, *credentials);
        self.output.extend_from_slice(reply.as_bytes());
    }

    fn command(&mut self, line: &[u8]) -> Option<Request> {
        let command = smtp::command(line);
        self.notes.on_command(line, command != Command::Unknown);
        match command {
            Command::Ehlo => self.ehlo(),
            Command::Helo => self.say("250 authrelay"),
            Command::Noop | Command::Rset => self.say("250 2.0.0 Done."),
            Command::Quit => {
                self.say("221 2.0.0 Goodbye.");
                self.state = State::Quit;
            }
            Command::StartTls if self.offer.encrypted => self.say("503 5.5.1 TLS is active."),
            Command::StartTls if !self.offer.starttls => {
                self.refuse(no_starttls(
                    "the client sent STARTTLS, which the listener does not have",
                ));
            }
            // CVE-2011-0411: cleartext input after the command must never be executed.
            Command::StartTls if !self.input.is_empty() => self.state = State::Failed(injected()),
            Command::StartTls => {
                self.say("220 2.0.0 Begin TLS negotiation now.");
                self.state = State::StartTls;
            }
            Command::Auth { .. } if !self.offer.credentials => self.refuse(before_tls()),
            Command::Auth { mechanism, initial } => {
                self.notes
                    .on_sasl_line(initial.as_deref().unwrap_or_default());
                return self
                    .outcome(SaslExchange::begin(&mechanism, initial.as_deref()))
                    .map(Request::Login);
            }
            Command::Mail if !self.offer.credentials => {
                // RFC 3207 §4 requires 530 for every other command.
                self.answer(&before_tls().smtp_reply(&["530 5.7.0 Start TLS first.".into()]));
            }
            Command::Mail if self.offer.unauthenticated => return self.without_login(line),
            Command::Mail => self.before_login(),
            Command::Unknown => self.say("500 5.5.1 Unknown command."),
            Command::MalformedLogin => self.refuse(syntax("AUTH")),
            Command::Malformed => self.say("501 5.5.4 Arguments not understood."),
        }
        None
    }

    /// Replies to a transaction command of a client that has not logged in. After a temporary AUTH
    /// failure the reply is that failure again: dma continues without a login, and would bounce the
    /// message on a 530.
    fn before_login(&mut self) {
        match self.postponed.clone() {
            Some(fault) => self.answer(&fault),
            None => self.answer(&Fault::new(Kind::Order, "command before login")),
        }
    }

    /// Handles a transaction command on a listener for devices that cannot log in.
    fn without_login(&mut self, line: &[u8]) -> Option<Request> {
        let is_mail = line
            .get(..4)
            .is_some_and(|verb| verb.eq_ignore_ascii_case(b"MAIL"));
        if !is_mail {
            self.say("503 5.5.1 MAIL comes first.");
            return None;
        }
        self.mail = [line, b"\r\n"].concat().into();
        self.state = State::AwaitingVerdict;
        Some(Request::Unauthenticated)
    }

    fn outcome(&mut self, outcome: SaslOutcome) -> Option<Attempt> {
        match outcome {
            SaslOutcome::Challenge(exchange) => {
                let challenge = format!("334 {}", exchange.challenge());
                self.say(&challenge);
                self.state = State::Sasl(exchange);
                None
            }
            SaslOutcome::Attempt(attempt) => {
                self.state = State::AwaitingVerdict;
                Some(attempt)
            }
            SaslOutcome::Refused(fault, suspected) => {
                self.answer(&fault);
                self.notes.on_refused(fault, suspected);
                None
            }
        }
    }

    fn last(&mut self, step: Step<Request>) -> Option<Step<Request>> {
        self.state = State::Finished;
        Some(step)
    }

    /// Processes input. `None`: output or a new state is ready.
    fn advance(&mut self) -> Option<Step<Request>> {
        let state = std::mem::replace(&mut self.state, State::Commands);
        let line = match &state {
            State::Commands | State::Sasl(_) => match self.input.line() {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.state = state;
                    return Some(Step::Read);
                }
                Err(_) => {
                    self.answer(&too_long());
                    return None;
                }
            },
            State::Greeting
            | State::AwaitingVerdict
            | State::StartTls
            | State::Quit
            | State::Failed(_)
            | State::Finished => Bytes::new(),
        };
        let request = match state {
            State::Greeting => {
                self.say("220 authrelay ESMTP ready.");
                None
            }
            State::Commands => self.command(&line),
            State::Sasl(exchange) => {
                self.notes.on_sasl_line(&line);
                self.outcome(exchange.respond(&line)).map(Request::Login)
            }
            State::AwaitingVerdict => {
                self.state = State::AwaitingVerdict;
                return Some(Step::Read);
            }
            State::StartTls => return self.last(Step::StartTls),
            State::Quit => return self.last(Step::Done(Request::Quit)),
            State::Failed(fault) => return self.last(Step::Failed(fault)),
            State::Finished => return self.last(Step::Read),
        };
        request.map(Step::Done)
    }
}

impl Front for Smtp {
    fn receive(&mut self, bytes: &[u8]) {
        self.input.push(bytes);
    }

    fn next(&mut self) -> Step<Request> {
        loop {
            if !self.output.is_empty() {
                return Step::Write(std::mem::take(&mut self.output).into());
            }
            if let Some(step) = self.advance() {
                return step;
            }
        }
    }

    fn accept(&mut self, accepted: &SuccessReply) -> Bytes {
        self.state = State::Finished;
        if !self.mail.is_empty() {
            // The client sent no AUTH, so only the mail service's reply to MAIL follows.
            return Bytes::new();
        }
        [&accepted.text, b"\r\n".as_slice()].concat().into()
    }

    fn reject(&mut self, fault: &Fault) {
        self.mail = Bytes::new();
        let is_temporary = fault.reply(Protocol::Smtp, None).text.starts_with(b"4");
        self.postponed = is_temporary.then(|| fault.clone());
        self.answer(fault);
    }

    fn take_refused(&mut self) -> Option<Fault> {
        self.notes.take_refused()
    }

    fn suspected_login(&mut self) -> Option<String> {
        self.notes.take_suspected()
    }

    fn on_close(&self) -> Option<Fault> {
        self.notes.on_close(&self.offer)
    }

    fn leftover(&mut self) -> Bytes {
        let rest = self.input.take_rest();
        match std::mem::take(&mut self.mail) {
            mail if mail.is_empty() => rest,
            mail => [mail, rest].concat().into(),
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
