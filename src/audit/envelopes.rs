//! The messages of a session, until a record takes them.

use super::record::Message;

/// Octets that one record takes.
const MOST: usize = 64 * 1024;

/// What a session has sent and no record has yet.
#[derive(Debug, Default)]
pub struct Envelopes {
    messages: Vec<Message>,
    octets: usize,
}

impl Envelopes {
    /// Takes more; gives all of them once they are more than one record should hold.
    pub fn add(&mut self, batch: Vec<Message>) -> Option<Vec<Message>> {
        self.octets += batch.iter().map(Message::octets).sum::<usize>();
        self.messages.extend(batch);
        (self.octets > MOST).then(|| self.take())
    }

    /// Gives all of them.
    pub fn take(&mut self) -> Vec<Message> {
        self.octets = 0;
        std::mem::take(&mut self.messages)
    }
}
