//! Rules for messages sent by BDAT (RFC 3030).

use super::header::HeaderRewriter;
use super::policy;
use super::session::{InputState, Smtp};
use super::sink::Sink;
use super::transaction::{ChunkHeader, Pending};
use crate::wire::smtp::bdat;

/// Maximum size of a rewritten header that is held, in octets: a chunk's size precedes it.
const MAX_CHUNK_HEADER: usize = 256 * 1024;

impl Smtp {
    pub(super) fn ruled_chunk(&mut self, line: &[u8], sink: &mut Sink<'_>) {
        let Some((octets, last)) = bdat(line) else {
            // The position of the next command is unknown.
            self.answer(policy::SYNTAX, sink);
            self.state = InputState::Over;
            return;
        };
        if self.pending.iter().any(Pending::precedes_chunk) {
            self.state = InputState::Blocked(line.to_vec());
            return;
        }
        if !self.rules.chunking || self.transaction.is_none() || !self.has_recipients() {
            let reply = match self.rules.chunking {
                true => policy::SEQUENCE,
                false => policy::UNKNOWN,
            };
            self.answer(reply, sink);
            self.state = InputState::chunk(octets, true);
            return;
        }
        let size = self.chunks_so_far().saturating_add(octets);
        let most = self.policy().and_then(|policy| policy.max_size);
        if most.is_some_and(|most| size > most) {
            self.refuse_chunk(policy::SIZE, size, sink);
            self.state = InputState::chunk(octets, true);
            return;
        }
        let begins = self.header(false);
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        if !std::mem::replace(&mut transaction.bdat, true) {
            transaction.header = begins;
        }
        let rewrites = |header: &HeaderRewriter| !header.is_done();
        if !transaction.header.as_ref().is_some_and(rewrites) {
            self.pass(
                &announce(octets, last),
                Pending::Chunk { octets, last },
                sink,
            );
            self.state = InputState::chunk(octets, false);
            return;
        }
        self.state = InputState::ChunkHeader(Box::new(ChunkHeader {
            octets,
            left: octets,
            last,
            rewritten: Vec::new(),
        }));
        if octets == 0 {
            self.chunk_header(b"", sink);
        }
    }

    /// Octets of the transaction's chunks, pending ones included.
    fn chunks_so_far(&self) -> u64 {
        let pending = self.pending.iter().map(|pending| match pending {
            Pending::Chunk { octets, .. } => *octets,
            _ => 0,
        });
        pending.fold(self.size_with(0), u64::saturating_add)
    }

    /// Octets of the accepted chunks and of one more.
    pub(super) fn size_with(&self, octets: u64) -> u64 {
        let accepted = self.transaction.as_ref().map_or(0, |now| now.size);
        accepted.saturating_add(octets)
    }

    /// Records that a chunk was accepted, with which the message has `size` octets.
    pub(super) fn on_chunk(&mut self, size: u64) {
        if let Some(transaction) = &mut self.transaction {
            transaction.size = size;
            transaction.chunks = true;
        }
    }

    /// Refuses a chunk: resets the upstream's transaction, and sends the client the reason in
    /// order.
    fn refuse_chunk(&mut self, reply: &'static str, size: u64, sink: &mut Sink<'_>) {
        self.record_refusal(&format!("{size} octets, {}", reply.trim_end()), sink);
        sink.command(b"RSET");
        self.pending.push_back(Pending::LocalRejection(reply, size));
        self.pending.push_back(Pending::Discarded);
        self.answer_due(sink);
    }

    /// Handles a chunk that contains part of the header. Its new size is known only at the end of
    /// the header or of the chunk.
    pub(super) fn chunk_header(&mut self, octets: &[u8], sink: &mut Sink<'_>) -> usize {
        let size = self.chunks_so_far();
        let InputState::ChunkHeader(chunk) = &mut self.state else {
            return octets.len();
        };
        let transaction = self.transaction.as_mut();
        let Some(header) = transaction.and_then(|now| now.header.as_mut()) else {
            // The upstream refused an earlier chunk, and with it the message.
            let left = chunk.left;
            self.answer(policy::SEQUENCE, sink);
            self.state = InputState::chunk(left, true);
            return 0;
        };
        let (available, _) = part(octets, chunk.left);
        let piece = octets.get(..available).unwrap_or_default();
        let result = header.take(piece, &mut chunk.rewritten);
        let taken = *result.as_ref().unwrap_or(&available);
        chunk.left -= taken as u64;
        let (left, last, whole) = (chunk.left, chunk.last, chunk.octets);
        if result.is_err() || chunk.rewritten.len() > MAX_CHUNK_HEADER {
            self.refuse_chunk(policy::HEADER, size.saturating_add(whole), sink);
            self.state = InputState::chunk(left, true);
            return taken;
        }
        if left == 0 && last {
            header.finish(&mut chunk.rewritten);
        }
        if left == 0 || header.is_done() {
            let octets = chunk.rewritten.len() as u64 + left;
            sink.command(&announce(octets, last));
            sink.line(&chunk.rewritten);
            self.pending.push_back(Pending::Chunk {
                octets: whole,
                last,
            });
            self.state = InputState::chunk(left, false);
        }
        taken
    }
}

/// Number of octets that belong to the next `left`, and how many remain.
pub(super) fn part(octets: &[u8], left: u64) -> (usize, u64) {
    let taken = usize::try_from(left)
        .unwrap_or(usize::MAX)
        .min(octets.len());
    (taken, left - taken as u64)
}

fn announce(octets: u64, last: bool) -> Vec<u8> {
    let last = if last { " LAST" } else { "" };
    format!("BDAT {octets}{last}").into_bytes()
}
