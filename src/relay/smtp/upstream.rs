//! Upstream side of an SMTP session: replies, and their effects on the transaction.

use std::collections::VecDeque;
use std::time::Duration;

use super::header::HeaderRewriter;
use super::reply::ReplyScanner;
use super::session::{InputState, Smtp};
use super::sink::Sink;
use super::text::Text;
use super::transaction::{Pending, Transaction};
use crate::fault::{Fault, Kind, suggested_backoff};
use crate::relay::interface::{Action, Event, MessageOutcome};

/// Maximum number of recipients recorded per message; Exchange allows 1,000.
const RECIPIENTS: usize = 2_000;

/// Backoff of a mailbox after a 432 reply that names no time.
const CROWDED: Duration = Duration::from_secs(10);

impl Smtp {
    /// Forwards the upstream's octets, and handles each reply that they complete.
    pub(super) fn relay_replies(&mut self, octets: &[u8], sink: &mut Sink<'_>) {
        // The octets from `start` to `at` are forwarded in as few pieces as possible.
        let (mut start, mut at) = (0, 0);
        while at < octets.len() && !self.untracked {
            if !self.reply.is_open() {
                self.hides_reply = match self.pending.front() {
                    Some(pending) if !pending.is_local() => *pending == Pending::Discarded,
                    // An unsolicited reply between two messages.
                    _ => self.goes_on_without_upstream(),
                };
            }
            let hidden = self.hides_reply;
            let (taken, complete) = self.reply.take(octets.get(at..).unwrap_or_default());
            if hidden {
                sink.client(octets.get(start..at).unwrap_or_default());
                start = at + taken;
            }
            at += taken;
            if !complete {
                continue;
            }
            let reply = std::mem::take(&mut self.reply);
            self.on_reply(&reply, sink);
            // The upstream closes during a transaction, and the session ends with it.
            self.closing_announced |= reply.code() == b"421" && self.transaction.is_some();
            if self.pending.front().is_some_and(Pending::is_local) || self.holds_input() {
                sink.client(octets.get(start..at).unwrap_or_default());
                start = at;
                self.answer_due(sink);
                self.resume(sink);
            }
        }
        sink.client(octets.get(start..).unwrap_or_default());
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
    }

    /// Handles a complete reply of the upstream.
    fn on_reply(&mut self, reply: &ReplyScanner, sink: &mut Sink<'_>) {
        let code = reply.code();
        if self.rules.by_sender.is_none() {
            self.closing_announced |= matches!(code, b"221" | b"421");
        }
        if !reply.succeeds() && code != b"354" {
            let suggested = suggested_backoff(&reply.text()).map(Duration::from_millis);
            let crowded = (code == b"432").then_some(CROWDED);
            if let Some(time) = suggested.or(crowded) {
                sink.act(Action::BackOff(time));
            }
        }
        let Some(pending) = self.pending.pop_front_if(|pending| !pending.is_local()) else {
            // An unsolicited reply, which answers no command.
            if code == b"421" && self.goes_on_without_upstream() {
                sink.act(Action::DropUpstream);
                self.forget_upstream(sink);
            }
            return;
        };
        self.record_upstream_refusal(&pending, reply, sink);
        match pending {
            Pending::Mail(sender) if reply.succeeds() => {
                self.transaction = Some(Transaction::new(sender));
            }
            Pending::Mail(_) if self.transaction.is_none() => self.release(sink),
            Pending::Rcpt(to) if reply.succeeds() => {
                if let Some(transaction) = &mut self.transaction
                    && transaction.to.len() < RECIPIENTS
                {
                    transaction.to.push(to);
                }
            }
            Pending::Data => self.on_data_reply(reply, sink),
            Pending::Text(size) => self.on_final_reply(size, reply, sink),
            Pending::Chunk { octets, last } => self.on_chunk_reply(octets, last, reply, sink),
            Pending::Reset if reply.succeeds() => self.end_transaction(sink),
            Pending::Discarded => self.end_transaction(sink),
            Pending::UnclearChunk if !reply.is_permanent() => {
                self.on_chunk(self.size_with(0));
                self.lose_track("a BDAT was taken that is none", sink);
            }
            // A second TLS layer was agreed on. Under rules no client can have requested it.
            Pending::Other if code == b"220" && !self.is_ruled() => {
                self.lose_track("TLS was started", sink);
            }
            Pending::Mail(_)
            | Pending::Rcpt(_)
            | Pending::Reset
            | Pending::Other
            | Pending::UnclearChunk
            | Pending::Local(_)
            | Pending::LocalRejection(..) => {}
        }
    }

    fn on_data_reply(&mut self, reply: &ReplyScanner, sink: &mut Sink<'_>) {
        if reply.code() == b"354" {
            let header = self.header(true);
            let text = Text::new(header, self.rules.repair_line_ends);
            self.state = InputState::Data(Box::new(text));
            return;
        }
        if matches!(self.state, InputState::AwaitingDataReply) {
            self.state = InputState::Command;
        }
        // 503: no recipients or no transaction. The client may continue with RCPT.
        if reply.code() != b"503" {
            self.reject_message(0, reply, sink);
        }
    }

    fn on_final_reply(&mut self, size: u64, reply: &ReplyScanner, sink: &mut Sink<'_>) {
        match reply.succeeds() {
            true => self.end_message(size, MessageOutcome::Accepted, Some(&reply.text()), sink),
            false => self.reject_message(size, reply, sink),
        }
    }

    fn on_chunk_reply(
        &mut self,
        octets: u64,
        last: bool,
        reply: &ReplyScanner,
        sink: &mut Sink<'_>,
    ) {
        let size = self.size_with(octets);
        match reply.code() {
            // The command was not understood, so the upstream takes the chunk for commands.
            b"500" | b"501" | b"502" | b"504" => {
                self.reject_message(size, reply, sink);
                match self.is_ruled() {
                    true => self.state = InputState::Over,
                    false => self.lose_track("BDAT was not understood", sink),
                }
            }
            b"503" => {}
            _ if last => self.on_final_reply(size, reply, sink),
            _ if reply.succeeds() => self.on_chunk(size),
            _ => self.reject_message(size, reply, sink),
        }
    }

    /// Ends the message that the upstream rejects, unless it had refused MAIL.
    fn reject_message(&mut self, size: u64, reply: &ReplyScanner, sink: &mut Sink<'_>) {
        if self.transaction.is_some() {
            self.end_message(size, MessageOutcome::Rejected, Some(&reply.text()), sink);
        }
    }

    /// Creates the rewriter for a message that begins, if its header must be rewritten.
    pub(super) fn header(&self, dots: bool) -> Option<HeaderRewriter> {
        let mailbox = self.policy()?.from.as_deref()?;
        let sender = self
            .transaction
            .as_ref()
            .map_or("", |now| &now.sender.named);
        Some(HeaderRewriter::new(mailbox, sender, dots))
    }

    /// Records that the mail service permanently refused MAIL, RCPT or a message.
    fn record_upstream_refusal(
        &self,
        pending: &Pending,
        reply: &ReplyScanner,
        sink: &mut Sink<'_>,
    ) {
        let code = reply.code();
        // Syntax and sequence errors concern the dialogue, not the message.
        if !reply.is_permanent() || code.starts_with(b"50") {
            return;
        }
        let transaction = self.transaction.as_ref();
        let (from, to) = match (pending, transaction) {
            (Pending::Mail(sender), _) => (sender.sent.as_str(), None),
            (Pending::Rcpt(to), _) => (transaction.map_or("", |now| &now.sender.sent), Some(to)),
            (Pending::Data | Pending::Text(_) | Pending::Chunk { .. }, Some(now)) => {
                (now.sender.sent.as_str(), now.to.first())
            }
            _ => return,
        };
        let to = to.map(|to| format!(" to <{to}>")).unwrap_or_default();
        let detail = format!(
            "the mail service refused a message from <{from}>{to}: {}",
            reply.text()
        );
        let fault = Fault::new(Kind::MessageRefused, detail);
        sink.act(Action::Record(Event::Fault(fault)));
    }
}
