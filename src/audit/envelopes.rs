//! Messages of a session that wait for an audit record.

use super::record::AuditMessage;

/// Maximum size of the messages in one record, in octets.
const MAX_OCTETS: usize = 64 * 1024;

/// Messages of a session that are in no audit record yet.
#[derive(Debug, Default)]
pub struct Envelopes {
    messages: Vec<AuditMessage>,
    octets: usize,
}

impl Envelopes {
    /// Adds messages. Returns all of them if they exceed one record.
    pub fn add(&mut self, batch: Vec<AuditMessage>) -> Option<Vec<AuditMessage>> {
        self.octets += batch.iter().map(AuditMessage::octets).sum::<usize>();
        self.messages.extend(batch);
        (self.octets > MAX_OCTETS).then(|| self.take())
    }

    /// Takes the messages that are in no record yet.
    pub fn take(&mut self) -> Vec<AuditMessage> {
        self.octets = 0;
        std::mem::take(&mut self.messages)
    }
}
