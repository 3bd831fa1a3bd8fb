//! IMAP's server role before login (RFC 9051 §3.1, RFC 4959, RFC 7888, RFC 2971).

use bytes::Bytes;

use super::dialogue::{
    Advertised, Attempt, Front, Request, before_tls, injected, syntax, too_long,
};
use super::notes::{Notes, no_starttls};
use super::sasl::{SaslExchange, SaslOutcome};
use crate::fault::{Fault, Kind};
use crate::login::{Step, SuccessReply};
use crate::wire::Protocol;
use crate::wire::imap::{self, Command, Tagged};
use crate::wire::line::{COMMAND_CAP, Fragment, Fragments};

pub(super) struct Imap {
    offer: Advertised,
    input: Fragments,
    output: Vec<u8>,
    state: State,
    notes: Notes,
}

#[derive(Debug)]
enum State {
    Greeting,
    Commands,
    /// AUTHENTICATE awaits a response.
    Sasl {
        tag: Bytes,
        exchange: SaslExchange,
    },
    /// The driver checks the credentials.
    AwaitingVerdict {
        tag: Bytes,
    },
    /// STARTTLS was answered; TLS begins next.
    StartTls,
    /// LOGOUT was answered; the connection ends next.
    Quit,
    Failed(Fault),
    /// The final step was returned.
    Finished,
}

impl Imap {
    pub(super) fn new(offer: Advertised) -> Self {
        Self {
            state: if offer.greet {
                State::Greeting
            } else {
                State::Commands
            },
            offer,
            input: Fragments::of_commands(COMMAND_CAP).discarding_id(),
            output: Vec::new(),
            notes: Notes::default(),
        }
    }

    fn capabilities(&self) -> String {
        imap::advertised(
            &self.offer.capabilities,
            self.offer.starttls,
            self.offer.credentials,
        )
    }

    fn say(&mut self, tag: &[u8], text: &str) {
        for part in [tag, b" ", text.as_bytes(), b"\r\n"] {
            self.output.extend_from_slice(part);
        }
    }

    /// Replies with a fault and sets the state: failed if the reply closes the connection.
    fn answer(&mut self, fault: &Fault, tag: &[u8]) {
        let reply = fault.reply(Protocol::Imap, Some(tag));
        self.output.extend_from_slice(&reply.text);
        self.state = if reply.close {
            State::Failed(fault.clone())
        } else {
            State::Commands
        };
    }

    fn refuse(&mut self, fault: Fault, tag: &[u8]) {
        self.answer(&fault, tag);
        self.notes.on_refused(fault, None);
    }

    /// Handles one whole command. Returns an attempt if the command completes one.
    fn command(&mut self, unit: &[u8]) -> Option<Attempt> {
        let parsed = imap::command(unit);
        self.notes.on_command(unit, parsed.is_some());
        let Some(Tagged { tag, command }) = parsed else {
            self.say(b"*", "BAD No tag.");
            return None;
        };
        match command {
            Command::Capability => {
                self.notes.on_capabilities();
                let list = format!("CAPABILITY {}", self.capabilities());
                self.say(b"*", &list);
                self.say(&tag, "OK Done.");
            }
            Command::Noop => self.say(&tag, "OK Done."),
            Command::Id => {
                self.say(b"*", "ID (\"name\" \"authrelay\")");
                self.say(&tag, "OK Done.");
            }
            Command::Logout => {
                self.say(b"*", "BYE Goodbye.");
                self.say(&tag, "OK Done.");
                self.state = State::Quit;
            }
            Command::StartTls if self.offer.encrypted => self.say(&tag, "BAD TLS is active."),
            Command::StartTls if !self.offer.starttls => {
                self.refuse(
                    no_starttls("the client sent STARTTLS, which the listener does not have"),
                    &tag,
                );
            }
            // CVE-2011-0411: cleartext input after the command must never be executed.
            Command::StartTls if !self.input.is_empty() => self.state = State::Failed(injected()),
            Command::StartTls => {
                self.say(&tag, "OK Begin TLS negotiation now.");
                self.state = State::StartTls;
            }
            Command::Login { .. } | Command::Authenticate { .. } if !self.offer.credentials => {
                self.refuse(before_tls(), &tag);
            }
            Command::Login { login, password } => {
                return self.outcome(tag, SaslOutcome::of_presented(&login, &password, "LOGIN"));
            }
            Command::Authenticate { mechanism, initial } => {
                self.notes
                    .on_sasl_line(initial.as_deref().unwrap_or_default());
                return self.outcome(tag, SaslExchange::begin(&mechanism, initial.as_deref()));
            }
            Command::Other => {
                let fault = Fault::new(Kind::Order, "command before login");
                self.answer(&fault, &tag);
            }
            Command::MalformedLogin => self.refuse(syntax("LOGIN or AUTHENTICATE"), &tag),
            Command::Malformed => self.say(&tag, "BAD Command not understood."),
        }
        None
    }

    fn outcome(&mut self, tag: Bytes, outcome: SaslOutcome) -> Option<Attempt> {
        match outcome {
            SaslOutcome::Challenge(exchange) => {
                self.say(b"+", exchange.challenge());
                self.state = State::Sasl { tag, exchange };
                None
            }
            SaslOutcome::Attempt(attempt) => {
                self.state = State::AwaitingVerdict { tag };
                Some(attempt)
            }
            SaslOutcome::Refused(fault, suspected) => {
                self.answer(&fault, &tag);
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
        match std::mem::replace(&mut self.state, State::Commands) {
            State::Greeting => {
                let greeting = format!("OK [CAPABILITY {}] authrelay ready.", self.capabilities());
                self.say(b"*", &greeting);
                None
            }
            State::Commands => match self.input.fragment() {
                Ok(Some(Fragment::Whole(unit))) => self
                    .command(&unit)
                    .map(|attempt| Step::Done(Request::Login(attempt))),
                Ok(Some(Fragment::Announced)) => {
                    self.say(b"+", "OK");
                    None
                }
                Ok(None) => Some(Step::Read),
                Err(_) => {
                    let tag = self.input.tag().to_vec();
                    self.answer(&too_long(), &tag);
                    None
                }
            },
            State::Sasl { tag, exchange } => match self.input.line() {
                Ok(Some(line)) => {
                    self.notes.on_sasl_line(&line);
                    let outcome = exchange.respond(&line);
                    self.outcome(tag, outcome)
                        .map(|attempt| Step::Done(Request::Login(attempt)))
                }
                Ok(None) => {
                    self.state = State::Sasl { tag, exchange };
                    Some(Step::Read)
                }
                Err(_) => {
                    self.answer(&too_long(), &tag);
                    None
                }
            },
            State::AwaitingVerdict { tag } => {
                self.state = State::AwaitingVerdict { tag };
                Some(Step::Read)
            }
            State::StartTls => self.last(Step::StartTls),
            State::Quit => self.last(Step::Done(Request::Quit)),
            State::Failed(fault) => self.last(Step::Failed(fault)),
            State::Finished => self.last(Step::Read),
        }
    }
}

impl Front for Imap {
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
        let State::AwaitingVerdict { tag } = std::mem::replace(&mut self.state, State::Finished)
        else {
            return Bytes::new();
        };
        let mut words = accepted.untagged.to_vec();
        for part in [&tag, b" ".as_slice(), &accepted.text, b"\r\n"] {
            words.extend_from_slice(part);
        }
        words.into()
    }

    fn reject(&mut self, fault: &Fault) {
        if let State::AwaitingVerdict { tag } = std::mem::replace(&mut self.state, State::Commands)
        {
            self.answer(fault, &tag);
        }
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
