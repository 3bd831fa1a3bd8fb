//! POP3's server role before login: the AUTHORIZATION state of RFC 1939 §4, with CAPA (RFC 2449),
//! AUTH (RFC 5034) and STLS (RFC 2595 §4).

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
use crate::wire::pop3::{self, Command};

pub(super) struct Pop3 {
    offer: Advertised,
    input: Lines,
    output: Vec<u8>,
    state: State,
    notes: Notes,
}

#[derive(Debug)]
enum State {
    Greeting,
    Commands,
    /// USER was accepted; PASS is awaited.
    User {
        name: Bytes,
    },
    /// AUTH awaits a response.
    Sasl(SaslExchange),
    /// The driver checks the credentials.
    AwaitingVerdict,
    /// STLS was answered; TLS begins next.
    StartTls,
    /// QUIT was answered; the connection ends next.
    Quit,
    Failed(Fault),
    /// The final step was returned.
    Finished,
}

impl Pop3 {
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
        }
    }

    fn say(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn answer(&mut self, fault: &Fault) {
        let reply = fault.reply(Protocol::Pop3, None);
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

    /// Handles one command; `user` is the name from a preceding USER.
    fn command(&mut self, line: &[u8], user: Option<Bytes>) -> Option<Attempt> {
        let command = pop3::command(line);
        self.notes.on_command(line, command != Command::Other);
        match (command, user) {
            (Command::Capa, user) => {
                self.notes.on_capabilities();
                let lines = pop3::advertised(
                    &self.offer.capabilities,
                    self.offer.starttls,
                    self.offer.credentials,
                );
                let list = format!("+OK Capabilities follow.\r\n{}\r\n.", lines.join("\r\n"));
                self.say(&list);
                self.state = user.map_or(State::Commands, |name| State::User { name });
            }
            (Command::Quit, _) => {
                self.say("+OK Goodbye.");
                self.state = State::Quit;
            }
            (Command::Stls, _) => self.start_tls(),
            (Command::User(_) | Command::Pass(_) | Command::Auth { .. }, _)
                if !self.offer.credentials =>
            {
                self.refuse(before_tls());
            }
            (Command::User(name), _) => {
                self.say("+OK Send the password.");
                self.state = State::User { name };
            }
            (Command::Pass(password), Some(name)) => {
                return self.outcome(SaslOutcome::of_presented(&name, &password, "USER"));
            }
            (Command::Pass(_), None) => self.say("-ERR Send USER first."),
            (
                Command::Auth {
                    mechanism: Some(mechanism),
                    initial,
                },
                _,
            ) => {
                self.notes
                    .on_sasl_line(initial.as_deref().unwrap_or_default());
                return self.outcome(SaslExchange::begin(&mechanism, initial.as_deref()));
            }
            (
                Command::Auth {
                    mechanism: None, ..
                },
                _,
            ) => {
                self.say("+OK Mechanisms follow.\r\nPLAIN\r\nLOGIN\r\n.");
            }
            (Command::MalformedLogin, _) => self.refuse(syntax("AUTH")),
            (Command::Other, _) => self.answer(&Fault::new(Kind::Order, "command before login")),
        }
        None
    }

    fn start_tls(&mut self) {
        if self.offer.encrypted {
            self.say("-ERR TLS is active.");
        } else if !self.offer.starttls {
            self.refuse(no_starttls(
                "the client sent STLS, which the listener does not have",
            ));
        } else if !self.input.is_empty() {
            // CVE-2011-0411: cleartext input after the command must never be executed.
            self.state = State::Failed(injected());
        } else {
            self.say("+OK Begin TLS negotiation now.");
            self.state = State::StartTls;
        }
    }

    fn outcome(&mut self, outcome: SaslOutcome) -> Option<Attempt> {
        match outcome {
            SaslOutcome::Challenge(exchange) => {
                let challenge = format!("+ {}", exchange.challenge());
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
            State::Commands | State::User { .. } | State::Sasl(_) => match self.input.line() {
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
        let attempt = match state {
            State::Greeting => {
                self.say("+OK authrelay ready.");
                None
            }
            State::Commands => self.command(&line, None),
            State::User { name } => self.command(&line, Some(name)),
            State::Sasl(exchange) => {
                self.notes.on_sasl_line(&line);
                self.outcome(exchange.respond(&line))
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
        attempt.map(|attempt| Step::Done(Request::Login(attempt)))
    }
}

impl Front for Pop3 {
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
        [&accepted.text, b"\r\n".as_slice()].concat().into()
    }

    fn reject(&mut self, fault: &Fault) {
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
        self.input.take_rest()
    }
}
