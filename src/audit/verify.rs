//! Verifies a chain: detects edits, gaps, reordering, a torn end and truncation.

use std::fmt;
use std::io::{self, BufRead};

use serde::Deserialize;

use super::chain::{START, hash, split};
use super::lines::{Line, read_line};
use super::sign::PublicKey;

/// Maximum number of reported breaks; the rest of the chain is not checked.
const MAX_BREAKS: usize = 100;

/// Break: a line that cannot be parsed.
const NO_RECORD: &str = "is not an audit record";

/// Result of verifying a chain.
#[derive(Debug, Default)]
pub struct ChainReport {
    /// Number of checked records.
    pub records: u64,
    /// Hash of the last record.
    pub head: Option<String>,
    /// Time of the last signed head, as it states.
    pub signed: Option<String>,
    /// Number of records after the last head.
    pub unsigned: u64,
    /// Breaks in the chain, in order.
    pub broken: Vec<ChainBreak>,
}

/// One break. Formatted as `FILE:LINE: what`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainBreak {
    /// Name of the file with the break.
    pub file: String,
    /// Line number from 1; 0 if the file as a whole is meant.
    pub line: u64,
    /// Description of the break.
    pub what: &'static str,
}

impl fmt::Display for ChainBreak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.what),
            line => write!(f, "{}:{line}: {}", self.file, self.what),
        }
    }
}

#[derive(Deserialize)]
struct Link {
    prev: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    event: String,
    signature: Option<String>,
}

/// Verifies files in order as one chain. `after` is the hash of the record before the first one.
/// `head` is the required hash of the last one. `key` must have signed every head, and then at
/// least one head is required.
///
/// # Errors
///
/// A file that cannot be read: its name and the error.
pub fn verify<R: BufRead>(
    files: impl IntoIterator<Item = (String, R)>,
    after: Option<&str>,
    head: Option<&str>,
    key: Option<&PublicKey>,
) -> Result<ChainReport, (String, io::Error)> {
    let mut found = ChainReport::default();
    let mut last = String::new();
    for (name, mut file) in files {
        let mut number = 0;
        let mut line = Vec::new();
        loop {
            let wrong = match read_line(&mut file, &mut line) {
                Ok(Line::End) => break,
                Ok(Line::Whole) => found.check(&line, after, key),
                Ok(Line::TooLong) => vec![NO_RECORD],
                Err(error) => return Err((name, error)),
            };
            number += 1;
            found.records += 1;
            for what in wrong {
                found.broken.push(ChainBreak {
                    file: name.clone(),
                    line: number,
                    what,
                });
            }
            if found.broken.len() >= MAX_BREAKS {
                found.broken.push(ChainBreak {
                    file: name,
                    line: number,
                    what: "too many problems; the rest was not checked",
                });
                return Ok(found);
            }
        }
        last = name;
    }
    if key.is_some() && found.signed.is_none() {
        found.broken.push(ChainBreak {
            file: last.clone(),
            line: 0,
            what: "has no signed head: nothing proves that the chain was not replaced as a whole",
        });
    }
    let expected = found.head.as_deref().or(after).unwrap_or(START);
    if head.is_some_and(|head| head != expected) {
        found.broken.push(ChainBreak {
            file: last,
            line: 0,
            what: "does not end with the given head: records are missing at its end, or came after it",
        });
    }
    Ok(found)
}

impl ChainReport {
    /// Checks the next line and returns its breaks. The line's own hash is trusted for the next
    /// line, so that one error is reported once.
    fn check(
        &mut self,
        line: &[u8],
        after: Option<&str>,
        key: Option<&PublicKey>,
    ) -> Vec<&'static str> {
        let mut wrong = Vec::new();
        let Some(line) = line.strip_suffix(b"\n") else {
            return vec!["ends within a record: it was torn, or is being written"];
        };
        let parts = split(line);
        let link = serde_json::from_slice::<Link>(line).ok();
        let (Some((body, stated)), Some(link)) = (parts, link) else {
            return vec![NO_RECORD];
        };
        let prev = &link.prev;
        if hash(&[body, b"}"].concat()) != stated {
            wrong.push("was edited: its hash is not that of its bytes");
        }
        match &self.head {
            Some(head) if prev == head => {}
            Some(_) if prev.as_str() == START => wrong.push(
                "begins a new chain: records before it are missing, or these files are two chains",
            ),
            Some(_) => wrong
                .push("does not follow the record before it: one was deleted, inserted or moved"),
            None => match after {
                Some(after) if prev.as_str() == after => {}
                None if prev.as_str() == START => {}
                Some(_) => wrong.push("does not follow the record given with --after"),
                None => wrong.push(
                    "is not the first of its chain: give the files before it, or --after HASH",
                ),
            },
        }
        self.head = Some(stated.to_owned());
        if link.event == "head" {
            self.signed = Some(link.time.clone());
            self.unsigned = 0;
            let signature = link.signature.unwrap_or_default();
            if key.is_some_and(|key| !key.verifies(&link.time, prev, &signature)) {
                wrong.push("is a head that was not signed by the holder of the key");
            }
        } else {
            self.unsigned += 1;
        }
        wrong
    }
}
