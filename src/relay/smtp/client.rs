//! Client side of an SMTP session: commands, and the octets of messages.

use super::chunk::part;
use super::policy;
use super::reply::ReplyScanner;
use super::session::{InputState, MAX_HELD, Smtp, UpstreamState};
use super::sink::Sink;
use super::transaction::{Mail, Pending, Sender, Transaction, address};
use crate::relay::framing::{has_cr, line_part, without_line_end};
use crate::relay::interface::Action;
use crate::wire::address::is_mailbox;
use crate::wire::smtp::bdat;

/// Longest command that is parsed, in octets; RFC 5321 §4.5.3.1.4 and its extensions require less.
const MAX_LINE: usize = 4096;

/// The verb of a command in upper case: what precedes the first white space.
fn verb(line: &[u8]) -> Vec<u8> {
    let verb = line.split(u8::is_ascii_whitespace).next();
    verb.unwrap_or_default().to_ascii_uppercase()
}

impl Smtp {
    /// Continues with held input as far as possible.
    pub(super) fn resume(&mut self, sink: &mut Sink<'_>) {
        if let InputState::Blocked(line) = &mut self.state {
            let line = std::mem::take(line);
            self.state = InputState::Command;
            self.ruled_command(&line, sink);
        }
        if !self.held.is_empty() && !self.is_blocked() {
            let held = std::mem::take(&mut self.held);
            self.parse(&held, sink);
        }
    }

    /// Handles octets from the client, and holds those that have to wait.
    pub(super) fn parse(&mut self, mut octets: &[u8], sink: &mut Sink<'_>) {
        while !octets.is_empty() {
            if self.untracked {
                return sink.text(octets);
            }
            if matches!(self.state, InputState::Over) {
                return;
            }
            if !self.held.is_empty() || self.is_blocked() {
                debug_assert!(self.held.len() < MAX_HELD);
                return self.held.extend_from_slice(octets);
            }
            let taken = self.step(octets, sink);
            octets = octets.get(taken..).unwrap_or_default();
        }
    }

    /// Handles some of the octets and returns how many.
    fn step(&mut self, octets: &[u8], sink: &mut Sink<'_>) -> usize {
        match &mut self.state {
            InputState::Command => self.command_octets(octets, sink),
            InputState::LongLine(_) => self.long_line(octets, sink),
            InputState::Data(_) => self.text(octets, sink),
            InputState::Chunk { left, discard } => {
                let (taken, rest) = part(octets, *left);
                if !*discard {
                    sink.text(octets.get(..taken).unwrap_or_default());
                }
                self.state = InputState::chunk(rest, *discard);
                taken
            }
            InputState::ChunkHeader(_) => self.chunk_header(octets, sink),
            InputState::DiscardText(text, _) => {
                let taken = text.take(octets);
                let (octets, ended) = (taken.octets, taken.ended);
                if ended {
                    self.text_discarded(sink);
                }
                octets
            }
            // `is_blocked` prevents input in these states.
            InputState::Blocked(_)
            | InputState::AwaitingDataReply
            | InputState::AwaitingUpstream(_)
            | InputState::AwaitingPermit(_)
            | InputState::Over => octets.len(),
        }
    }

    fn command_octets(&mut self, octets: &[u8], sink: &mut Sink<'_>) -> usize {
        let (piece, complete) = line_part(octets);
        if self.line.len() + piece.len() > MAX_LINE {
            if !self.is_ruled() {
                sink.line(&self.line);
            }
            self.state = InputState::LongLine(self.line.ends_with(b"\r"));
            return 0;
        }
        self.line.extend_from_slice(piece);
        if complete {
            let line = std::mem::take(&mut self.line);
            let line = without_line_end(&line);
            match self.is_ruled() {
                true => self.ruled_command(line, sink),
                false => {
                    sink.command(line);
                    self.passed(line, sink);
                }
            }
        }
        piece.len()
    }

    /// Handles the rest of a line whose first octets are in `line`.
    fn long_line(&mut self, octets: &[u8], sink: &mut Sink<'_>) -> usize {
        let forward = !self.is_ruled();
        let InputState::LongLine(cr) = &mut self.state else {
            return octets.len();
        };
        let (piece, complete) = line_part(octets);
        *cr = has_cr(piece, *cr);
        let cr = *cr;
        let body = piece.strip_suffix(b"\n").unwrap_or(piece);
        if forward {
            sink.text(body);
        }
        let room = MAX_LINE.saturating_sub(self.line.len());
        self.line.extend(body.iter().take(room));
        if complete {
            self.state = InputState::Command;
            let line = std::mem::take(&mut self.line);
            if forward {
                sink.line(if cr { b"\n" } else { b"\r\n" });
                self.passed(&line, sink);
            } else {
                self.answer(policy::TOO_LONG, sink);
            }
        }
        piece.len()
    }

    /// Records what the reply to a forwarded command may change.
    fn passed(&mut self, line: &[u8], sink: &mut Sink<'_>) {
        // Some servers ignore blanks before a verb.
        let line = line.trim_ascii_start();
        let pending = match verb(line).as_slice() {
            b"MAIL" => Pending::Mail(unchanged(line)),
            b"RCPT" => Pending::Rcpt(address(line, "TO:")),
            b"DATA" => {
                self.state = InputState::AwaitingDataReply;
                Pending::Data
            }
            b"BDAT" => match bdat(line) {
                Some((octets, last)) => {
                    self.state = InputState::chunk(octets, false);
                    Pending::Chunk { octets, last }
                }
                None => Pending::UnclearChunk,
            },
            b"EHLO" | b"HELO" | b"RSET" => Pending::Reset,
            _ => Pending::Other,
        };
        self.pending.push_back(pending);
        sink.flush();
    }

    fn has_transaction(&self) -> bool {
        let begins = |pending: &Pending| matches!(pending, Pending::Mail(_));
        self.transaction.is_some() || self.pending.iter().any(begins)
    }

    /// Whether a recipient was accepted, or is pending.
    pub(super) fn has_recipients(&self) -> bool {
        let accepted = |transaction: &Transaction| !transaction.to.is_empty();
        let asked = |pending: &Pending| matches!(pending, Pending::Rcpt(_));
        self.transaction.as_ref().is_some_and(accepted) || self.pending.iter().any(asked)
    }

    fn has_begun_chunks(&self) -> bool {
        self.transaction.as_ref().is_some_and(|now| now.bdat)
    }

    /// Handles a command that is subject to rules. `line` has no line end.
    fn ruled_command(&mut self, line: &[u8], sink: &mut Sink<'_>) {
        let odd = |octet: &u8| octet.is_ascii_control() && *octet != b'\t';
        if line.iter().any(odd) {
            return self.answer(policy::SYNTAX, sink);
        }
        match verb(line).as_slice() {
            b"MAIL" => self.mail(line, sink),
            // A chunk without recipients has failed; one added now would get the rest of the
            // message without its header.
            b"RCPT" if !self.has_transaction() || self.has_begun_chunks() => {
                self.answer(policy::SEQUENCE, sink);
            }
            b"RCPT" => match self.policy() {
                Some(policy) => match policy.recipient(line) {
                    Ok((line, to)) => self.pass(&line, Pending::Rcpt(to), sink),
                    Err(refusal) => self.refuse(refusal, sink),
                },
                None => self.pass(line, Pending::Rcpt(address(line, "TO:")), sink),
            },
            b"DATA" => {
                if !self.has_transaction() || !self.has_recipients() || self.has_begun_chunks() {
                    return self.answer(policy::SEQUENCE, sink);
                }
                self.pass(b"DATA", Pending::Data, sink);
                self.state = InputState::AwaitingDataReply;
            }
            b"BDAT" => self.ruled_chunk(line, sink),
            // These belong before the relay.
            b"AUTH" | b"STARTTLS" => self.answer(policy::SEQUENCE, sink),
            verb if self.rules.by_sender.is_some() => self.without_upstream(verb, sink),
            b"EHLO" | b"HELO" | b"RSET" => self.pass(line, Pending::Reset, sink),
            b"QUIT" | b"NOOP" | b"VRFY" | b"EXPN" | b"HELP" => {
                self.pass(line, Pending::Other, sink);
            }
            _ => self.answer(policy::UNKNOWN, sink),
        }
    }

    pub(super) fn pass(&mut self, line: &[u8], pending: Pending, sink: &mut Sink<'_>) {
        sink.command(line);
        self.pending.push_back(pending);
    }

    /// Replies to commands that no upstream can answer when each MAIL has its own upstream.
    fn without_upstream(&mut self, verb: &[u8], sink: &mut Sink<'_>) {
        let resets = matches!(verb, b"EHLO" | b"HELO" | b"RSET");
        if resets && self.has_upstream() && self.has_transaction() {
            self.pass(b"RSET", Pending::Discarded, sink);
        }
        match verb {
            b"EHLO" => {
                let text = self.rules.by_sender.clone().unwrap_or_default();
                self.answer_with(Pending::Local(text), sink);
            }
            b"HELO" => self.answer(policy::HELLO, sink),
            b"QUIT" => {
                self.answer(policy::GOODBYE, sink);
                if self.has_upstream() {
                    sink.command(b"QUIT");
                }
                self.state = InputState::Over;
            }
            b"RSET" | b"NOOP" => self.answer(policy::DONE, sink),
            _ => self.answer(policy::UNKNOWN, sink),
        }
    }

    fn mail(&mut self, line: &[u8], sink: &mut Sink<'_>) {
        // If another sender's upstream replaces this one, none of its replies may be pending.
        let by_sender = self.rules.by_sender.is_some();
        let precedes = |due: &Pending| due.moves_transaction() || (by_sender && !due.is_local());
        if self.pending.iter().any(precedes) {
            self.state = InputState::Blocked(line.to_vec());
            return;
        }
        if self.transaction.is_some() {
            return self.answer(policy::SEQUENCE, sink);
        }
        let checked = match self.policy() {
            Some(policy) => policy.mail(line),
            None => Ok(Mail {
                line: line.to_vec(),
                sender: unchanged(line),
            }),
        };
        match checked {
            // Of a client's input only a well-formed address may reach the upstream's login.
            Ok(mail) if by_sender && !is_mailbox(&mail.sender.named) => {
                let sender = match mail.sender.named.as_str() {
                    "" => "the null sender",
                    sender => sender,
                };
                let why = format!("sender {sender}, which is not a mailbox to log in as");
                self.refuse((policy::SENDER, Some(why)), sink);
            }
            Ok(mail) if self.rules.rate_limited => {
                self.permit = true;
                sink.act(Action::RequestPermit(&mail.sender.named));
                self.state = InputState::AwaitingPermit(Box::new(mail));
            }
            Ok(mail) => self.send_mail(mail, sink),
            Err(refusal) => self.refuse(refusal, sink),
        }
    }

    /// Sends a permitted MAIL, after opening its sender's upstream if necessary.
    pub(super) fn send_mail(&mut self, mail: Mail, sink: &mut Sink<'_>) {
        if self.rules.by_sender.is_some() {
            let mailbox = mail.sender.named.to_lowercase();
            // An upstream in the middle of an unsolicited reply is about to close.
            if self.upstream != UpstreamState::Sender(mailbox.clone()) || self.reply.is_open() {
                if self.has_upstream() {
                    sink.command(b"QUIT");
                }
                self.forget_upstream(sink);
                self.state = InputState::AwaitingUpstream(Box::new(mail));
                return sink.act(Action::OpenUpstream(&mailbox));
            }
        }
        self.pass(&mail.line, Pending::Mail(mail.sender), sink);
    }

    /// Forgets the upstream and its incomplete reply. Local replies that waited for its end are
    /// sent.
    pub(super) fn forget_upstream(&mut self, sink: &mut Sink<'_>) {
        self.upstream = UpstreamState::None;
        self.reply = ReplyScanner::default();
        self.answer_due(sink);
    }

    fn text(&mut self, octets: &[u8], sink: &mut Sink<'_>) -> usize {
        let most = self.policy().and_then(|policy| policy.max_size);
        let InputState::Data(text) = &mut self.state else {
            return octets.len();
        };
        let taken = text.take(octets);
        let size = text.size();
        let ended = taken.ended;
        if most.is_some_and(|most| size > most) {
            self.abort(policy::SIZE, ended, sink);
        } else if text
            .forward(&taken.piece, &mut |piece| sink.text(piece))
            .is_err()
        {
            self.abort(policy::HEADER, ended, sink);
        } else if ended {
            self.state = InputState::Command;
            self.pending.push_back(Pending::Text(size));
        }
        taken.octets
    }

    /// Cuts off a message that must not be completed upstream: closes the upstream connection in
    /// the middle of it. The client gets the reason at the end of the message.
    fn abort(&mut self, reply: &'static str, ended: bool, sink: &mut Sink<'_>) {
        self.aborted = true;
        if let InputState::Data(text) = std::mem::take(&mut self.state) {
            self.state = InputState::DiscardText(text, reply);
        }
        if ended {
            self.text_discarded(sink);
        }
    }

    fn text_discarded(&mut self, sink: &mut Sink<'_>) {
        if let InputState::DiscardText(text, reply) =
            std::mem::replace(&mut self.state, InputState::Over)
        {
            let size = text.size();
            self.answer_with(Pending::LocalRejection(reply, size), sink);
            self.record_refusal(&format!("{size} octets, {}", reply.trim_end()), sink);
        }
    }
}

/// Sender of a MAIL that is forwarded as it is.
fn unchanged(line: &[u8]) -> Sender {
    let sent = address(line, "FROM:");
    Sender {
        named: sent.clone(),
        sent,
    }
}
