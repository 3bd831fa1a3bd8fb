//! Verifying a chain: an edit, a gap, a reordering, a torn end, a truncation.

use std::fmt;
use std::io::{self, BufRead, Read as _};

use serde::Deserialize;

use super::chain::{START, hash, split};
use super::sign::PublicKey;

/// Largest number of breaks that are reported; after these the rest is not checked.
const MAX_BREAKS: usize = 100;

/// A longer line is no record.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Report of the verification of a chain.
#[derive(Debug, Default)]
pub struct ChainReport {
    /// Number of records that were checked.
    pub records: u64,
    /// The hash of the last one.
    pub head: Option<String>,
    /// When the last signed head was made, as it says.
    pub signed: Option<String>,
    /// Records after the last head.
    pub unsigned: u64,
    /// Breaks of the chain, in order.
    pub broken: Vec<ChainBreak>,
}

/// One thing that is wrong. Displayed as `FILE:LINE: what`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainBreak {
    /// Name of the file with the break.
    pub file: String,
    /// Which line, from 1; 0 where it is the file as a whole.
    pub line: u64,
    /// Description of what is wrong there.
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

/// Reads files in order as one chain. `after` is the hash of the record before the first one;
/// `head` is the hash that the last one must have; `key` is the one that must have signed every
/// head, of which there must be one.
///
/// # Errors
///
/// Where a file cannot be read: its name, and why.
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
            line.clear();
            match (&mut file).take(LONGEST).read_until(b'\n', &mut line) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err((name, error)),
            }
            number += 1;
            found.records += 1;
            for what in found.check(&line, after, key) {
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
                    what: "too much is wrong; the rest was not looked at",
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
            what: "has no signed head: nothing shows that the chain was not made anew",
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
    /// Checks the next line and gives its breaks; its own hash is believed for the line after it,
    /// so that one mistake is reported once.
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
            return vec!["is no audit record"];
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
