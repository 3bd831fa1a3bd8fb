//! Last records of an audit file, for the records page. The file is read from its end, at most 8
//! MiB, while it is being written and rotated.
//!
//! The file is opened by its path, since the position of the open file belongs to the writer. After
//! a rotation the missing records are read from `FILE.1`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::chain::{hash, split};

/// Maximum number of octets read, of all files together.
const CAP: u64 = 8 * 1024 * 1024;

/// Octets of the first attempt: enough for some hundreds of records.
const FIRST: u64 = 1024 * 1024;

/// A record as it stands in the file; empty where the line is no JSON object.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Row(Map<String, Value>);

impl Row {
    /// Text of a field; `None` where it is absent or no text.
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field)?.as_str()
    }

    /// Number in a field; `None` where it is absent or no number.
    pub fn number(&self, field: &str) -> Option<u64> {
        self.0.get(field)?.as_u64()
    }

    /// Number of messages in the record.
    pub fn message_count(&self) -> usize {
        let messages = self.0.get("messages").and_then(Value::as_array);
        messages.map_or(0, Vec::len)
    }

    /// Time of the record: UTC, RFC 3339, milliseconds; empty if it has none.
    pub fn time(&self) -> &str {
        self.text("time").unwrap_or_default()
    }
}

/// Filter of records; empty texts match everything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Part of a login, mailbox or user, in lower case.
    pub login: String,
    /// Name of the event to find.
    pub event: String,
    /// Outcome to find.
    pub outcome: String,
    /// Part of the record's line, in lower case.
    pub text: String,
}

/// Last records of a file, newest first, and the state of their chain.
#[derive(Debug, Default)]
pub struct Tail {
    /// Matching records, up to the requested number.
    pub rows: Vec<Row>,
    /// Number of examined records.
    pub examined: u64,
    /// Time of the oldest examined record.
    pub oldest: Option<String>,
    /// Whether there are older records that were not examined.
    pub has_more: bool,
    /// Hash of the last record.
    pub head: Option<String>,
    /// Time of the last signed head, and the hash that it signs.
    pub signed: Option<(String, String)>,
    /// Times of the records that are damaged, or do not match the next record's `prev`.
    pub broken: Vec<String>,
    /// Hash that the next record requires of this one.
    expected: Option<String>,
}

/// Reads the last `limit` matching records.
///
/// # Errors
///
/// The file exists but cannot be read.
pub fn tail(path: &Path, filter: &Filter, limit: usize) -> io::Result<Tail> {
    let mut found = Tail::default();
    for budget in [FIRST, CAP] {
        found = Tail::default();
        let mut left = budget;
        for file in [path.to_owned(), path.with_added_extension("1")] {
            let is_first = file == path;
            match found.add(&file, filter, limit, left) {
                Ok(read) => left = left.saturating_sub(read),
                // The file was just renamed, or never written.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if is_first => return Err(error),
                Err(_) => break,
            }
            if found.has_more || found.rows.len() >= limit {
                break;
            }
        }
        if found.rows.len() >= limit || !found.has_more {
            break;
        }
    }
    Ok(found)
}

impl Tail {
    /// Adds the records in the last `budget` octets of a file, last one first. Returns the number
    /// of octets read.
    fn add(&mut self, path: &Path, filter: &Filter, limit: usize, budget: u64) -> io::Result<u64> {
        // Opening a pipe would take records from its reader.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::other(
                "it is a pipe or a device, which keeps nothing",
            ));
        }
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let start = length.saturating_sub(budget);
        file.seek(SeekFrom::Start(start))?;
        let mut octets = Vec::new();
        file.take(length - start).read_to_end(&mut octets)?;
        // A line that is being written has no end yet. The first line may be cut off.
        let end = memchr::memrchr(b'\n', &octets).unwrap_or(0);
        let begin = match start {
            0 => 0,
            _ => memchr::memchr(b'\n', &octets).map_or(end, |at| at + 1),
        };
        self.has_more = start > 0;
        let lines = octets.get(begin..end).unwrap_or_default();
        for line in lines.rsplit(|octet| *octet == b'\n') {
            if line.is_empty() {
                continue;
            }
            if self.rows.len() >= limit {
                self.has_more = true;
                break;
            }
            self.look_at(line, filter);
        }
        Ok(octets.len() as u64)
    }

    /// Examines the next older line.
    fn look_at(&mut self, line: &[u8], filter: &Filter) {
        self.examined += 1;
        let row: Option<Row> = serde_json::from_slice(line).ok();
        let row = row.unwrap_or_default();
        let stated = split(line);
        let is_whole = stated.is_some_and(|(hashed, stated)| {
            // The hash covers the closing brace too, which follows it in the line.
            let hashed = [hashed, b"}"].concat();
            hash(&hashed) == stated
        });
        let stated = stated.map(|(_, hash)| hash.to_owned());
        let is_linked = self.expected.is_none() || self.expected == stated;
        if !is_whole || !is_linked {
            self.broken.push(row.time().to_owned());
        }
        if self.head.is_none() {
            self.head.clone_from(&stated);
        }
        let (time, prev) = (row.time(), row.text("prev").unwrap_or_default());
        let is_head = row.text("event") == Some("head") && row.text("signature").is_some();
        if self.signed.is_none() && is_head {
            self.signed = Some((time.to_owned(), prev.to_owned()));
        }
        self.expected = Some(prev.to_owned());
        self.oldest = Some(time.to_owned());
        if filter.takes(&row, line) {
            self.rows.push(row);
        }
    }
}

impl Filter {
    /// Whether the record matches.
    fn takes(&self, row: &Row, line: &[u8]) -> bool {
        let is = |wanted: &str, field| wanted.is_empty() || row.text(field) == Some(wanted);
        let has_name = |field| {
            let name = row.text(field).unwrap_or_default();
            name.to_lowercase().contains(&self.login)
        };
        is(&self.event, "event")
            && is(&self.outcome, "outcome")
            && ["login", "mailbox", "person"].into_iter().any(has_name)
            && (self.text.is_empty() || self.is_in(line))
    }

    /// Whether the line contains the text. Hashes match only as a whole.
    fn is_in(&self, line: &[u8]) -> bool {
        let chain = memchr::memmem::rfind(line, b",\"prev\":\"").unwrap_or(line.len());
        let end = match super::chain::is_hash(&self.text) {
            true => line.len(),
            false => chain,
        };
        let line = line.get(..end).unwrap_or_default();
        String::from_utf8_lossy(line)
            .to_lowercase()
            .contains(&self.text)
    }
}
