//! Client role of all three protocols as one state machine: TLS first, then capabilities, then the
//! token. A [`Dialect`] provides one protocol's commands and grammar.

use bytes::Bytes;

use super::dialogue::{
    AwaitedReply, Back, Ready, Stage, UpstreamCredentials, closed_while, greeting_refused,
    injected, no_starttls, protocol_violation, too_long,
};
use crate::fault::{Fault, Refusal, classify};
use crate::login::{Step, SuccessReply};
use crate::wire::Protocol;
use crate::wire::line::{Fragment, Fragments, REPLY_CAP};
use crate::wire::smtp::is_extension;

/// One protocol before login: its commands, and the grammar of its replies.
pub(super) trait Dialect: Send {
    const PROTOCOL: Protocol;

    const STARTTLS: &'static str;

    /// Command that begins a SASL exchange, without the mechanism.
    const AUTHENTICATE: &'static str;

    /// Framing of the upstream's replies.
    fn framing() -> Fragments {
        Fragments::of_lines(REPLY_CAP)
    }

    /// Command that requests the capabilities.
    fn ask(login: &UpstreamCredentials) -> String;

    /// Parses one line or response, received after `sent`.
    fn read(&mut self, unit: &Bytes, sent: Sent) -> Reply;

    /// Capabilities that the upstream has listed so far.
    fn capabilities(&mut self) -> &mut Option<Vec<String>>;

    /// IMAP: takes the untagged responses since AUTHENTICATE, complete lines, for the client.
    fn untagged(&mut self) -> Bytes {
        Bytes::new()
    }

    /// IMAP: the upstream's BYE, if it sent one.
    fn bye(&self) -> Option<&Bytes> {
        None
    }
}

/// Last command sent, whose reply is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// No command; the greeting is awaited.
    Nothing,
    /// STARTTLS.
    StartTls,
    /// The command that requests the capabilities.
    Ask,
    /// The command that begins the SASL exchange, or a response in the exchange.
    Authenticate,
}

/// Parsed reply of the upstream, or one of its lines.
pub(super) enum Reply {
    /// An incomplete reply, or a response without effect on the dialogue.
    Partial,
    /// Success, with the reply's text for the client.
    Positive(Bytes),
    /// A challenge of the SASL exchange.
    Continue,
    /// A refusal and its lines.
    Negative(Refusal, Vec<Bytes>),
    /// A line that violates the protocol, with its name in faults.
    Violation(&'static str),
    /// A reply longer than the buffer.
    TooLong,
}

impl Reply {
    /// A refusal of one line; one of these response codes in it makes it temporary.
    pub(super) fn refusal(text: Bytes, temporary: &[&str]) -> Self {
        let said = text.to_ascii_uppercase();
        let said = String::from_utf8_lossy(&said);
        let refusal = match temporary.iter().any(|code| said.contains(code)) {
            true => Refusal::Temporary,
            false => Refusal::Final,
        };
        Self::Negative(refusal, vec![text])
    }
}

/// Login dialogue with an upstream.
pub(super) struct Machine<D> {
    dialect: D,
    login: UpstreamCredentials,
    stage: Stage,
    input: Fragments,
    output: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    Greeting,
    /// Capabilities must be requested next.
    Ask,
    Capabilities,
    StartTls,
    /// The reply to STARTTLS was the last octet in clear.
    Encrypt,
    /// The SASL exchange has begun without an initial response; the challenge is awaited.
    Authenticate,
    /// The SASL response was sent; the result is awaited.
    Responded,
    /// The upstream's error challenge was answered.
    Acknowledged,
    Done(Ready),
    Failed(Fault),
    /// The final step was returned.
    Finished,
}

impl<D: Dialect> Machine<D> {
    pub(super) fn new(dialect: D, login: UpstreamCredentials, stage: Stage) -> Self {
        Self {
            dialect,
            login,
            stage,
            input: D::framing(),
            output: Vec::new(),
            state: match stage {
                Stage::Cleartext | Stage::Implicit => State::Greeting,
                Stage::Upgraded => State::Ask,
            },
        }
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn on_greeting(&mut self) -> State {
        match self.stage {
            // SMTP requires EHLO before STARTTLS; IMAP and POP3 require no command.
            Stage::Cleartext if D::PROTOCOL != Protocol::Smtp => self.start_tls(),
            Stage::Cleartext | Stage::Implicit | Stage::Upgraded => {
                match self.dialect.capabilities() {
                    Some(_) => self.begin(),
                    None => State::Ask,
                }
            }
        }
    }

    fn on_capabilities(&mut self) -> State {
        let listed = self.dialect.capabilities().as_deref().unwrap_or_default();
        match self.stage {
            Stage::Implicit | Stage::Upgraded => self.begin(),
            Stage::Cleartext if listed.iter().any(|line| is_extension(line, "STARTTLS")) => {
                self.start_tls()
            }
            Stage::Cleartext => State::Failed(no_starttls("it does not offer STARTTLS")),
        }
    }

    fn start_tls(&mut self) -> State {
        self.say(D::STARTTLS);
        State::StartTls
    }

    /// Begins the SASL exchange. The initial response is sent only in IMAP, if SASL-IR is listed: an
    /// SMTP command line has at most 512 octets and a token is longer; Exchange's POP3 answers the
    /// one-line form with `-ERR Protocol error`.
    fn begin(&mut self) -> State {
        let listed = self.dialect.capabilities().as_deref().unwrap_or_default();
        let is_initial = |name: &String| name.eq_ignore_ascii_case("SASL-IR");
        let sends_response = D::PROTOCOL == Protocol::Imap && listed.iter().any(is_initial);
        let command = [D::AUTHENTICATE, " ", self.login.mechanism.name()].concat();
        self.output.extend_from_slice(command.as_bytes());
        if sends_response {
            self.output.push(b' ');
            let response = self.login.response();
            self.say(response.expose());
            State::Responded
        } else {
            self.say("");
            State::Authenticate
        }
    }

    fn on_reply(&mut self, state: State, reply: Reply) -> State {
        match (state, reply) {
            (state, Reply::Partial) => state,
            (State::Greeting, Reply::Positive(_)) => self.on_greeting(),
            (State::Capabilities, Reply::Positive(_)) => self.on_capabilities(),
            (State::Greeting | State::Capabilities, Reply::Negative(_, said)) => {
                State::Failed(greeting_refused(&self.scrub(&said).join(" / ")))
            }
            (State::StartTls, Reply::Positive(_)) if self.input.is_empty() => State::Encrypt,
            (State::StartTls, Reply::Positive(_)) => State::Failed(injected()),
            (State::StartTls, Reply::Negative(_, said)) => {
                State::Failed(no_starttls(&self.scrub(&said).join(" / ")))
            }
            (State::Authenticate, Reply::Continue) => {
                let response = self.login.response();
                self.say(response.expose());
                State::Responded
            }
            (State::Responded, Reply::Continue) => {
                self.say(self.login.mechanism.acknowledgement());
                State::Acknowledged
            }
            (State::Responded, Reply::Positive(text)) => State::Done(Ready {
                accepted: SuccessReply {
                    untagged: self.dialect.untagged(),
                    text,
                },
                capabilities: self.dialect.capabilities().take(),
                leftover: self.input.take_rest(),
            }),
            (
                State::Authenticate | State::Responded | State::Acknowledged,
                Reply::Negative(refusal, said),
            ) => {
                let said = self.scrub(&said);
                let fault = classify(&said.join(" / "), refusal);
                State::Failed(match D::PROTOCOL {
                    Protocol::Smtp => fault.smtp_reply(&said),
                    Protocol::Imap | Protocol::Pop3 => fault,
                })
            }
            (_, Reply::TooLong) => State::Failed(too_long()),
            (_, Reply::Violation(what)) => State::Failed(protocol_violation(what)),
            (_, Reply::Positive(_) | Reply::Continue | Reply::Negative(..)) => {
                State::Failed(protocol_violation("a reply"))
            }
        }
    }

    fn scrub(&self, said: &[Bytes]) -> Vec<String> {
        said.iter().map(|line| self.login.scrub(line)).collect()
    }

    /// Processes input. `None`: output or a new state is ready.
    fn advance(&mut self) -> Option<Step<Ready>> {
        let state = std::mem::replace(&mut self.state, State::Finished);
        let sent = match &state {
            State::Ask => {
                self.say(&D::ask(&self.login));
                self.state = State::Capabilities;
                return None;
            }
            State::Greeting => Sent::Nothing,
            State::StartTls => Sent::StartTls,
            State::Capabilities => Sent::Ask,
            State::Authenticate | State::Responded | State::Acknowledged => Sent::Authenticate,
            State::Encrypt | State::Done(_) | State::Failed(_) | State::Finished => {
                return Some(match state {
                    State::Encrypt => Step::StartTls,
                    State::Done(ready) => Step::Done(ready),
                    State::Failed(fault) => Step::Failed(fault),
                    _ => Step::Read,
                });
            }
        };
        self.state = match self.input.fragment() {
            Ok(Some(Fragment::Whole(unit))) => {
                let reply = self.dialect.read(&unit, sent);
                self.on_reply(state, reply)
            }
            // A literal of a server needs no continuation request.
            Ok(Some(Fragment::Announced)) => state,
            Ok(None) => {
                self.state = state;
                return Some(Step::Read);
            }
            Err(_) => State::Failed(too_long()),
        };
        None
    }
}

impl<D: Dialect> Back for Machine<D> {
    fn receive(&mut self, bytes: &[u8]) {
        self.input.push(bytes);
    }

    fn next(&mut self) -> Step<Ready> {
        loop {
            if !self.output.is_empty() {
                return Step::Write(std::mem::take(&mut self.output).into());
            }
            if let Some(step) = self.advance() {
                return step;
            }
        }
    }

    fn waiting(&self) -> AwaitedReply {
        match self.state {
            State::Greeting => AwaitedReply::Greeting,
            State::Ask | State::Capabilities | State::StartTls | State::Encrypt => {
                AwaitedReply::Capabilities
            }
            State::Authenticate
            | State::Responded
            | State::Acknowledged
            | State::Done(_)
            | State::Failed(_)
            | State::Finished => AwaitedReply::Authentication,
        }
    }

    fn closed(&mut self) -> Fault {
        match self.dialect.bye() {
            Some(said) => classify(&self.login.scrub(said), Refusal::Temporary),
            None => closed_while(self.waiting()),
        }
    }
}
