//! Last records of an audit file, for the records page. The file is read from its end, at most 8
//! MiB, while it is being written and rotated.
//!
//! The file is opened by its path, since the position of the open file belongs to the writer. After
//! a rotation the missing records are read from `FILE.1`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::chain::{hash, split};

/// Maximum number of octets read, of all files together.
const CAP: u64 = 8 * 1024 * 1024;

/// Octets of the first attempt: enough for some hundreds of records.
const FIRST: u64 = 1024 * 1024;

/// Record with the fields that are shown; other fields are ignored.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Row {
    /// Time of the record: UTC, RFC 3339, milliseconds.
    pub time: String,
    /// Name of the event that the record describes.
    pub event: String,
    /// Protocol of the listener.
    pub protocol: Option<String>,
    /// Name of the listener that accepted the client.
    pub listener: Option<String>,
    /// Client as `address:port`.
    pub client: Option<String>,
    /// Login as the client presented it, or login of an action.
    pub login: Option<String>,
    /// Name of the password that matched.
    pub credential: Option<String>,
    /// Mailbox that the login opened.
    pub mailbox: Option<String>,
    /// Outcome of the attempt, session or action.
    pub outcome: Option<String>,
    /// Fault that ended the attempt, as `side: kind`.
    pub fault: Option<String>,
    /// Octets from the client to the upstream.
    pub bytes_up: Option<u64>,
    /// Octets from the upstream to the client.
    pub bytes_down: Option<u64>,
    /// Duration of the session, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Messages sent over SMTP; only their number is used.
    messages: Vec<IgnoredAny>,
    /// User or token that performed the action.
    pub person: Option<String>,
    /// Action of an administrator.
    pub action: Option<String>,
    /// Number of dropped records.
    pub records: Option<u64>,
    /// Signature of a signed head.
    pub signature: Option<String>,
    /// Name of the relay that wrote the record.
    pub relay: Option<String>,
    /// Hash of the previous record.
    prev: String,
}

impl Row {
    /// Number of messages in the record.
    pub fn message_count(&self) -> usize {
        self.messages.len()
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
        for file in [path.to_owned(), rotated(path)] {
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

fn rotated(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
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
            self.broken.push(row.time.clone());
        }
        if self.head.is_none() {
            self.head.clone_from(&stated);
        }
        if self.signed.is_none() && row.event == "head" && row.signature.is_some() {
            self.signed = Some((row.time.clone(), row.prev.clone()));
        }
        self.expected = Some(row.prev.clone());
        self.oldest = Some(row.time.clone());
        if filter.takes(&row, line) {
            self.rows.push(row);
        }
    }
}

impl Filter {
    /// Whether the record matches.
    fn takes(&self, row: &Row, line: &[u8]) -> bool {
        let is = |wanted: &str, value: Option<&str>| wanted.is_empty() || value == Some(wanted);
        let names = [&row.login, &row.mailbox, &row.person];
        let has_name = |name: &&Option<String>| {
            name.as_ref()
                .is_some_and(|name| name.to_lowercase().contains(&self.login))
        };
        is(&self.event, Some(&row.event))
            && is(&self.outcome, row.outcome.as_deref())
            && (self.login.is_empty() || names.iter().any(has_name))
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
