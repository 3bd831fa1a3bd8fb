//! POP3's client role before login: CAPA (RFC 2449), STLS (RFC 2595 §4), AUTH (RFC 5034). AUTH
//! always takes two steps, since Exchange replies to the one-line form with `-ERR Protocol error`.

use bytes::Bytes;

use super::dialogue::{
    AwaitedReply, Back, Ready, Stage, UpstreamCredentials, closed_while, greeting_refused,
    injected, is_showable, no_starttls, protocol_violation, too_long,
};
use crate::fault::{Fault, Refusal, classify};
use crate::login::{Step, SuccessReply};
use crate::wire::line::{Lines, REPLY_CAP};
use crate::wire::pop3::{self, Reply};

pub(super) struct Pop3 {
    login: UpstreamCredentials,
    stage: Stage,
    input: Lines,
    output: Vec<u8>,
    state: State,
    capabilities: Option<Vec<String>>,
}

#[derive(Debug)]
enum State {
    Greeting,
    /// STLS was sent; its reply is awaited.
    StartTls,
    /// The +OK for STLS was the last reply in clear.
    Encrypt,
    /// CAPA is to be sent next.
    SendCapa,
    /// CAPA was sent; its list is awaited.
    Capa,
    /// CAPA was accepted; its lines follow.
    CapaLines(Vec<String>),
    /// AUTH was sent; `+` is awaited.
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

impl Pop3 {
    pub(super) fn new(login: UpstreamCredentials, stage: Stage) -> Self {
        Self {
            login,
            stage,
            input: Lines::new(REPLY_CAP),
            output: Vec::new(),
            state: match stage {
                Stage::Cleartext | Stage::Implicit => State::Greeting,
                Stage::Upgraded => State::SendCapa,
            },
            capabilities: None,
        }
    }

    fn say(&mut self, parts: &[&str]) {
        for part in parts {
            self.output.extend_from_slice(part.as_bytes());
        }
        self.output.extend_from_slice(b"\r\n");
    }

    fn begin(&mut self) -> State {
        self.say(&["AUTH ", self.login.mechanism.name()]);
        State::Authenticate
    }

    fn on_refusal(&self, line: &[u8]) -> State {
        let said = self.login.scrub(line);
        let upper = said.to_ascii_uppercase();
        // RFC 2449 §8.1.2, RFC 3206 §4.
        let temporary = ["[SYS/TEMP]", "[IN-USE]", "[LOGIN-DELAY]"]
            .iter()
            .any(|code| upper.contains(code));
        State::Failed(classify(
            &said,
            if temporary {
                Refusal::Temporary
            } else {
                Refusal::Final
            },
        ))
    }

    /// Handles a line of the capability list.
    fn capability(&mut self, mut lines: Vec<String>, line: &Bytes) -> State {
        if line.as_ref() == b"." {
            self.capabilities = Some(lines);
            return self.begin();
        }
        let held: usize = lines.iter().map(String::len).sum();
        let line = String::from_utf8_lossy(line);
        if lines.len() < 100 && held + line.len() <= REPLY_CAP && is_showable(&line) {
            lines.push(line.into_owned());
        }
        State::CapaLines(lines)
    }

    fn line(&mut self, state: State, line: &Bytes) -> State {
        if let State::CapaLines(lines) = state {
            return self.capability(lines, line);
        }
        match (state, pop3::reply(line)) {
            (State::Greeting, Some(Reply::Ok)) => match self.stage {
                Stage::Cleartext => {
                    self.say(&["STLS"]);
                    State::StartTls
                }
                Stage::Implicit | Stage::Upgraded => State::SendCapa,
            },
            (State::Greeting, Some(Reply::Err)) => {
                State::Failed(greeting_refused(&self.login.scrub(line)))
            }
            (State::StartTls, Some(Reply::Ok)) if self.input.is_empty() => State::Encrypt,
            (State::StartTls, Some(Reply::Ok)) => State::Failed(injected()),
            (State::StartTls, Some(Reply::Err)) => {
                State::Failed(no_starttls(&self.login.scrub(line)))
            }
            (State::Capa, Some(Reply::Ok)) => State::CapaLines(Vec::new()),
            // Capabilities are useful but not required.
            (State::Capa, Some(Reply::Err)) => self.begin(),
            (State::Authenticate, Some(Reply::Continue(_))) => {
                let response = self.login.response();
                self.say(&[response.expose()]);
                State::Responded
            }
            (State::Responded, Some(Reply::Ok)) => State::Done(Ready {
                accepted: SuccessReply {
                    untagged: Bytes::new(),
                    text: line.clone(),
                },
                capabilities: self.capabilities.take(),
                leftover: self.input.take_rest(),
            }),
            (State::Responded, Some(Reply::Continue(_))) => {
                self.say(&[self.login.mechanism.acknowledgement()]);
                State::Acknowledged
            }
            (State::Authenticate | State::Responded | State::Acknowledged, Some(Reply::Err)) => {
                self.on_refusal(line)
            }
            (
                State::Greeting
                | State::StartTls
                | State::Encrypt
                | State::SendCapa
                | State::Capa
                | State::CapaLines(_)
                | State::Authenticate
                | State::Responded
                | State::Acknowledged
                | State::Done(_)
                | State::Failed(_)
                | State::Finished,
                _,
            ) => State::Failed(protocol_violation("a reply")),
        }
    }

    /// Processes input. `None`: output or a new state is ready.
    fn advance(&mut self) -> Option<Step<Ready>> {
        match std::mem::replace(&mut self.state, State::Finished) {
            State::SendCapa => {
                self.say(&["CAPA"]);
                self.state = State::Capa;
                None
            }
            State::Encrypt => Some(Step::StartTls),
            State::Done(ready) => Some(Step::Done(ready)),
            State::Failed(fault) => Some(Step::Failed(fault)),
            State::Finished => Some(Step::Read),
            state @ (State::Greeting
            | State::StartTls
            | State::Capa
            | State::CapaLines(_)
            | State::Authenticate
            | State::Responded
            | State::Acknowledged) => match self.input.line() {
                Ok(Some(line)) => {
                    self.state = self.line(state, &line);
                    None
                }
                Ok(None) => {
                    self.state = state;
                    Some(Step::Read)
                }
                Err(_) => {
                    self.state = State::Failed(too_long());
                    None
                }
            },
        }
    }
}

impl Back for Pop3 {
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
            State::StartTls
            | State::Encrypt
            | State::SendCapa
            | State::Capa
            | State::CapaLines(_) => AwaitedReply::Capabilities,
            State::Authenticate
            | State::Responded
            | State::Acknowledged
            | State::Done(_)
            | State::Failed(_)
            | State::Finished => AwaitedReply::Authentication,
        }
    }

    fn closed(&mut self) -> Fault {
        closed_while(self.waiting())
    }
}
