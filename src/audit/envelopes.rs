//! The messages of a session, until a record takes them.

use super::record::AuditMessage;

/// Octets that one record takes.
const MAX_OCTETS: usize = 64 * 1024;

/// Messages that a session has sent and no audit record has yet.
#[derive(Debug, Default)]
pub struct Envelopes {
    messages: Vec<AuditMessage>,
    octets: usize,
}

impl Envelopes {
    /// Takes more; gives all of them once they are more than one record should hold.
    pub fn add(&mut self, batch: Vec<AuditMessage>) -> Option<Vec<AuditMessage>> {
        self.octets += batch.iter().map(AuditMessage::octets).sum::<usize>();
        self.messages.extend(batch);
        (self.octets > MAX_OCTETS).then(|| self.take())
    }

    /// Takes all messages that no record has yet.
    pub fn take(&mut self) -> Vec<AuditMessage> {
        self.octets = 0;
        std::mem::take(&mut self.messages)
    }
}
