//! Messages in flight: those of this relay by mailbox, and its share.

use std::sync::Arc;

use super::super::command::{Command, Unavailable};
use super::super::roster::share;
use super::Member;

impl Member {
    /// Number of messages that this relay may have in flight while the store is away or settles.
    pub fn share(&self, limit: usize) -> usize {
        share(limit, self.roster.lock().len(self.now()))
    }

    /// This relay's messages of a mailbox that are in flight.
    pub fn in_flight(&self, mailbox: &str) -> Vec<u64> {
        let messages = self.messages.lock();
        let messages = messages.get(mailbox);
        messages
            .map(|messages| messages.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Records the beginning of a message.
    pub fn on_begun(&self, mailbox: &Arc<str>, message: u64) {
        let mut messages = self.messages.lock();
        messages.entry(mailbox.clone()).or_default().insert(message);
    }

    /// Records the end of a message; the store learns it in the background.
    pub fn on_over(self: &Arc<Self>, mailbox: &Arc<str>, message: u64) {
        let mut messages = self.messages.lock();
        if let Some(of_mailbox) = messages.get_mut(mailbox) {
            of_mailbox.remove(&message);
            if of_mailbox.is_empty() {
                messages.remove(mailbox);
            }
        }
        drop(messages);
        let mailbox = mailbox.clone();
        self.in_background(|member| async move {
            let _ = member.ask(&Command::Release { mailbox, message }).await;
        });
    }

    /// Registers all messages in flight.
    pub(super) async fn hold(&self, epoch: Option<Arc<str>>) -> Result<(), Unavailable> {
        let epoch = epoch.unwrap_or_else(|| "".into());
        let all: Vec<_> = self
            .messages
            .lock()
            .iter()
            .map(|(mailbox, messages)| Command::Hold {
                mailbox: mailbox.clone(),
                messages: messages.iter().copied().collect(),
            })
            .collect();
        for hold in all {
            self.execute(epoch.clone(), &hold).await?;
        }
        Ok(())
    }
}
