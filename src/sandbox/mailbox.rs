//! Mailboxes: folders of messages, in memory, shared by the sessions of all three protocols.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock;

/// The folders of a new mailbox, as Outlook creates them.
const FOLDERS: [&str; 6] = [
    "INBOX",
    "Archive",
    "Deleted Items",
    "Drafts",
    "Junk Email",
    "Sent Items",
];

#[derive(Clone)]
pub(super) struct Message {
    pub uid: u32,
    pub date: u64,
    pub flags: BTreeSet<String>,
    pub bytes: Bytes,
}

impl Message {
    pub fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|own| own.eq_ignore_ascii_case(flag))
    }

    /// Octets up to and with the empty line that ends the header.
    pub fn header_length(&self) -> usize {
        memchr::memmem::find(&self.bytes, b"\r\n\r\n").map_or(self.bytes.len(), |at| at + 4)
    }
}

#[derive(Default)]
pub(super) struct Folder {
    pub messages: Vec<Message>,
    last_uid: u32,
}

impl Folder {
    pub fn uid_next(&self) -> u32 {
        self.last_uid + 1
    }

    pub fn message(&self, uid: u32) -> Option<&Message> {
        let at = self.index(uid)?;
        self.messages.get(at)
    }

    pub fn message_mut(&mut self, uid: u32) -> Option<&mut Message> {
        let at = self.index(uid)?;
        self.messages.get_mut(at)
    }

    fn index(&self, uid: u32) -> Option<usize> {
        self.messages
            .binary_search_by_key(&uid, |message| message.uid)
            .ok()
    }

    /// Returns the new UID.
    pub fn add(&mut self, bytes: Bytes, flags: BTreeSet<String>, date: u64) -> u32 {
        self.last_uid += 1;
        self.messages.push(Message {
            uid: self.last_uid,
            date,
            flags,
            bytes,
        });
        self.last_uid
    }
}

/// One user's folders.
pub(super) struct Mailbox {
    folders: Mutex<BTreeMap<String, Folder>>,
    /// Number of changes; sessions in IDLE wait for the next.
    changes: watch::Sender<u64>,
    /// Number of messages in flight.
    senders: Mutex<usize>,
    /// Times at which the last messages were accepted, or will be.
    sent: Mutex<VecDeque<Instant>>,
}

impl Mailbox {
    /// A mailbox with all folders, and three messages in its INBOX.
    pub fn new(owner: &str) -> Arc<Self> {
        let folders = FOLDERS
            .iter()
            .map(|&name| (name.to_owned(), Folder::default()));
        let mailbox = Arc::new(Self {
            folders: Mutex::new(folders.collect()),
            changes: watch::Sender::new(0),
            senders: Mutex::default(),
            sent: Mutex::default(),
        });
        for message in welcome(owner) {
            mailbox.deliver(message);
        }
        mailbox
    }

    pub fn deliver(&self, bytes: Bytes) {
        self.with("INBOX", |inbox| {
            inbox.add(bytes, BTreeSet::new(), clock::now())
        });
        self.changed();
    }

    pub fn messages(&self) -> Vec<Message> {
        self.with("INBOX", |inbox| inbox.messages.clone())
            .unwrap_or_default()
    }

    /// The name in its stored spelling: INBOX in any case.
    pub fn resolve(&self, name: &str) -> Option<String> {
        let name = if name.eq_ignore_ascii_case("INBOX") {
            "INBOX"
        } else {
            name
        };
        self.folders
            .lock()
            .contains_key(name)
            .then(|| name.to_owned())
    }

    pub fn names(&self) -> Vec<String> {
        self.folders.lock().keys().cloned().collect()
    }

    /// Creates a folder; false if it exists.
    pub fn create(&self, name: &str) -> bool {
        let mut folders = self.folders.lock();
        let new = !folders.contains_key(name) && !name.eq_ignore_ascii_case("INBOX");
        if new {
            folders.insert(name.to_owned(), Folder::default());
        }
        new
    }

    /// Deletes a folder; false if it does not exist, or is INBOX.
    pub fn remove(&self, name: &str) -> bool {
        name != "INBOX" && self.folders.lock().remove(name).is_some()
    }

    /// Runs `work` on a folder; `None` if it does not exist.
    pub fn with<T>(&self, folder: &str, work: impl FnOnce(&mut Folder) -> T) -> Option<T> {
        self.folders.lock().get_mut(folder).map(work)
    }

    /// Counts one more message in flight; false if there are `limit` already.
    pub fn begin_sending(&self, limit: usize) -> bool {
        let mut senders = self.senders.lock();
        let free = *senders < limit;
        *senders += usize::from(free);
        free
    }

    pub fn end_sending(&self) {
        *self.senders.lock() -= 1;
    }

    /// Time at which one more message is accepted, with `limit` messages a minute.
    pub fn turn(&self, limit: usize) -> Instant {
        let mut sent = self.sent.lock();
        let now = Instant::now();
        let turn = match sent.len().checked_sub(limit).and_then(|at| sent.get(at)) {
            Some(before) => now.max(*before + Duration::from_secs(60)),
            None => now,
        };
        sent.push_back(turn);
        if sent.len() > limit {
            sent.pop_front();
        }
        turn
    }

    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

fn welcome(owner: &str) -> [Bytes; 3] {
    let mails = [
        (
            "Megan Bowen <megan@fabrikam.test>",
            "Printer on floor 3",
            "The printer on floor 3 jams again.\r\nCould somebody have a look?\r\n\r\nMegan\r\n",
        ),
        (
            "Alex Wilber <alex@fabrikam.test>",
            "Re: Invoice 10442",
            "Thank you, paid today.\r\n\r\nAlex\r\n",
        ),
        (
            "Contoso IT <it@contoso.test>",
            "Basic authentication ends",
            "Applications that log in with a password stop working.\r\n\
             .. unless something speaks OAuth 2.0 for them.\r\n",
        ),
    ];
    let mut number = 0;
    mails.map(|(from, subject, body)| {
        number += 1;
        let date = clock::mail(clock::now().saturating_sub(86_400 * (4 - number)));
        Bytes::from(format!(
            "From: {from}\r\nTo: {owner}\r\nSubject: {subject}\r\nDate: {date}\r\n\
             Message-ID: <sandbox-{number}@contoso.test>\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n{body}"
        ))
    })
}
