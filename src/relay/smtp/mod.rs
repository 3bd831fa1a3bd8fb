//! SMTP followed in passing (RFC 5321, RFC 2920, RFC 3030): which replies are due, which messages
//! are under way, and, where there is a [`Gate`], what may go up at all.
//!
//! Without a gate every octet has gone on before it is looked at. With one, commands go up as
//! whole lines, DATA's reply is awaited before what follows it is taken for a message or for
//! commands, and replies of ours take their place among the upstream's. The contents of messages
//! are never copied but for a header that is rewritten. No clock, no socket: `relay::pump` drives.

mod header;
mod policy;
#[cfg(test)]
mod tests;
mod up;

use std::collections::VecDeque;
use std::time::Duration;

pub use policy::Policy;

use super::envelope::{Envelope, Message, Outcome};
use super::framing::Dots;
use crate::fault::{Fault, Kind, suggested_backoff};
use header::Header;

/// Replies that may be due before we lose track.
const DUE: usize = 10_000;

/// Replies that may be due before a gate takes no more commands, and those of which addresses are
/// remembered.
const DUE_GATED: usize = 1_000;

/// Octets of replies of ours that wait for the client before a gate takes no more commands.
const OURS: usize = 16 * 1024;

/// Octets of a reply that are looked at.
const REPLY: usize = 1024;

/// How long a mailbox is left alone after 432 without a time.
const CROWDED: Duration = Duration::from_secs(10);

/// What stands between a client and its mail service.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    /// What the account may send.
    pub policy: Option<Policy>,
    /// Whether each MAIL waits for its turn.
    pub paced: bool,
}

/// What goes on, in order.
pub(super) type Out<'a> = &'a mut dyn FnMut(&[u8]);

/// Where the two directions stand.
#[derive(Debug, Default)]
pub struct Smtp {
    gate: Option<Box<Gate>>,
    /// A command that is not complete.
    line: Vec<u8>,
    /// Its octets, of which `line` may have the first alone.
    length: usize,
    phase: Phase,
    /// Octets of the client that wait for what the phase waits for.
    held: Vec<u8>,
    /// Replies of ours that are due at once.
    ours: Vec<u8>,
    /// What was passed on since MAIL; a gate with a policy alone looks at it.
    transaction: Option<Transaction>,
    chunks: Option<Chunks>,
    reply: Reply,
    due: VecDeque<Due>,
    envelope: Option<Envelope>,
    ended: Vec<Message>,
    faults: Vec<Fault>,
    backoff: Option<Duration>,
    goodbye: bool,
    /// The upstream may get nothing more: a message was cut off.
    cut: bool,
    /// Nothing is known any more.
    lost: bool,
}

/// What the client's next octet belongs to.
#[derive(Debug, Default)]
enum Phase {
    #[default]
    Command,
    /// A command too long to be looked at; whether it goes on all the same.
    LongLine {
        passes: bool,
    },
    /// DATA went up: its reply decides.
    Asked,
    /// MAIL waits for its turn.
    Waiting(Box<Waiting>),
    Data(Box<Text>),
    /// So many octets of a chunk.
    Chunk(u64),
    /// The beginning of a chunk in which the header has not ended.
    ChunkHeader(Box<ChunkHeader>),
    /// So many octets of a chunk that was refused.
    Swallow(u64),
    /// A message that was cut off, up to its end.
    Discard(Box<Discard>),
    /// The session ends.
    Over,
}

#[derive(Debug)]
struct Waiting {
    line: Vec<u8>,
    due: Due,
    sender: String,
}

/// A message by DATA.
#[derive(Debug)]
struct Text {
    dots: Dots,
    header: Option<Header>,
}

#[derive(Debug)]
struct ChunkHeader {
    left: u64,
    last: bool,
    /// What goes up instead of what came.
    rewritten: Vec<u8>,
}

#[derive(Debug)]
struct Discard {
    dots: Dots,
    reply: &'static str,
}

/// A transaction as it was passed on.
#[derive(Debug, Default)]
struct Transaction {
    /// As MAIL named it.
    sender: String,
    recipients: u32,
}

/// A message by BDAT.
#[derive(Debug, Default)]
struct Chunks {
    size: u64,
    /// The last of them was announced.
    last: bool,
    header: Option<Header>,
}

/// What a reply that is due answers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    /// MAIL with this sender.
    Mail(String),
    /// RCPT with this recipient.
    Rcpt(String),
    /// DATA: 354 begins a message.
    Data,
    /// A message's end, by DATA or BDAT LAST, and its size: its final reply.
    Message(u64),
    /// What ends a transaction.
    Reset,
    Other,
    /// Nothing of the upstream's: said by us in its turn.
    Ours(&'static str),
    /// The same, where it ends a message of this size.
    Refused(&'static str, u64),
    /// A command of ours, of whose reply the client hears nothing.
    Swallowed,
}

impl Due {
    fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_) | Self::Refused(..))
    }
}

/// What a command is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Mail,
    Rcpt,
    Data,
    Bdat,
    /// EHLO, HELO, RSET.
    Reset,
    /// Known, and carries no message.
    Harmless,
    /// Was done: AUTH, STARTTLS.
    Auth,
    Other,
}

impl Command {
    fn of(line: &[u8]) -> Self {
        let verb = line
            .split(|octet| octet.is_ascii_whitespace())
            .next()
            .unwrap_or_default();
        match verb.to_ascii_uppercase().as_slice() {
            b"MAIL" => Self::Mail,
            b"RCPT" => Self::Rcpt,
            b"DATA" => Self::Data,
            b"BDAT" => Self::Bdat,
            b"EHLO" | b"HELO" | b"RSET" => Self::Reset,
            b"NOOP" | b"QUIT" | b"VRFY" | b"EXPN" | b"HELP" => Self::Harmless,
            b"AUTH" | b"STARTTLS" => Self::Auth,
            _ => Self::Other,
        }
    }
}

/// The beginning of a reply, all its lines together.
#[derive(Debug, Default)]
struct Reply {
    text: Vec<u8>,
    /// Where its last line begins, as far as that is known.
    code: [u8; 4],
    /// Octets of its last line.
    column: usize,
    /// It is in the middle.
    open: bool,
}

impl Reply {
    /// Takes bytes up to a line's end. Returns how many were taken and whether the line is
    /// complete.
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        let (taken, complete) = match memchr::memchr(b'\n', bytes) {
            Some(at) => (at + 1, true),
            None => (bytes.len(), false),
        };
        let part = bytes.get(..taken).unwrap_or_default();
        if self.column == 0 {
            self.code = *b"   \n";
        }
        for (slot, octet) in self.code.iter_mut().skip(self.column).zip(part) {
            *slot = *octet;
        }
        self.column += taken;
        self.open = true;
        let room = REPLY.saturating_sub(self.text.len()).min(taken);
        self.text
            .extend_from_slice(part.get(..room).unwrap_or_default());
        (taken, complete)
    }

    /// At the end of a line: whether it was the last.
    fn is_whole(&self) -> bool {
        self.code.last() != Some(&b'-')
    }

    fn code(&self) -> &[u8] {
        self.code.get(..3).unwrap_or_default()
    }

    fn succeeds(&self) -> bool {
        self.code.first() == Some(&b'2')
    }

    /// In one line.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.text);
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        lines.join(" / ")
    }
}

impl Smtp {
    /// Of a session that was just logged in.
    pub fn new(gate: Option<Gate>) -> Self {
        Self {
            gate: gate
                .filter(|gate| gate.paced || gate.policy.is_some())
                .map(Box::new),
            ..Self::default()
        }
    }

    fn policy(&self) -> Option<&Policy> {
        self.gate.as_ref()?.policy.as_ref()
    }

    fn awaits(&mut self, mut due: Due) {
        if let Due::Mail(address) | Due::Rcpt(address) = &mut due
            && self.due.len() >= DUE_GATED
        {
            *address = String::new();
        }
        self.due.push_back(due);
        self.lost = self.lost || self.due.len() > DUE;
    }

    /// Says something ourselves, once the replies before it have been.
    fn answer(&mut self, text: &'static str) {
        self.say(Due::Ours(text));
    }

    fn say(&mut self, due: Due) {
        if self.due.is_empty() && !self.reply.open {
            let text = self.said(due);
            self.ours.extend_from_slice(text.as_bytes());
        } else {
            self.due.push_back(due);
        }
    }

    /// What is said in the turn of a reply of ours.
    fn said(&mut self, due: Due) -> &'static str {
        match due {
            Due::Ours(text) => text,
            Due::Refused(text, size) => {
                let envelope = self.envelope.take().unwrap_or_default();
                self.end(envelope.ended(size, Outcome::Rejected, Some(text.trim_end())));
                text
            }
            Due::Mail(_)
            | Due::Rcpt(_)
            | Due::Data
            | Due::Message(_)
            | Due::Reset
            | Due::Other
            | Due::Swallowed => "",
        }
    }

    fn end(&mut self, message: Message) {
        self.ended.push(message);
    }

    fn refused(&mut self, what: impl AsRef<str>) {
        let fault = Fault::new(
            Kind::Message,
            format!("the account's policy refuses a message: {}", what.as_ref()),
        );
        self.faults.push(fault.remedy_is(
            "let the application send as the policy allows, or change the account's smtp section",
        ));
    }

    pub(super) fn down(&mut self, bytes: &[u8], out: Out<'_>) {
        if !self.ours.is_empty() && !self.reply.open {
            out(&self.take_ours());
        }
        if self.lost {
            return out(bytes);
        }
        // Everything from `start` to `at` goes on, in as few pieces as can be.
        let (mut start, mut at) = (0, 0);
        while at < bytes.len() && !self.lost {
            let swallowed = self.due.front() == Some(&Due::Swallowed);
            let (taken, complete) = self.reply.take(bytes.get(at..).unwrap_or_default());
            if swallowed {
                pass(bytes, start, at, out);
                start = at + taken;
            }
            at += taken;
            if !complete {
                break;
            }
            self.reply.column = 0;
            if !self.reply.is_whole() {
                continue;
            }
            let reply = std::mem::take(&mut self.reply);
            self.replied(&reply);
            while let Some(due) = self.due.pop_front_if(|due| due.is_ours()) {
                pass(bytes, start, at, out);
                start = at;
                out(self.said(due).as_bytes());
            }
        }
        pass(bytes, start, bytes.len(), out);
        if self.due.is_empty() {
            self.due = VecDeque::new();
        }
    }

    /// A reply of the upstream is complete.
    fn replied(&mut self, reply: &Reply) {
        let code = reply.code();
        self.goodbye = self.goodbye || matches!(code, b"221" | b"421");
        // TLS within TLS was agreed on; where there is a policy, nobody can have asked for it.
        self.lost = self.lost || (code == b"220" && self.policy().is_none());
        if !reply.succeeds() && code != b"354" {
            let suggested = || suggested_backoff(&reply.text()).map(Duration::from_millis);
            if code == b"432" {
                self.backoff = Some(suggested().unwrap_or(CROWDED));
            } else if let Some(backoff) = suggested() {
                self.backoff = Some(backoff);
            }
        }
        // Said unasked: what is next in turn is not answered by it.
        if self.due.front().is_some_and(Due::is_ours) {
            return;
        }
        match self.due.pop_front().unwrap_or(Due::Other) {
            Due::Mail(from) if reply.succeeds() => self.envelope = Some(Envelope::of(from)),
            Due::Rcpt(to) if reply.succeeds() => {
                if let Some(envelope) = &mut self.envelope {
                    envelope.add(to);
                }
            }
            Due::Data => self.data_replied(code == b"354"),
            Due::Message(size) => {
                let outcome = match reply.succeeds() {
                    true => Outcome::Accepted,
                    false => Outcome::Rejected,
                };
                match self.envelope.take() {
                    // There was none: the upstream refused MAIL, and all that followed it.
                    None if outcome == Outcome::Rejected => {}
                    envelope => {
                        let envelope = envelope.unwrap_or_default();
                        self.end(envelope.ended(size, outcome, Some(&reply.text())));
                    }
                }
            }
            Due::Reset if reply.succeeds() => self.envelope = None,
            Due::Mail(_)
            | Due::Rcpt(_)
            | Due::Reset
            | Due::Other
            | Due::Swallowed
            | Due::Ours(_)
            | Due::Refused(..) => {}
        }
    }

    fn data_replied(&mut self, goes_on: bool) {
        if goes_on {
            let header = self.header(true);
            self.phase = Phase::Data(Box::new(Text {
                dots: Dots::new(),
                header,
            }));
        } else if matches!(self.phase, Phase::Asked) {
            self.phase = Phase::Command;
        }
    }

    /// The header of a message that begins, if it is to be rewritten.
    fn header(&self, dots: bool) -> Option<Header> {
        let mailbox = self.policy()?.from.as_deref()?;
        let sender = self.transaction.as_ref().map_or("", |now| &now.sender);
        Some(Header::new(mailbox, sender, dots))
    }

    /// Whether it stands between, rather than beside.
    pub(super) fn is_gated(&self) -> bool {
        self.gate.is_some()
    }

    /// Whether MAIL waits for [`Smtp::leave`].
    pub(super) fn asks(&self) -> bool {
        matches!(self.phase, Phase::Waiting(_))
    }

    /// Whether bytes of the client are welcome; those that come all the same are held.
    pub(super) fn wants_input(&self) -> bool {
        self.held.is_empty() && !self.is_blocked()
    }

    /// Whether [`Smtp::settle`] has something to do.
    pub(super) fn is_owing(&self) -> bool {
        !self.ours.is_empty() || (!self.held.is_empty() && !self.is_blocked())
    }

    fn is_blocked(&self) -> bool {
        self.gate.is_some()
            && !self.lost
            && (matches!(self.phase, Phase::Asked | Phase::Waiting(_) | Phase::Over)
                || self.due.len() >= DUE_GATED
                || self.ours.len() >= OURS)
    }

    /// What we have to say to the client now.
    pub(super) fn take_ours(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ours)
    }

    /// Messages that came to an end since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.ended)
    }

    /// The session has ended. Whatever waits for its final reply, or is still on its way, is lost.
    pub(super) fn finish(&mut self) -> Vec<Message> {
        let mut envelope = self.envelope.take();
        for due in std::mem::take(&mut self.due) {
            match due {
                Due::Mail(from) => envelope = Some(Envelope::of(from)),
                Due::Message(size) => {
                    let envelope = envelope.take().unwrap_or_default();
                    self.end(envelope.ended(size, Outcome::Lost, None));
                }
                Due::Reset => envelope = None,
                Due::Refused(text, size) => {
                    let envelope = envelope.take().unwrap_or_default();
                    let reply = Some(text.trim_end());
                    self.end(envelope.ended(size, Outcome::Rejected, reply));
                }
                Due::Rcpt(_) | Due::Data | Due::Other | Due::Ours(_) | Due::Swallowed => {}
            }
        }
        let under_way = match &self.phase {
            Phase::Data(text) => Some(text.dots.size()),
            Phase::Discard(discard) => Some(discard.dots.size()),
            Phase::Chunk(_)
            | Phase::ChunkHeader(_)
            | Phase::Command
            | Phase::LongLine { .. }
            | Phase::Asked
            | Phase::Waiting(_)
            | Phase::Swallow(_)
            | Phase::Over => {
                let begun = self.chunks.as_ref().filter(|chunks| !chunks.last);
                begun.map(|chunks| chunks.size)
            }
        };
        if let Some(size) = under_way {
            let envelope = envelope.take().unwrap_or_default();
            self.end(envelope.ended(size, Outcome::Lost, None));
        }
        std::mem::take(&mut self.ended)
    }

    /// What the policy refused since the last call.
    pub(super) fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// For how long the upstream wants its mailbox left alone, if it said so.
    pub(super) fn take_backoff(&mut self) -> Option<Duration> {
        self.backoff.take()
    }

    /// A message was cut off: the upstream gets nothing more and is not heard any more.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// The session ends, once the client has what is said.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over) && (self.cut || self.due.is_empty())
    }

    /// Whether the client is sending a message.
    pub(super) fn is_receiving(&self) -> bool {
        matches!(
            self.phase,
            Phase::Data(_)
                | Phase::Chunk(_)
                | Phase::ChunkHeader(_)
                | Phase::Swallow(_)
                | Phase::Discard(_)
        )
    }

    pub(super) fn may_speak(&self) -> bool {
        !self.lost && !self.reply.open
    }

    pub(super) fn is_idle(&self) -> bool {
        self.may_speak()
            && self.due.is_empty()
            && matches!(self.phase, Phase::Command)
            && self.length == 0
            && self.held.is_empty()
            && self.ours.is_empty()
    }

    pub(super) fn said_goodbye(&self) -> bool {
        self.goodbye
    }
}

fn pass(bytes: &[u8], start: usize, end: usize, out: &mut dyn FnMut(&[u8])) {
    if let Some(piece @ [_, ..]) = bytes.get(start..end) {
        out(piece);
    }
}
