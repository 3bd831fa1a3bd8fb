//! SEARCH: flags, sets, sizes and texts; dates are taken to match.

use super::command::{Word, members};
use super::fetch::field;
use crate::sandbox::mailbox::Message;

/// Maximum depth of nested groups.
const DEPTH: usize = 20;

pub(super) struct Search<'a> {
    words: std::slice::Iter<'a, Word>,
    /// UIDs by sequence number.
    view: &'a [u32],
    depth: usize,
}

/// Whether the message matches; `None` for an unknown key.
pub(super) fn matches(words: &[Word], view: &[u32], message: &Message) -> Option<bool> {
    all(words, view, message, 0)
}

fn all(words: &[Word], view: &[u32], message: &Message, depth: usize) -> Option<bool> {
    let mut search = Search {
        words: words.iter(),
        view,
        depth,
    };
    let mut matched = true;
    while !search.words.as_slice().is_empty() {
        matched &= search.key(message)?;
    }
    Some(matched)
}

impl Search<'_> {
    fn key(&mut self, message: &Message) -> Option<bool> {
        if self.depth > DEPTH {
            return None;
        }
        let key = match self.words.next()? {
            Word::List(list) => return all(list, self.view, message, self.depth + 1),
            word => word.text()?.to_ascii_uppercase(),
        };
        let contains = |text: &str, part: &str| {
            text.to_ascii_lowercase()
                .contains(&part.to_ascii_lowercase())
        };
        Some(match key.as_str() {
            "ALL" | "OLD" => true,
            "RECENT" | "NEW" => false,
            "SEEN" | "ANSWERED" | "DELETED" | "FLAGGED" | "DRAFT" => {
                message.has(&format!("\\{key}"))
            }
            "UNSEEN" | "UNANSWERED" | "UNDELETED" | "UNFLAGGED" | "UNDRAFT" => {
                !message.has(&key.replacen("UN", "\\", 1))
            }
            "KEYWORD" => message.has(&self.text()?),
            "UNKEYWORD" => !message.has(&self.text()?),
            "UID" => members(&self.text()?, self.view)?.contains(&message.uid),
            "SINCE" | "BEFORE" | "ON" | "SENTSINCE" | "SENTBEFORE" | "SENTON" => {
                self.text()?;
                true
            }
            "CHARSET" => {
                self.text()?;
                true
            }
            "LARGER" => message.bytes.len() > self.text()?.parse().ok()?,
            "SMALLER" => message.bytes.len() < self.text()?.parse().ok()?,
            "FROM" | "TO" | "CC" | "BCC" | "SUBJECT" => {
                let part = self.text()?;
                field(message, &key).is_some_and(|text| contains(&text, &part))
            }
            "HEADER" => {
                let (name, part) = (self.text()?, self.text()?);
                field(message, &name).is_some_and(|text| contains(&text, &part))
            }
            "BODY" | "TEXT" => {
                let part = self.text()?;
                contains(&String::from_utf8_lossy(&message.bytes), &part)
            }
            "NOT" => {
                self.depth += 1;
                !self.key(message)?
            }
            "OR" => {
                self.depth += 1;
                let (one, other) = (self.key(message)?, self.key(message)?);
                one || other
            }
            set => {
                let numbers: Vec<u32> = (1..).zip(self.view).map(|(number, _)| number).collect();
                let number = self.view.iter().position(|&uid| uid == message.uid)? + 1;
                members(set, &numbers)?
                    .iter()
                    .any(|&named| usize::try_from(named) == Ok(number))
            }
        })
    }

    fn text(&mut self) -> Option<String> {
        self.words.next()?.text()
    }
}
