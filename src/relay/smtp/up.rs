//! The client's side: commands, and the octets of messages.

use super::policy::{HEADER, SEQUENCE, SIZE, SYNTAX, TOO_LONG, Verdict};
use super::{Chunks, Command, Due, Gate, Out, Phase, Smtp, Transaction, Waiting};
use crate::relay::envelope::address;

/// Octets of a command that is looked at; RFC 5321 §4.5.3.1.4 and its extensions ask for less.
const LINE: usize = 4096;

/// Octets of a rewritten header that are held, since a chunk's size comes before it.
const CHUNK_HEADER: usize = 256 * 1024;

/// Said where a mailbox's or an account's rate allows no message for now.
const RATE: &str = "451 4.7.1 Too many messages for now, try again later.\r\n";

/// What goes up. Lines are put together; contents go on as they came.
struct Up<'a> {
    lines: Vec<u8>,
    out: Out<'a>,
}

impl Up<'_> {
    fn contents(&mut self, piece: &[u8]) {
        if !piece.is_empty() {
            self.flush();
            (self.out)(piece);
        }
    }

    fn flush(&mut self) {
        if !self.lines.is_empty() {
            (self.out)(&self.lines);
            self.lines.clear();
        }
    }
}

impl Smtp {
    pub(in crate::relay) fn up(&mut self, bytes: &[u8], out: Out<'_>) {
        if self.lost {
            return out(bytes);
        }
        if self.gate.is_none() {
            out(bytes);
            self.walk(bytes, &mut |_| {});
        } else {
            self.walk(bytes, out);
        }
    }

    /// Goes on with what is held, as far as that is possible.
    pub(in crate::relay) fn settle(&mut self, out: Out<'_>) {
        if !self.held.is_empty() && !self.is_blocked() {
            let held = std::mem::take(&mut self.held);
            self.up(&held, out);
        }
    }

    /// The client has ended its direction. Half a command of one that may say what it likes goes
    /// up as it came.
    pub(in crate::relay) fn client_ended(&mut self, out: Out<'_>) {
        if self.gate.is_some() && self.policy().is_none() && !self.line.is_empty() {
            out(&self.line);
        }
        self.line = Vec::new();
        self.length = 0;
    }

    /// Whether the MAIL that waits may go.
    pub(in crate::relay) fn leave(&mut self, granted: bool, out: Out<'_>) {
        match std::mem::take(&mut self.phase) {
            Phase::Waiting(waiting) if granted => {
                out(&waiting.line);
                self.mail_went(waiting.due, waiting.sender);
            }
            Phase::Waiting(_) => {
                self.transaction = None;
                self.answer(RATE);
                self.refused("more messages a minute than the mailbox or the account may send");
            }
            phase => self.phase = phase,
        }
    }

    fn mail_went(&mut self, due: Due, sender: String) {
        self.awaits(due);
        self.chunks = None;
        self.transaction = Some(Transaction {
            sender,
            recipients: 0,
        });
    }

    fn walk(&mut self, mut bytes: &[u8], out: Out<'_>) {
        let mut up = Up {
            lines: Vec::new(),
            out,
        };
        while !bytes.is_empty() {
            if self.lost {
                up.contents(bytes);
                break;
            }
            if self.is_blocked() || !self.held.is_empty() {
                self.held.extend_from_slice(bytes);
                break;
            }
            let taken = self.step(bytes, &mut up);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        up.flush();
    }

    /// Takes some bytes and says how many.
    fn step(&mut self, bytes: &[u8], up: &mut Up<'_>) -> usize {
        match &mut self.phase {
            Phase::Command | Phase::LongLine { .. } => self.command_octets(bytes, up),
            Phase::Data(_) => self.text(bytes, up),
            Phase::Chunk(left) => {
                let (taken, rest) = part(bytes, *left);
                up.contents(bytes.get(..taken).unwrap_or_default());
                self.phase = match rest {
                    0 => Phase::Command,
                    rest => Phase::Chunk(rest),
                };
                taken
            }
            Phase::ChunkHeader(_) => self.chunk_header(bytes, up),
            Phase::Swallow(left) => {
                let (taken, rest) = part(bytes, *left);
                self.phase = match rest {
                    0 => Phase::Command,
                    rest => Phase::Swallow(rest),
                };
                taken
            }
            Phase::Discard(discard) => {
                let (taken, ended) = discard.dots.take(bytes);
                if ended {
                    self.discarded();
                }
                taken
            }
            // Blocked: nobody comes here.
            Phase::Asked | Phase::Waiting(_) | Phase::Over => bytes.len(),
        }
    }

    fn command_octets(&mut self, bytes: &[u8], up: &mut Up<'_>) -> usize {
        let (taken, complete) = match memchr::memchr(b'\n', bytes) {
            Some(at) => (at + 1, true),
            None => (bytes.len(), false),
        };
        let piece = bytes.get(..taken).unwrap_or_default();
        self.length += taken;
        if let Phase::LongLine { passes } = self.phase {
            if passes {
                up.contents(piece);
            }
            if complete {
                self.phase = Phase::Command;
                self.length = 0;
                match passes {
                    true => self.awaits(Due::Other),
                    false => self.answer(TOO_LONG),
                }
            }
            return taken;
        }
        if self.gate.is_some() && self.length > LINE {
            let passes = self.policy().is_none();
            if passes {
                up.lines.append(&mut self.line);
                up.contents(piece);
            }
            self.line = Vec::new();
            self.phase = Phase::LongLine { passes };
            if complete {
                // Its end is here: the long line is over with it.
                self.length = 0;
                self.phase = Phase::Command;
                match passes {
                    true => self.awaits(Due::Other),
                    false => self.answer(TOO_LONG),
                }
            }
            return taken;
        }
        let room = LINE.saturating_sub(self.line.len()).min(taken);
        self.line
            .extend_from_slice(piece.get(..room).unwrap_or_default());
        if complete {
            self.length = 0;
            let line = std::mem::take(&mut self.line);
            self.command(&line, up);
        }
        taken
    }

    fn command(&mut self, whole: &[u8], up: &mut Up<'_>) {
        let line = whole.strip_suffix(b"\n").unwrap_or(whole);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let command = Command::of(line);
        match self.gate.as_deref() {
            Some(Gate {
                policy: Some(policy),
                ..
            }) => {
                let open = self.transaction.is_some();
                match command {
                    Command::Data => self.data(up),
                    Command::Bdat => self.policed_chunk(line, up),
                    _ => {
                        let verdict = policy.judge(command, line, open);
                        self.judged(command, verdict, up);
                    }
                }
            }
            Some(Gate { paced: true, .. }) if command == Command::Mail => {
                self.phase = Phase::Waiting(Box::new(Waiting {
                    line: whole.to_vec(),
                    due: Due::Mail(address(line, "FROM:")),
                    sender: String::new(),
                }));
            }
            gate => {
                let gated = gate.is_some();
                up.lines.extend_from_slice(whole);
                let due = match command {
                    Command::Mail => {
                        self.chunks = None;
                        Due::Mail(address(line, "FROM:"))
                    }
                    Command::Rcpt => Due::Rcpt(address(line, "TO:")),
                    Command::Data => {
                        if gated {
                            self.phase = Phase::Asked;
                        }
                        Due::Data
                    }
                    Command::Bdat => return self.chunk(line),
                    Command::Reset => {
                        self.chunks = None;
                        Due::Reset
                    }
                    Command::Harmless | Command::Auth | Command::Other => Due::Other,
                };
                self.awaits(due);
            }
        }
    }

    fn judged(&mut self, command: Command, verdict: Verdict, up: &mut Up<'_>) {
        match verdict {
            Verdict::Pass(line, due) => {
                pass_line(&line, up);
                match command {
                    Command::Reset => {
                        self.transaction = None;
                        self.chunks = None;
                    }
                    Command::Rcpt => {
                        if let Some(transaction) = &mut self.transaction {
                            transaction.recipients = transaction.recipients.saturating_add(1);
                        }
                    }
                    Command::Mail
                    | Command::Data
                    | Command::Bdat
                    | Command::Harmless
                    | Command::Auth
                    | Command::Other => {}
                }
                self.awaits(due);
            }
            Verdict::Mail(mut line, due, sender) => {
                line.extend_from_slice(b"\r\n");
                if self.gate.as_ref().is_some_and(|gate| gate.paced) {
                    self.phase = Phase::Waiting(Box::new(Waiting { line, due, sender }));
                } else {
                    up.lines.extend_from_slice(&line);
                    self.mail_went(due, sender);
                }
            }
            Verdict::Answer(text) => {
                if command == Command::Mail {
                    self.transaction = None;
                }
                self.answer(text);
            }
            Verdict::Refuse(text, what) => {
                // What belongs to a MAIL that was refused must not reach another's transaction.
                if command == Command::Mail {
                    self.transaction = None;
                }
                self.answer(text);
                self.refused(what);
            }
        }
    }

    /// Whether a message may follow what was passed on.
    fn has_recipients(&self) -> bool {
        self.transaction
            .as_ref()
            .is_some_and(|transaction| transaction.recipients > 0)
    }

    /// DATA under a policy.
    fn data(&mut self, up: &mut Up<'_>) {
        if !self.has_recipients() || self.chunks.is_some() {
            return self.answer(SEQUENCE);
        }
        pass_line(b"DATA", up);
        self.phase = Phase::Asked;
        self.awaits(Due::Data);
    }

    fn text(&mut self, bytes: &[u8], up: &mut Up<'_>) -> usize {
        let most = self.policy().and_then(|policy| policy.max_size);
        let Phase::Data(text) = &mut self.phase else {
            return bytes.len();
        };
        let (taken, ended) = text.dots.take(bytes);
        let size = text.dots.size();
        let piece = bytes.get(..taken).unwrap_or_default();
        if most.is_some_and(|most| size > most) {
            self.cut(SIZE, ended);
            return taken;
        }
        match &mut text.header {
            Some(header) if !header.is_done() => match header.take(piece, &mut up.lines) {
                Ok(used) => up.contents(piece.get(used..).unwrap_or_default()),
                Err(_) => {
                    self.cut(HEADER, ended);
                    return taken;
                }
            },
            Some(_) | None => up.contents(piece),
        }
        if ended {
            self.phase = Phase::Command;
            self.transaction = None;
            self.awaits(Due::Message(size));
        }
        taken
    }

    /// The message must not be completed upstream: the upstream's connection ends in the middle
    /// of it, the client hears why at its end.
    fn cut(&mut self, reply: &'static str, ended: bool) {
        self.cut = true;
        if let Phase::Data(text) = std::mem::take(&mut self.phase) {
            let dots = text.dots;
            self.phase = Phase::Discard(Box::new(super::Discard { dots, reply }));
        }
        if ended {
            self.discarded();
        }
    }

    fn discarded(&mut self) {
        if let Phase::Discard(discard) = std::mem::replace(&mut self.phase, Phase::Over) {
            let size = discard.dots.size();
            self.say(Due::Refused(discard.reply, size));
            self.refused(format!("{size} octets, {}", discard.reply.trim_end()));
        }
    }

    /// BDAT without a policy: it has gone up.
    fn chunk(&mut self, line: &[u8]) {
        let Some((octets, last)) = bdat(line) else {
            self.lost = true;
            return;
        };
        self.chunk_goes(octets, last);
    }

    fn chunk_goes(&mut self, octets: u64, last: bool) {
        let chunks = self.chunks.get_or_insert_default();
        chunks.size = chunks.size.saturating_add(octets);
        let size = chunks.size;
        self.phase = match octets {
            0 => Phase::Command,
            octets => Phase::Chunk(octets),
        };
        self.chunk_due(size, last);
    }

    fn chunk_due(&mut self, size: u64, last: bool) {
        if last {
            self.transaction = None;
            self.awaits(Due::Message(size));
            if let Some(chunks) = &mut self.chunks {
                chunks.last = true;
            }
        } else {
            self.awaits(Due::Other);
        }
    }

    fn policed_chunk(&mut self, line: &[u8], up: &mut Up<'_>) {
        let Some((octets, last)) = bdat(line) else {
            // Where the next command begins is unknown.
            self.answer(SYNTAX);
            self.phase = Phase::Over;
            return;
        };
        if !self.has_recipients() {
            self.answer(SEQUENCE);
            self.swallow(octets);
            return;
        }
        let most = self.policy().and_then(|policy| policy.max_size);
        let so_far = self.chunks.as_ref().map_or(0, |chunks| chunks.size);
        let size = so_far.saturating_add(octets);
        if most.is_some_and(|most| size > most) {
            self.refuse_chunk(SIZE, size, up);
            self.swallow(octets);
            return;
        }
        if self.chunks.is_none() {
            let header = self.header(false);
            self.chunks = Some(Chunks {
                header,
                ..Chunks::default()
            });
        }
        let rewrites = self.chunks.as_ref().is_some_and(|chunks| {
            let header = chunks.header.as_ref();
            header.is_some_and(|header| !header.is_done())
        });
        if !rewrites {
            pass_line(&announce(octets, last), up);
            return self.chunk_goes(octets, last);
        }
        if let Some(chunks) = &mut self.chunks {
            chunks.size = size;
        }
        self.phase = Phase::ChunkHeader(Box::new(super::ChunkHeader {
            left: octets,
            last,
            rewritten: Vec::new(),
        }));
        if octets == 0 {
            self.chunk_header(b"", up);
        }
    }

    fn swallow(&mut self, octets: u64) {
        self.phase = match octets {
            0 => Phase::Command,
            octets => Phase::Swallow(octets),
        };
    }

    /// The upstream forgets what it has of the message; the client hears why.
    fn refuse_chunk(&mut self, reply: &'static str, size: u64, up: &mut Up<'_>) {
        self.transaction = None;
        self.chunks = None;
        pass_line(b"RSET", up);
        // In the turn of the chunk, so before RSET's.
        self.due.push_back(Due::Refused(reply, size));
        self.due.push_back(Due::Swallowed);
        self.refused(format!("{size} octets, {}", reply.trim_end()));
        if !self.reply.open
            && let Some(due) = self.due.pop_front_if(|due| due.is_ours())
        {
            let text = self.said(due);
            self.ours.extend_from_slice(text.as_bytes());
        }
    }

    /// A chunk in which the header goes on: its new size is known once the header has ended, or
    /// the chunk.
    fn chunk_header(&mut self, bytes: &[u8], up: &mut Up<'_>) -> usize {
        let (Phase::ChunkHeader(chunk), Some(chunks)) = (&mut self.phase, &mut self.chunks) else {
            return bytes.len();
        };
        let Some(header) = &mut chunks.header else {
            return bytes.len();
        };
        let size = chunks.size;
        let (available, _) = part(bytes, chunk.left);
        let piece = bytes.get(..available).unwrap_or_default();
        let result = header.take(piece, &mut chunk.rewritten);
        let taken = *result.as_ref().unwrap_or(&available);
        chunk.left -= taken as u64;
        let left = chunk.left;
        if result.is_err() || chunk.rewritten.len() > CHUNK_HEADER {
            self.refuse_chunk(HEADER, size, up);
            self.swallow(left);
            return taken;
        }
        let last = chunk.last;
        if left == 0 && last {
            header.finish(&mut chunk.rewritten);
        }
        if left == 0 || header.is_done() {
            let octets = chunk.rewritten.len() as u64 + left;
            pass_line(&announce(octets, last), up);
            up.lines.append(&mut chunk.rewritten);
            self.phase = match left {
                0 => Phase::Command,
                left => Phase::Chunk(left),
            };
            self.chunk_due(size, last);
        }
        taken
    }
}

/// How many of `bytes` are among the next `left` octets, and how many are left then.
fn part(bytes: &[u8], left: u64) -> (usize, u64) {
    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
    (taken, left - taken as u64)
}

fn pass_line(line: &[u8], up: &mut Up<'_>) {
    up.lines.extend_from_slice(line);
    up.lines.extend_from_slice(b"\r\n");
}

fn announce(octets: u64, last: bool) -> Vec<u8> {
    let last = if last { " LAST" } else { "" };
    format!("BDAT {octets}{last}").into_bytes()
}

/// `bdat-cmd = "BDAT" SP chunk-size [SP "LAST"] CR LF` (RFC 3030 §2)
fn bdat(line: &[u8]) -> Option<(u64, bool)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split_ascii_whitespace().skip(1);
    let size = words.next()?;
    let octets = size.bytes().all(|octet| octet.is_ascii_digit());
    let octets = octets.then(|| size.parse().ok()).flatten()?;
    match (words.next(), words.next()) {
        (None, _) => Some((octets, false)),
        (Some(last), None) if last.eq_ignore_ascii_case("LAST") => Some((octets, true)),
        (Some(_), _) => None,
    }
}
