//! SMTP's client role before login: EHLO, STARTTLS (RFC 3207), AUTH (RFC 4954 §4). AUTH always
//! takes two steps, since a command line is limited to 512 octets and a token is longer.

use super::dialogue::{
    AwaitedReply, Back, Ready, Stage, UpstreamCredentials, closed_while, greeting_refused,
    injected, is_showable, no_starttls, protocol_violation, too_long,
};
use crate::fault::{Fault, Refusal, classify};
use crate::login::{Step, SuccessReply};
use crate::wire::line::{Lines, REPLY_CAP};
use crate::wire::smtp::{Reply, is_extension};

pub(super) struct Smtp {
    login: UpstreamCredentials,
    stage: Stage,
    input: Lines,
    output: Vec<u8>,
    /// Lines of the incomplete reply.
    pub(super) reply: Reply,
    state: State,
    capabilities: Option<Vec<String>>,
}

#[derive(Debug)]
enum State {
    Greeting,
    /// EHLO is to be sent next.
    Hello,
    /// EHLO was sent; its reply is awaited.
    Ehlo,
    /// STARTTLS was sent; its reply is awaited.
    StartTls,
    /// The 220 for STARTTLS was the last reply in clear.
    Encrypt,
    /// AUTH was sent; 334 is awaited.
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

impl Smtp {
    pub(super) fn new(login: UpstreamCredentials, stage: Stage) -> Self {
        Self {
            login,
            stage,
            input: Lines::new(REPLY_CAP),
            output: Vec::new(),
            reply: Reply::default(),
            state: match stage {
                Stage::Cleartext | Stage::Implicit => State::Greeting,
                Stage::Upgraded => State::Hello,
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

    fn scrubbed(&self, reply: &Reply) -> Vec<String> {
        reply
            .lines
            .iter()
            .map(|line| self.login.scrub(line.as_bytes()))
            .collect()
    }

    fn extensions(&mut self, reply: &Reply) -> State {
        let lines = reply.texts().skip(1).filter(|line| is_showable(line));
        let extensions: Vec<_> = lines.map(str::to_owned).collect();
        match self.stage {
            Stage::Cleartext if extensions.iter().any(|line| is_extension(line, "STARTTLS")) => {
                self.say(&["STARTTLS"]);
                State::StartTls
            }
            Stage::Cleartext => State::Failed(no_starttls("it does not offer STARTTLS")),
            Stage::Implicit | Stage::Upgraded => {
                self.capabilities = Some(extensions);
                self.say(&["AUTH ", self.login.mechanism.name()]);
                State::Authenticate
            }
        }
    }

    fn on_refusal(&self, reply: &Reply) -> State {
        let lines = self.scrubbed(reply);
        let refusal = if reply.code < 500 {
            Refusal::Temporary
        } else {
            Refusal::Final
        };
        State::Failed(classify(&lines.join(" / "), refusal).smtp_reply(&lines))
    }

    fn reply(&mut self, state: State, reply: &Reply) -> State {
        let summary = || self.scrubbed(reply).join(" / ");
        match (state, reply.code) {
            (State::Greeting, 220) => State::Hello,
            (State::Greeting, 400..) => State::Failed(greeting_refused(&summary())),
            (State::Ehlo, 250) => self.extensions(reply),
            (State::Ehlo, 400..) => State::Failed(greeting_refused(&summary())),
            (State::StartTls, 220) if self.input.is_empty() => State::Encrypt,
            (State::StartTls, 220) => State::Failed(injected()),
            (State::StartTls, 400..) => State::Failed(no_starttls(&summary())),
            (State::Authenticate, 334) => {
                let response = self.login.response();
                self.say(&[response.expose()]);
                State::Responded
            }
            (State::Responded, 235) => State::Done(Ready {
                accepted: SuccessReply {
                    untagged: bytes::Bytes::new(),
                    text: reply.lines.join("\r\n").into(),
                },
                capabilities: self.capabilities.take(),
                leftover: self.input.take_rest(),
            }),
            (State::Responded, 334) => {
                self.say(&[self.login.mechanism.acknowledgement()]);
                State::Acknowledged
            }
            (State::Authenticate | State::Responded | State::Acknowledged, 400..) => {
                self.on_refusal(reply)
            }
            (
                State::Greeting
                | State::Hello
                | State::Ehlo
                | State::StartTls
                | State::Encrypt
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
            State::Hello => {
                let name = self.login.client_name.clone();
                self.say(&["EHLO ", &name]);
                self.state = State::Ehlo;
                None
            }
            State::Encrypt => Some(Step::StartTls),
            State::Done(ready) => Some(Step::Done(ready)),
            State::Failed(fault) => Some(Step::Failed(fault)),
            State::Finished => Some(Step::Read),
            state @ (State::Greeting
            | State::Ehlo
            | State::StartTls
            | State::Authenticate
            | State::Responded
            | State::Acknowledged) => {
                let line = match self.input.line() {
                    Ok(Some(line)) => line,
                    Ok(None) => {
                        self.state = state;
                        return Some(Step::Read);
                    }
                    Err(_) => {
                        self.state = State::Failed(too_long());
                        return None;
                    }
                };
                self.state = match self.reply.push(&line) {
                    Some(true) => {
                        let reply = std::mem::take(&mut self.reply);
                        self.reply(state, &reply)
                    }
                    Some(false) => state,
                    None => State::Failed(protocol_violation("a reply")),
                };
                None
            }
        }
    }
}

impl Back for Smtp {
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
            State::Hello | State::Ehlo | State::StartTls | State::Encrypt => {
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
        closed_while(self.waiting())
    }
}
