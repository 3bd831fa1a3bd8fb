//! IMAP's client role before login (RFC 9051 §6.2, RFC 4959, RFC 7628 §3.2.3).

use bytes::Bytes;

use super::dialogue::{
    AwaitedReply, Back, Ready, Stage, UpstreamCredentials, closed_while, greeting_refused,
    injected, no_starttls, protocol_violation, too_long,
};
use crate::fault::{Fault, Refusal, classify};
use crate::login::{Step, SuccessReply};
use crate::wire::imap::{self, Response, Status};
use crate::wire::line::{Fragment, Fragments, REPLY_CAP};

/// Only one command is pending at a time, so one tag suffices.
const TAG: &str = "A1";

pub(super) struct Imap {
    login: UpstreamCredentials,
    stage: Stage,
    input: Fragments,
    output: Vec<u8>,
    state: State,
    capabilities: Option<Vec<String>>,
    /// Untagged lines since AUTHENTICATE was sent; they are for the client.
    untagged: Vec<u8>,
    /// Text of a BYE among the untagged responses.
    bye: Option<String>,
}

#[derive(Debug)]
enum State {
    Greeting,
    /// STARTTLS was sent; its tagged response is awaited.
    StartTls,
    /// The OK for STARTTLS was the last response in clear.
    Encrypt,
    /// CAPABILITY is to be sent next.
    SendCapability,
    /// CAPABILITY was sent; its responses are awaited.
    Capability,
    /// AUTHENTICATE is to be sent next.
    SendAuthenticate,
    /// AUTHENTICATE was sent without initial response; `+` is awaited.
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

impl Imap {
    pub(super) fn new(login: UpstreamCredentials, stage: Stage) -> Self {
        Self {
            login,
            stage,
            input: Fragments::of_responses(REPLY_CAP),
            output: Vec::new(),
            state: match stage {
                Stage::Cleartext | Stage::Implicit => State::Greeting,
                Stage::Upgraded => State::SendCapability,
            },
            capabilities: None,
            untagged: Vec::new(),
            bye: None,
        }
    }

    fn say(&mut self, parts: &[&str]) {
        for part in parts {
            self.output.extend_from_slice(part.as_bytes());
        }
        self.output.extend_from_slice(b"\r\n");
    }

    fn greeting(&mut self, unit: &[u8]) -> State {
        if imap::is_untagged(unit, "BYE") {
            return State::Failed(greeting_refused(&self.login.scrub(unit)));
        }
        if imap::is_untagged(unit, "PREAUTH") {
            // Another client's session, or a downgrade that avoids STARTTLS (RFC 9051 §11.1).
            return State::Failed(protocol_violation("a PREAUTH greeting"));
        }
        if imap::untagged_status(unit) != Some(Status::Ok) {
            return State::Failed(protocol_violation("the greeting"));
        }
        match self.stage {
            Stage::Cleartext => {
                self.say(&[TAG, " STARTTLS"]);
                State::StartTls
            }
            Stage::Implicit | Stage::Upgraded => {
                self.capabilities = imap::capabilities(unit);
                match self.capabilities {
                    Some(_) => State::SendAuthenticate,
                    None => State::SendCapability,
                }
            }
        }
    }

    fn begin(&mut self) -> State {
        let listed = self.capabilities.as_deref().unwrap_or_default();
        let mechanism = self.login.mechanism.name();
        if listed
            .iter()
            .any(|name| name.eq_ignore_ascii_case("SASL-IR"))
        {
            let response = self.login.response();
            self.say(&[TAG, " AUTHENTICATE ", mechanism, " ", response.expose()]);
            State::Responded
        } else {
            self.say(&[TAG, " AUTHENTICATE ", mechanism]);
            State::Authenticate
        }
    }

    fn tagged(&mut self, state: State, status: Status, text: &Bytes) -> State {
        match (state, status) {
            (State::StartTls, Status::Ok) if self.input.is_empty() => State::Encrypt,
            (State::StartTls, Status::Ok) => State::Failed(injected()),
            (State::StartTls, _) => State::Failed(no_starttls(&self.login.scrub(text))),
            // Capabilities are useful but not required.
            (State::Capability, _) => State::SendAuthenticate,
            (State::Responded, Status::Ok) => State::Done(Ready {
                accepted: SuccessReply {
                    untagged: std::mem::take(&mut self.untagged).into(),
                    text: text.clone(),
                },
                capabilities: self.capabilities.take(),
                leftover: self.input.take_rest(),
            }),
            (
                State::Authenticate | State::Responded | State::Acknowledged,
                Status::No | Status::Bad,
            ) => {
                let said = self.login.scrub(text);
                let temporary = said.to_ascii_uppercase();
                let temporary = ["[UNAVAILABLE]", "[LIMIT]", "[INUSE]", "[SERVERBUG]"]
                    .iter()
                    .any(|code| temporary.contains(code));
                State::Failed(classify(
                    &said,
                    if temporary {
                        Refusal::Temporary
                    } else {
                        Refusal::Final
                    },
                ))
            }
            (
                State::Greeting
                | State::Encrypt
                | State::SendCapability
                | State::SendAuthenticate
                | State::Authenticate
                | State::Acknowledged
                | State::Done(_)
                | State::Failed(_)
                | State::Finished,
                _,
            ) => State::Failed(protocol_violation("a tagged response")),
        }
    }

    fn untagged(&mut self, state: &State, line: &[u8]) {
        match state {
            State::Capability => {
                if let Some(listed) = imap::capabilities(line) {
                    self.capabilities = Some(listed);
                }
            }
            State::Authenticate | State::Responded | State::Acknowledged => {
                self.untagged.extend_from_slice(line);
                self.untagged.extend_from_slice(b"\r\n");
            }
            State::Greeting
            | State::StartTls
            | State::Encrypt
            | State::SendCapability
            | State::SendAuthenticate
            | State::Done(_)
            | State::Failed(_)
            | State::Finished => {}
        }
        if imap::is_untagged(line, "BYE") {
            self.bye = Some(self.login.scrub(line));
        }
    }

    fn response(&mut self, state: State, unit: &[u8]) -> State {
        match (state, imap::response(unit, TAG)) {
            (State::Greeting, _) => self.greeting(unit),
            (state, Some(Response::Untagged(line))) => {
                self.untagged(&state, &line);
                // Bounded, however much an upstream sends unsolicited.
                if self.untagged.len() > REPLY_CAP {
                    State::Failed(too_long())
                } else {
                    state
                }
            }
            (State::Authenticate, Some(Response::Continue(_))) => {
                let response = self.login.response();
                self.say(&[response.expose()]);
                State::Responded
            }
            (State::Responded, Some(Response::Continue(_))) => {
                self.say(&[self.login.mechanism.acknowledgement()]);
                State::Acknowledged
            }
            (state, Some(Response::Tagged(status, text))) => self.tagged(state, status, &text),
            (_, Some(Response::Continue(_)) | None) => {
                State::Failed(protocol_violation("a response"))
            }
        }
    }

    /// Processes input. `None`: output or a new state is ready.
    fn advance(&mut self) -> Option<Step<Ready>> {
        match std::mem::replace(&mut self.state, State::Finished) {
            State::SendCapability => {
                self.say(&[TAG, " CAPABILITY"]);
                self.state = State::Capability;
                None
            }
            State::SendAuthenticate => {
                self.state = self.begin();
                None
            }
            State::Encrypt => Some(Step::StartTls),
            State::Done(ready) => Some(Step::Done(ready)),
            State::Failed(fault) => Some(Step::Failed(fault)),
            State::Finished => Some(Step::Read),
            state @ (State::Greeting
            | State::StartTls
            | State::Capability
            | State::Authenticate
            | State::Responded
            | State::Acknowledged) => match self.input.fragment() {
                Ok(Some(Fragment::Whole(unit))) => {
                    self.state = self.response(state, &unit);
                    None
                }
                // A literal of a server needs no continuation request.
                Ok(Some(Fragment::Announced)) => {
                    self.state = state;
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

impl Back for Imap {
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
            State::StartTls | State::Encrypt | State::SendCapability | State::Capability => {
                AwaitedReply::Capabilities
            }
            State::SendAuthenticate
            | State::Authenticate
            | State::Responded
            | State::Acknowledged
            | State::Done(_)
            | State::Failed(_)
            | State::Finished => AwaitedReply::Authentication,
        }
    }

    fn closed(&mut self) -> Fault {
        match self.bye.take() {
            Some(said) => classify(&said, Refusal::Temporary),
            None => closed_while(self.waiting()),
        }
    }
}
