//! The selected folder: the messages that its client was told of, and the commands on them.

use std::collections::BTreeSet;
use std::io;

use super::command::{Word, members};
use super::fetch::{self, Item, Part};
use super::search;
use super::selected::End::{self, Bad, No};
use super::selected::{Session, UIDVALIDITY};
use crate::sandbox::Fault;
use crate::sandbox::mailbox::Folder;

pub(super) struct Selected {
    pub name: String,
    pub read_only: bool,
    /// UIDs by sequence number, as the client was told.
    pub view: Vec<u32>,
}

impl Session {
    pub(super) async fn in_folder(
        &mut self,
        folder: &Selected,
        verb: &str,
        words: &[Word],
        uid: bool,
    ) -> io::Result<End> {
        if folder.read_only && matches!(verb, "STORE" | "EXPUNGE" | "MOVE") {
            return Ok(No("Mailbox is read-only."));
        }
        if verb == "SEARCH" {
            return Ok(self.search(folder, words, uid));
        }
        let set = words.first().and_then(Word::text);
        let uids = set.and_then(|set| folder.uids(&set, uid));
        match (verb, uids) {
            ("EXPUNGE", uids) => {
                self.remove_deleted(&folder.name, uids.filter(|_| uid).as_deref());
                Ok(End::Ok(String::new()))
            }
            (_, None) => Ok(Bad),
            ("FETCH", Some(uids)) => self.fetch(folder, words, uid, &uids).await,
            ("STORE", Some(uids)) => Ok(self.store(folder, words, uid, &uids)),
            (_, Some(uids)) => Ok(self.copy(folder, words, &uids, verb == "MOVE")),
        }
    }

    async fn fetch(
        &mut self,
        folder: &Selected,
        words: &[Word],
        uid: bool,
        uids: &[u32],
    ) -> io::Result<End> {
        let Some(mut items) = words.get(1).and_then(fetch::items) else {
            return Ok(Bad);
        };
        if uid && !items.contains(&Item::Uid) {
            items.insert(0, Item::Uid);
        }
        let reads = items
            .iter()
            .any(|item| matches!(item, Item::Body { peek: false, .. }));
        for (number, wanted) in folder.numbered(uids) {
            let message = self.login.mailbox.with(&folder.name, |folder| {
                let message = folder.message_mut(wanted)?;
                if reads {
                    message.flags.insert("\\Seen".to_owned());
                }
                Some(message.clone())
            });
            let Some(message) = message.flatten() else {
                continue;
            };
            for part in fetch::answer(number, &message, &items) {
                match part {
                    Part::Text(text) => self.conn.put(text),
                    Part::Literal(bytes) if self.shared.fault() == Some(Fault::LostLiteral) => {
                        let half = bytes.slice(..bytes.len() / 2);
                        self.conn.send(&half).await?;
                        self.conn.flush().await?;
                        return Err(io::ErrorKind::ConnectionAborted.into());
                    }
                    Part::Literal(bytes) => self.conn.send(&bytes).await?,
                }
            }
            self.conn.put("\r\n");
        }
        Ok(End::Ok(String::new()))
    }

    fn store(&mut self, folder: &Selected, words: &[Word], uid: bool, uids: &[u32]) -> End {
        let [_, how, rest @ ..] = words else {
            return Bad;
        };
        let how = how.text().unwrap_or_default().to_ascii_uppercase();
        let flags: BTreeSet<String> = match rest {
            [Word::List(flags)] => flags.iter().filter_map(Word::text).collect(),
            flags => flags.iter().filter_map(Word::text).collect(),
        };
        let silent = how.ends_with(".SILENT");
        for (number, wanted) in folder.numbered(uids) {
            let changed = self.login.mailbox.with(&folder.name, |folder| {
                let message = folder.message_mut(wanted)?;
                match how.strip_suffix(".SILENT").unwrap_or(&how) {
                    "+FLAGS" => message.flags.extend(flags.iter().cloned()),
                    "-FLAGS" => message
                        .flags
                        .retain(|flag| !flags.iter().any(|gone| gone.eq_ignore_ascii_case(flag))),
                    "FLAGS" => message.flags.clone_from(&flags),
                    _ => return None,
                }
                Some(fetch::flags(message))
            });
            let Some(shown) = changed.flatten() else {
                return Bad;
            };
            let uid = if uid {
                format!("UID {wanted} ")
            } else {
                String::new()
            };
            if !silent {
                self.conn.say(format!("* {number} FETCH ({uid}{shown})"));
            }
        }
        End::Ok(String::new())
    }

    fn search(&mut self, folder: &Selected, words: &[Word], uid: bool) -> End {
        let mut found = String::new();
        for (number, wanted) in folder.numbered(&folder.view) {
            let matched = self.login.mailbox.with(&folder.name, |content| {
                let Some(message) = content.message(wanted) else {
                    return Some(false);
                };
                search::matches(words, &folder.view, message)
            });
            match matched.flatten() {
                None => return Bad,
                Some(false) => {}
                Some(true) if uid => found.push_str(&format!(" {wanted}")),
                Some(true) => found.push_str(&format!(" {number}")),
            }
        }
        self.conn.say(format!("* SEARCH{found}"));
        End::Ok(String::new())
    }

    fn copy(&mut self, folder: &Selected, words: &[Word], wanted: &[u32], moves: bool) -> End {
        let target = words.get(1).and_then(Word::text);
        let Some(target) = target.and_then(|name| self.login.mailbox.resolve(&name)) else {
            return No("[TRYCREATE] Mailbox does not exist.");
        };
        let mailbox = &self.login.mailbox;
        let copied = mailbox.with(&folder.name, |folder| {
            let messages = wanted
                .iter()
                .filter_map(|&uid| folder.message(uid).cloned());
            messages.collect::<Vec<_>>()
        });
        let copied = copied.unwrap_or_default();
        let (mut from, mut to) = (Vec::new(), Vec::new());
        mailbox.with(&target, |folder| {
            for message in copied {
                from.push(message.uid.to_string());
                to.push(
                    folder
                        .add(message.bytes, message.flags, message.date)
                        .to_string(),
                );
            }
        });
        if moves {
            mailbox.with(&folder.name, |folder| {
                folder
                    .messages
                    .retain(|message| !wanted.contains(&message.uid));
            });
        }
        mailbox.changed();
        if from.is_empty() {
            return End::Ok(String::new());
        }
        End::Ok(format!(
            "COPYUID {UIDVALIDITY} {} {}",
            from.join(","),
            to.join(",")
        ))
    }

    pub(super) fn remove_deleted(&self, name: &str, only: Option<&[u32]>) {
        self.login.mailbox.with(name, |folder| {
            folder.messages.retain(|message| {
                let meant = only.is_none_or(|only| only.contains(&message.uid));
                !(meant && message.has("\\Deleted"))
            });
        });
        self.login.mailbox.changed();
    }

    /// Sends EXPUNGE and EXISTS for changes of the selected folder.
    pub(super) fn report_changes(&mut self) {
        let Some(folder) = &mut self.folder else {
            return;
        };
        let now = self.login.mailbox.with(&folder.name, |folder| uids(folder));
        let now = now.unwrap_or_default();
        if now == folder.view {
            return;
        }
        let mut kept = folder.view.len();
        for at in (0..folder.view.len()).rev() {
            let gone = folder
                .view
                .get(at)
                .is_some_and(|uid| now.binary_search(uid).is_err());
            if gone {
                self.conn.say(format!("* {} EXPUNGE", at + 1));
                kept -= 1;
            }
        }
        if now.len() > kept {
            self.conn.say(format!("* {} EXISTS", now.len()));
        }
        folder.view = now;
    }
}

impl Selected {
    /// UIDs of a set of sequence numbers or UIDs.
    fn uids(&self, set: &str, uid: bool) -> Option<Vec<u32>> {
        if uid {
            return members(set, &self.view);
        }
        let numbers: Vec<u32> = (1..).zip(&self.view).map(|(number, _)| number).collect();
        let named = members(set, &numbers)?;
        let view = |number: u32| self.view.get(usize::try_from(number).ok()? - 1).copied();
        named.into_iter().map(view).collect()
    }

    /// Sequence numbers and UIDs of the messages `wanted` (ascending).
    fn numbered(&self, wanted: &[u32]) -> Vec<(usize, u32)> {
        let numbered = (1..).zip(self.view.iter().copied());
        numbered
            .filter(|(_, uid)| wanted.binary_search(uid).is_ok())
            .collect()
    }
}

pub(super) fn uids(folder: &Folder) -> Vec<u32> {
    folder.messages.iter().map(|message| message.uid).collect()
}
