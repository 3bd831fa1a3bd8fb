//! Server role of all three protocols as one state machine, which decides what a client may do
//! before its login. A [`Dialect`] provides one protocol's grammar and replies.

use bytes::Bytes;

use super::dialogue::{
    Advertised, Front, RefusedAttempt, Request, before_tls, injected, syntax, too_long,
};
use super::notes::{Notes, no_starttls};
use super::sasl::{SaslExchange, SaslOutcome};
use crate::fault::Fault;
use crate::login::{Step, SuccessReply};
use crate::wire::Protocol;
use crate::wire::line::{COMMAND_CAP, Fragment, Fragments};

/// One protocol before login: its grammar and replies.
pub(super) trait Dialect: Send {
    const PROTOCOL: Protocol;

    /// Framing of the client's commands.
    fn framing() -> Fragments {
        Fragments::of_lines(COMMAND_CAP)
    }

    /// The greeting of a new connection, complete lines.
    fn greeting(offer: &Advertised) -> Vec<u8>;

    /// The line of a SASL challenge. `text` is base64 or empty.
    fn challenge(text: &str) -> String {
        format!("+ {text}\r\n")
    }

    fn parse(&mut self, unit: &[u8], offer: &Advertised) -> Parsed;

    /// Handles the rejection of an attempt.
    fn on_rejected(&mut self, _fault: &Fault) {}
}

pub(super) struct Parsed {
    /// IMAP: the command's tag. Empty in the other protocols.
    pub(super) tag: Bytes,
    /// Whether the protocol defines the command.
    pub(super) is_known: bool,
    /// The client's request.
    pub(super) command: Command,
}

/// Request of a command. Replies are complete lines.
pub(super) enum Command {
    /// Only this reply.
    Answer(Vec<u8>),
    /// SMTP: a BDAT that is refused with this reply, and the size of its chunk, which is discarded.
    RefusedChunk(Vec<u8>, u64),
    /// The list of capabilities, which is the reply.
    Capabilities(Vec<u8>),
    /// Part of a login of several commands, with the reply if credentials are accepted.
    Credentials(Vec<u8>),
    /// Login with a password.
    Login {
        /// Login as the client wrote it.
        login: Vec<u8>,
        /// Password as the client wrote it.
        password: Vec<u8>,
        /// Name of the command, for the log.
        method: &'static str,
    },
    /// Login with a SASL mechanism.
    Sasl {
        /// Name of the mechanism, in upper case.
        mechanism: String,
        /// Initial response: base64 or `=`.
        initial: Option<Bytes>,
    },
    /// Start of TLS.
    StartTls {
        /// Name of the command, for the log.
        name: &'static str,
        /// Reply before TLS begins.
        ready: Vec<u8>,
        /// Reply on an encrypted connection.
        active: Vec<u8>,
    },
    /// SMTP: this MAIL command before login, on a listener that accepts it.
    Unauthenticated(Bytes),
    /// End of the session, with this reply.
    Quit(Vec<u8>),
    /// A fault, answered with its reply. Not a login attempt.
    Fault(Fault),
    /// A login command whose arguments cannot be parsed, with the command's name for the log.
    MalformedLogin(&'static str),
}

impl Command {
    /// Whether a client that requires TLS would not send it in clear.
    fn is_without_tls(&self) -> bool {
        match self {
            Self::Credentials(_)
            | Self::Login { .. }
            | Self::Sasl { .. }
            | Self::Unauthenticated(_)
            | Self::RefusedChunk(..)
            | Self::Fault(_)
            | Self::MalformedLogin(_) => true,
            Self::Answer(_) | Self::Capabilities(_) | Self::StartTls { .. } | Self::Quit(_) => {
                false
            }
        }
    }
}

/// Login dialogue with a client.
pub(super) struct Machine<D> {
    dialect: D,
    offer: Advertised,
    input: Fragments,
    output: Vec<u8>,
    state: State,
    notes: Notes,
    /// IMAP: tag of the current command.
    tag: Bytes,
    /// SMTP: MAIL command of a client without login, for the upstream.
    mail: Bytes,
}

#[derive(Debug)]
enum State {
    Greeting,
    Commands,
    /// The SASL exchange waits for a response.
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

impl<D: Dialect> Machine<D> {
    pub(super) fn new(dialect: D, offer: Advertised) -> Self {
        Self {
            dialect,
            state: if offer.greet {
                State::Greeting
            } else {
                State::Commands
            },
            offer,
            input: D::framing(),
            output: Vec::new(),
            notes: Notes::default(),
            tag: Bytes::new(),
            mail: Bytes::new(),
        }
    }

    fn answer(&mut self, fault: &Fault) {
        let reply = fault.reply(D::PROTOCOL, Some(&self.tag));
        self.output.extend_from_slice(&reply.text);
        self.state = if reply.close {
            State::Failed(fault.clone())
        } else {
            State::Commands
        };
    }

    fn refuse(&mut self, fault: Fault, suspected: Option<String>) {
        self.answer(&fault);
        self.notes.on_refused(RefusedAttempt { fault, suspected });
    }

    fn on_command(&mut self, unit: &[u8]) -> Option<Request> {
        let parsed = self.dialect.parse(unit, &self.offer);
        self.notes.on_command(unit, parsed.is_known);
        self.tag = parsed.tag;
        if parsed.command.is_without_tls() {
            self.notes.on_without_tls();
        }
        match parsed.command {
            Command::Answer(reply) => self.output.extend_from_slice(&reply),
            Command::RefusedChunk(reply, octets) => {
                self.output.extend_from_slice(&reply);
                self.input.skip(octets);
            }
            Command::Capabilities(reply) => {
                self.notes.on_capabilities();
                self.output.extend_from_slice(&reply);
            }
            Command::Quit(reply) => {
                self.output.extend_from_slice(&reply);
                self.state = State::Quit;
            }
            Command::StartTls {
                name,
                ready,
                active,
            } => self.start_tls(name, &ready, &active),
            Command::Credentials(_) | Command::Login { .. } | Command::Sasl { .. }
                if !self.offer.credentials =>
            {
                self.refuse(before_tls(), None);
            }
            Command::Credentials(reply) => self.output.extend_from_slice(&reply),
            Command::Login {
                login,
                password,
                method,
            } => return self.outcome(SaslOutcome::of_presented(&login, &password, method)),
            Command::Sasl { mechanism, initial } => {
                let initial = initial.as_deref();
                self.notes.on_sasl_line(initial.unwrap_or_default());
                return self.outcome(SaslExchange::begin(&mechanism, initial));
            }
            Command::Unauthenticated(mail) => {
                self.mail = mail;
                self.state = State::AwaitingVerdict;
                return Some(Request::Unauthenticated);
            }
            Command::Fault(fault) => self.answer(&fault),
            Command::MalformedLogin(commands) => self.refuse(syntax(commands), None),
        }
        None
    }

    /// Refuses a literal with credentials before the TLS that they require, so that the client does
    /// not send it.
    fn refuses_literal(&mut self) -> bool {
        if self.offer.credentials {
            return false;
        }
        let parsed = self.dialect.parse(self.input.begun(), &self.offer);
        let is_login = matches!(
            parsed.command,
            Command::Login { .. } | Command::Sasl { .. } | Command::MalformedLogin(_)
        );
        if is_login {
            self.input.abandon();
            self.tag = parsed.tag;
            self.refuse(before_tls(), None);
        }
        is_login
    }

    fn start_tls(&mut self, name: &str, ready: &[u8], active: &[u8]) {
        if self.offer.encrypted {
            self.output.extend_from_slice(active);
        } else if !self.offer.starttls {
            let detail = format!("the client sent {name}, which the listener does not offer");
            self.refuse(no_starttls(&detail), None);
        } else if !self.input.is_empty() {
            // CVE-2011-0411: cleartext input after the command must never be executed.
            self.state = State::Failed(injected());
        } else {
            self.output.extend_from_slice(ready);
            self.state = State::StartTls;
        }
    }

    fn outcome(&mut self, outcome: SaslOutcome) -> Option<Request> {
        match outcome {
            SaslOutcome::Challenge(exchange) => {
                let challenge = D::challenge(exchange.challenge());
                self.output.extend_from_slice(challenge.as_bytes());
                self.state = State::Sasl(exchange);
                None
            }
            SaslOutcome::Attempt(attempt) => {
                self.state = State::AwaitingVerdict;
                Some(Request::Login(attempt))
            }
            SaslOutcome::Refused(fault, suspected) => {
                self.refuse(fault, suspected);
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
                self.output = D::greeting(&self.offer);
                None
            }
            State::Commands => match self.input.fragment() {
                Ok(Some(Fragment::Whole(unit))) => self.on_command(&unit).map(Step::Done),
                Ok(Some(Fragment::Announced)) if self.refuses_literal() => None,
                Ok(Some(Fragment::Announced)) => {
                    self.output.extend_from_slice(b"+ OK\r\n");
                    None
                }
                Ok(None) => Some(Step::Read),
                Err(_) => {
                    self.tag = Bytes::copy_from_slice(self.input.tag());
                    self.answer(&too_long());
                    None
                }
            },
            State::Sasl(exchange) => match self.input.line() {
                Ok(Some(line)) => {
                    self.notes.on_sasl_line(&line);
                    self.outcome(exchange.respond(&line)).map(Step::Done)
                }
                Ok(None) => {
                    self.state = State::Sasl(exchange);
                    Some(Step::Read)
                }
                Err(_) => {
                    self.answer(&too_long());
                    None
                }
            },
            State::AwaitingVerdict => {
                self.state = State::AwaitingVerdict;
                Some(Step::Read)
            }
            State::StartTls => self.last(Step::StartTls),
            State::Quit => self.last(Step::Done(Request::Quit)),
            State::Failed(fault) => self.last(Step::Failed(fault)),
            State::Finished => self.last(Step::Read),
        }
    }
}

impl<D: Dialect> Front for Machine<D> {
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
        let state = std::mem::replace(&mut self.state, State::Finished);
        // A client without login receives the upstream's reply to its MAIL.
        if !matches!(state, State::AwaitingVerdict) || !self.mail.is_empty() {
            return Bytes::new();
        }
        let mut reply = accepted.untagged.to_vec();
        if !self.tag.is_empty() {
            reply.extend_from_slice(&self.tag);
            reply.push(b' ');
        }
        reply.extend_from_slice(&accepted.text);
        reply.extend_from_slice(b"\r\n");
        reply.into()
    }

    fn reject(&mut self, fault: &Fault) {
        if matches!(self.state, State::AwaitingVerdict) {
            self.mail = Bytes::new();
            self.dialect.on_rejected(fault);
            self.answer(fault);
        }
    }

    fn take_refused(&mut self) -> Option<RefusedAttempt> {
        self.notes.refused.take()
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
