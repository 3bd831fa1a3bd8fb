//! Checks on a message: the limit of messages in flight, and its sender.

use std::sync::Arc;

use memchr::memmem;

use super::Shared;
use super::mailbox::Mailbox;
use super::smtp::HOST;

/// Message from MAIL to its end.
pub(super) struct InFlight(Arc<Shared>);

impl InFlight {
    pub(super) fn begin(shared: &Arc<Shared>) -> Self {
        shared.log.message_began();
        Self(shared.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.log.message_ended();
    }
}

/// Message in flight, which counts against the mailbox's limit.
pub(super) struct Sending(Arc<Mailbox>);

impl Sending {
    pub(super) fn begin(mailbox: &Arc<Mailbox>, limit: usize) -> Option<Self> {
        mailbox.begin_sending(limit).then(|| Self(mailbox.clone()))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.end_sending();
    }
}

pub(super) fn denied(user: &str, sender: &str) -> String {
    format!(
        "554 5.2.252 SendAsDenied; {user} not allowed to send as {sender}; \
         STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied; \
         Failed to process message due to a permanent exception [Hostname={HOST}]"
    )
}

/// First address in MAIL or the From field that is not the mailbox's.
pub(super) fn foreign(user: &str, sender: &str, message: &[u8]) -> Option<String> {
    let header = match memmem::find(message, b"\r\n\r\n") {
        Some(end) => message.get(..end).unwrap_or_default(),
        None => message,
    };
    let header = String::from_utf8_lossy(header).replace("\r\n ", " ");
    let field = header.lines().find_map(|line| {
        let (name, body) = line.split_once(':')?;
        name.trim_end().eq_ignore_ascii_case("from").then_some(body)
    });
    let address = field.map(|body| match body.rsplit_once('<') {
        Some((_, address)) => address.split('>').next().unwrap_or_default(),
        None => body,
    });
    [sender, address.unwrap_or_default().trim()]
        .into_iter()
        .find(|address| !address.is_empty() && !address.eq_ignore_ascii_case(user))
        .map(str::to_owned)
}
