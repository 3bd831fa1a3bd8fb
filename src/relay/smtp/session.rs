//! State of one SMTP session: its input, transaction, pending replies and upstream.

#[cfg(test)]
mod tests;

use super::policy::{self, Policy, Refusal, SmtpRules};
use super::transaction::{ChunkHeader, Mail, Pending, Transaction};
use std::collections::VecDeque;

use bytes::Bytes;

use super::super::interface::{
    Action, Event, MessageOutcome, MessageReport, Out, Permit, TrackedProtocol,
};
use super::reply::ReplyScanner;
use super::sink::Sink;
use super::text::Text;
use crate::fault::{Fault, Kind, sanitize};
use crate::wire::Protocol;

/// Maximum number of pending replies; with more no command is accepted.
const MAX_PENDING: usize = 1_000;

/// Maximum size of unsent local replies, in octets; with more no command is answered.
const MAX_LOCAL_REPLIES: usize = 16 * 1024;

/// Maximum size of held client input, in octets, plus one read.
pub(super) const MAX_HELD: usize = 64 * 1024;

/// Tracker of one SMTP session.
#[derive(Debug, Default)]
pub struct Smtp {
    pub(super) rules: Box<SmtpRules>,
    pub(super) state: InputState,
    /// An incomplete command, or the first octets of a long one.
    pub(super) line: Vec<u8>,
    /// Client input held until `state` allows it.
    pub(super) held: Vec<u8>,
    /// Current transaction, as established by replies.
    pub(super) transaction: Option<Transaction>,
    /// Whether a permit is held or requested.
    pub(super) permit: bool,
    pub(super) reply: ReplyScanner,
    /// Whether the current reply is hidden from the client.
    pub(super) hides_reply: bool,
    pub(super) pending: VecDeque<Pending>,
    pub(super) upstream: UpstreamState,
    /// Octets of local replies that the client may not have received.
    local_replies: usize,
    pub(super) closing_announced: bool,
    /// Whether a message was cut off, after which nothing more is sent to the upstream.
    pub(super) aborted: bool,
    /// Whether the session can no longer be tracked, so that octets pass uninspected.
    pub(super) untracked: bool,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) enum UpstreamState {
    /// Logged in as the account's mailbox.
    #[default]
    Fixed,
    /// No connection; the next MAIL decides which to open.
    None,
    /// Logged in as this sender's mailbox.
    Sender(String),
}

/// Part of the protocol to which the client's next octet belongs.
#[derive(Debug, Default)]
pub(super) enum InputState {
    #[default]
    Command,
    /// A command too long to be parsed, and whether its last octet is CR. Forwarded, or under rules
    /// refused at its end.
    LongLine(bool),
    /// A MAIL or BDAT, held until the replies it depends on arrive.
    Blocked(Vec<u8>),
    /// DATA was sent; its reply decides what follows.
    AwaitingDataReply,
    /// A MAIL that waits for its sender's upstream.
    AwaitingUpstream(Box<Mail>),
    AwaitingPermit(Box<Mail>),
    Data(Box<Text>),
    /// Inside a chunk.
    Chunk {
        /// Remaining octets.
        left: u64,
        /// Whether the chunk was refused locally.
        discard: bool,
    },
    /// Beginning of a chunk that contains part of the header.
    ChunkHeader(Box<ChunkHeader>),
    /// Remainder of a message that was cut off, and the reply at its end.
    DiscardText(Box<Text>, &'static str),
    /// Nothing: the session ends.
    Over,
}

impl InputState {
    /// State with `left` octets of a chunk to come.
    pub(super) fn chunk(left: u64, discard: bool) -> Self {
        match left {
            0 => Self::Command,
            left => Self::Chunk { left, discard },
        }
    }
}

impl Smtp {
    pub(in crate::relay) fn new(rules: SmtpRules) -> Self {
        let upstream = match rules.by_sender {
            None => UpstreamState::Fixed,
            Some(_) => UpstreamState::None,
        };
        Self {
            rules: Box::new(rules),
            upstream,
            ..Self::default()
        }
    }
}

impl TrackedProtocol for Smtp {
    fn protocol(&self) -> Protocol {
        Protocol::Smtp
    }

    fn on_client(&mut self, octets: &[u8], out: Out<'_>) {
        self.parse(octets, &mut Sink::new(out));
    }

    fn on_upstream(&mut self, octets: &[u8], out: Out<'_>) {
        self.relay_replies(octets, &mut Sink::new(out));
    }

    fn at_reply_boundary(&self) -> bool {
        !self.untracked && !self.reply.is_open()
    }

    fn is_idle(&self) -> bool {
        self.at_reply_boundary()
            && self.pending.is_empty()
            && matches!(self.state, InputState::Command)
            && self.line.is_empty()
            && self.held.is_empty()
            && self.transaction.as_ref().is_none_or(|now| !now.chunks)
    }

    fn closing_announced(&self) -> bool {
        self.closing_announced
    }
}

/// Events and queries of SMTP only: permits, held input, messages in progress.
impl Smtp {
    /// Handles the end of the client's direction. An incomplete command is forwarded only without
    /// rules.
    pub(in crate::relay) fn on_client_ended(&mut self, out: Out<'_>) {
        if !self.is_ruled() && self.held.is_empty() && matches!(self.state, InputState::Command) {
            Sink::new(out).text(&self.line);
        }
        self.line = Vec::new();
    }

    /// Records the messages without final reply when the session ends.
    pub(in crate::relay) fn on_end(&mut self, out: Out<'_>) {
        // The message is in flight until the upstream connection is closed; the permit is released
        // then.
        self.permit = false;
        self.record_unfinished(None, &mut Sink::new(out));
    }

    /// Records that everything sent to the client so far was accepted.
    pub(in crate::relay) fn on_client_flushed(&mut self, out: Out<'_>) {
        if self.local_replies > 0 {
            self.local_replies = 0;
            self.resume(&mut Sink::new(out));
        }
    }

    /// Handles the result of [`Action::RequestPermit`].
    pub(in crate::relay) fn on_permit(&mut self, permit: Permit, out: Out<'_>) {
        let mut sink = Sink::new(out);
        match std::mem::take(&mut self.state) {
            InputState::AwaitingPermit(mail) => {
                self.permit = permit == Permit::Granted;
                match permit {
                    Permit::Granted => self.send_mail(*mail, &mut sink),
                    Permit::TooMany => {
                        let why = "more messages a minute than the mailbox or the account may send";
                        self.refuse((policy::RATE, Some(why.into())), &mut sink);
                    }
                    Permit::Full => {
                        let fault = Fault::new(
                            Kind::Full,
                            "as many messages of the mailbox were in flight as the mail service allows",
                        )
                        .with_remedy("let the application send fewer messages at once, or from several mailboxes");
                        self.answer_fault(fault, &mut sink);
                    }
                }
            }
            state => self.state = state,
        }
        self.resume(&mut sink);
    }

    /// Handles a login to the upstream by [`Action::OpenUpstream`].
    pub(in crate::relay) fn on_upstream_opened(&mut self, out: Out<'_>) {
        let mut sink = Sink::new(out);
        self.reply = ReplyScanner::default();
        match std::mem::take(&mut self.state) {
            InputState::AwaitingUpstream(mail) => {
                self.upstream = UpstreamState::Sender(mail.sender.named.to_lowercase());
                self.send_mail(*mail, &mut sink);
            }
            state => self.state = state,
        }
        self.resume(&mut sink);
    }

    /// Handles a failed login by [`Action::OpenUpstream`].
    pub(in crate::relay) fn on_upstream_refused(&mut self, fault: Fault, out: Out<'_>) {
        if matches!(self.state, InputState::AwaitingUpstream(_)) {
            let mut sink = Sink::new(out);
            self.state = InputState::Command;
            self.release(&mut sink);
            self.answer_fault(fault, &mut sink);
            self.resume(&mut sink);
        }
    }

    /// Handles the loss of an upstream that is not needed at the moment.
    pub(in crate::relay) fn on_upstream_lost(&mut self, out: Out<'_>) {
        out(Action::DropUpstream);
        self.forget_upstream(&mut Sink::new(out));
    }

    /// Whether rules apply, so that some commands are answered here.
    pub(in crate::relay) fn is_ruled(&self) -> bool {
        let rules = &self.rules;
        rules.policy.is_some() || rules.rate_limited || rules.by_sender.is_some()
    }

    /// Whether no more client input is accepted.
    pub(in crate::relay) fn is_full(&self) -> bool {
        matches!(self.state, InputState::Over) || self.held.len() >= MAX_HELD
    }

    /// Whether client input is held until a reply or a permit arrives.
    pub(in crate::relay) fn holds_input(&self) -> bool {
        let blocked = matches!(self.state, InputState::Blocked(_));
        !self.held.is_empty() || blocked || self.is_waiting()
    }

    /// Whether a MAIL waits and the client has sent nothing after it.
    pub(in crate::relay) fn is_waiting_alone(&self) -> bool {
        self.held.is_empty() && self.is_waiting()
    }

    /// Whether a MAIL waits for its permit or its upstream, which have deadlines of their own.
    pub(in crate::relay) fn is_waiting(&self) -> bool {
        matches!(
            self.state,
            InputState::AwaitingUpstream(_) | InputState::AwaitingPermit(_)
        )
    }

    /// Whether the session has an upstream connection; without one the next MAIL opens it.
    pub(in crate::relay) fn has_upstream(&self) -> bool {
        self.upstream != UpstreamState::None
    }

    /// Whether the session is between two messages and each MAIL opens its own upstream.
    pub(in crate::relay) fn goes_on_without_upstream(&self) -> bool {
        self.rules.by_sender.is_some()
            && self.transaction.is_none()
            && self.pending.iter().all(Pending::is_local)
            && !self.is_receiving()
            && !matches!(self.state, InputState::AwaitingDataReply)
    }

    /// Whether a message was cut off, after which the upstream is neither written to nor read.
    pub(in crate::relay) fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// Whether the session must end; the client already has its reply.
    pub(in crate::relay) fn is_over(&self) -> bool {
        matches!(self.state, InputState::Over) && (self.aborted || self.pending.is_empty())
    }

    /// Whether the client is sending a message.
    pub(in crate::relay) fn is_receiving(&self) -> bool {
        matches!(
            self.state,
            InputState::Data(_)
                | InputState::Chunk { .. }
                | InputState::ChunkHeader(_)
                | InputState::DiscardText(..)
        )
    }

    /// Whether a message's text ends with a lone dot and a line end on either side of it is LF
    /// only.
    pub(in crate::relay) fn waits_behind_bare_line_end(&self) -> bool {
        match &self.state {
            InputState::Data(text) | InputState::DiscardText(text, _) => {
                text.waits_behind_bare_line_end()
            }
            _ => false,
        }
    }
}

impl Smtp {
    pub(super) fn policy(&self) -> Option<&Policy> {
        self.rules.policy.as_ref()
    }

    /// Whether client input has to wait.
    pub(super) fn is_blocked(&self) -> bool {
        match &self.state {
            _ if self.untracked => false,
            InputState::Blocked(_)
            | InputState::AwaitingDataReply
            | InputState::AwaitingUpstream(_)
            | InputState::AwaitingPermit(_)
            | InputState::Over => true,
            InputState::Command
            | InputState::LongLine(_)
            | InputState::Data(_)
            | InputState::Chunk { .. }
            | InputState::ChunkHeader(_)
            | InputState::DiscardText(..) => {
                self.pending.len() >= MAX_PENDING || self.local_replies >= MAX_LOCAL_REPLIES
            }
        }
    }

    /// Sends a local reply after the pending replies.
    pub(super) fn answer(&mut self, text: &'static str, sink: &mut Sink<'_>) {
        self.answer_with(Pending::Local(Bytes::from_static(text.as_bytes())), sink);
    }

    /// Replies with a fault and records it. The session continues, which 421 would end (RFC 5321
    /// §3.8).
    fn answer_fault(&mut self, fault: Fault, sink: &mut Sink<'_>) {
        let text = fault.reply(Protocol::Smtp, None).text;
        let text = match text.strip_prefix(b"421") {
            Some(rest) => [b"451", rest].concat().into(),
            None => text,
        };
        self.answer_with(Pending::Local(text), sink);
        sink.act(Action::Record(Event::Fault(fault)));
    }

    pub(super) fn answer_with(&mut self, reply: Pending, sink: &mut Sink<'_>) {
        self.pending.push_back(reply);
        self.answer_due(sink);
    }

    /// Sends the local replies that are next in order.
    pub(super) fn answer_due(&mut self, sink: &mut Sink<'_>) {
        while !self.reply.is_open()
            && let Some(reply) = self.pending.pop_front_if(|reply| reply.is_local())
        {
            let text = match reply {
                Pending::Local(text) => text,
                Pending::LocalRejection(text, size) => {
                    self.end_message(size, MessageOutcome::Rejected, Some(text), sink);
                    Bytes::from_static(text.as_bytes())
                }
                _ => continue,
            };
            self.closing_announced |= text == policy::GOODBYE;
            self.local_replies = self.local_replies.saturating_add(text.len());
            sink.client(&text);
        }
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
    }

    /// Ends the message and its transaction. Releases the permit unless the upstream still has the
    /// message.
    pub(super) fn end_message(
        &mut self,
        size: u64,
        outcome: MessageOutcome,
        reply: Option<&str>,
        sink: &mut Sink<'_>,
    ) {
        let transaction = self.transaction.take().unwrap_or_default();
        sink.act(Action::Record(Event::Message(MessageReport {
            from: transaction.sender.sent,
            to: transaction.to,
            size,
            reply: reply.map(|reply| sanitize(reply.trim_end())),
            outcome,
        })));
        if !self.pending.contains(&Pending::Discarded) && !self.aborted {
            self.release(sink);
        }
    }

    /// Ends the transaction without a message.
    pub(super) fn end_transaction(&mut self, sink: &mut Sink<'_>) {
        self.transaction = None;
        self.release(sink);
    }

    pub(super) fn release(&mut self, sink: &mut Sink<'_>) {
        if std::mem::take(&mut self.permit) {
            sink.act(Action::ReleasePermit);
        }
    }

    /// Replies to a command that is refused, and records why if the policy refuses it.
    pub(super) fn refuse(&mut self, (text, why): Refusal, sink: &mut Sink<'_>) {
        self.answer(text, sink);
        if let Some(why) = why {
            self.record_refusal(&why, sink);
        }
    }

    pub(super) fn record_refusal(&mut self, what: &str, sink: &mut Sink<'_>) {
        let detail = format!("the account's policy refuses a message: {what}");
        let fault = Fault::new(Kind::Message, detail).with_remedy(
            "let the application send only what the policy allows, or change the account's smtp section",
        );
        sink.act(Action::Record(Event::Fault(fault)));
    }

    /// Gives up tracking. Octets pass from now on, and messages without final reply are recorded as
    /// unknown.
    pub(super) fn lose_track(&mut self, why: &str, sink: &mut Sink<'_>) {
        if self.untracked {
            return;
        }
        self.untracked = true;
        let detail = format!(
            "the session cannot be followed any more ({why}): messages of it are recorded as unknown"
        );
        let fault = Fault::new(Kind::MessageRefused, detail).with_remedy(
            "the mail service and the application disagree on what was said; look at what the application sends",
        );
        sink.act(Action::Record(Event::Fault(fault)));
        // An incomplete command is forwarded now; of a long one the beginning already was.
        let line = std::mem::take(&mut self.line);
        if matches!(self.state, InputState::Command) {
            sink.text(&line);
        }
        self.record_unfinished(Some("unknown"), sink);
        sink.text(&std::mem::take(&mut self.held));
    }

    /// Ends the transaction. A message whose chunks were sent is recorded as lost.
    fn lose_transaction(&mut self, reply: Option<&'static str>, sink: &mut Sink<'_>) {
        let begun = self.transaction.as_ref().filter(|now| now.chunks);
        match begun.map(|now| now.size) {
            Some(size) => self.end_message(size, MessageOutcome::Lost, reply, sink),
            None => self.end_transaction(sink),
        }
    }

    /// Records the messages without final reply.
    fn record_unfinished(&mut self, reply: Option<&'static str>, sink: &mut Sink<'_>) {
        let state = std::mem::take(&mut self.state);
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Mail(sender) => {
                    self.lose_transaction(reply, sink);
                    self.transaction = Some(Transaction::new(sender));
                }
                Pending::Text(size) => self.end_message(size, MessageOutcome::Lost, reply, sink),
                Pending::Chunk { octets, last: true } => {
                    self.end_message(self.size_with(octets), MessageOutcome::Lost, reply, sink);
                }
                Pending::Chunk { octets, .. } => self.on_chunk(self.size_with(octets)),
                Pending::Reset => self.lose_transaction(reply, sink),
                Pending::LocalRejection(text, size) => {
                    self.end_message(size, MessageOutcome::Rejected, Some(text), sink);
                }
                Pending::Rcpt(_)
                | Pending::Data
                | Pending::Other
                | Pending::UnclearChunk
                | Pending::Local(_)
                | Pending::Discarded => {}
            }
        }
        if let InputState::Data(text) | InputState::DiscardText(text, _) = &state {
            self.end_message(text.size(), MessageOutcome::Lost, reply, sink);
        }
        self.lose_transaction(reply, sink);
        self.state = InputState::Command;
    }
}
