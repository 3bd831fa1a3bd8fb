//! Hash chain: each line ends with the hash of the previous line and its own.
//!
//! `hash` is the last key: hex SHA-256 of the line's bytes without `,"hash":"…"` and without LF.

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use super::record::AuditRecord;
use crate::text::hex;

/// Value of `prev` in the first record of a chain.
pub const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Number of hex digits of a hash.
pub(super) const DIGITS: usize = 64;

/// Text between a line's last field and its hash.
const HASH: &str = ",\"hash\":\"";
const END: &str = "\"}";

/// State of a chain: its last hash and its number of records.
#[derive(Debug)]
pub(super) struct Chain {
    /// Hash of the last record.
    head: String,
    /// Records sealed by this process.
    records: u64,
}

/// A record in the form that is hashed.
#[derive(Serialize)]
struct Line<'a> {
    v: u8,
    #[serde(flatten)]
    record: &'a AuditRecord,
    prev: &'a str,
}

impl Chain {
    /// Continues after the record with this hash, or starts a chain.
    pub(super) fn continuing_from(head: Option<String>) -> Self {
        Self {
            head: head.unwrap_or_else(|| START.to_owned()),
            records: 0,
        }
    }

    pub(super) fn head(&self) -> &str {
        &self.head
    }

    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// Seals a record: returns its line with LF.
    pub(super) fn seal(&mut self, record: &AuditRecord) -> Result<Vec<u8>, serde_json::Error> {
        let mut line = serde_json::to_vec(&Line {
            v: 1,
            record,
            prev: &self.head,
        })?;
        self.head = hash(&line);
        self.records += 1;
        // The hash is inserted before the closing brace.
        line.pop();
        line.extend_from_slice(HASH.as_bytes());
        line.extend_from_slice(self.head.as_bytes());
        line.extend_from_slice(END.as_bytes());
        line.push(b'\n');
        Ok(line)
    }
}

/// Computes the SHA-256 as lower-case hex digits.
pub(super) fn hash(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

/// Whether `text` has the form of a hash.
pub fn is_hash(text: &str) -> bool {
    text.len() == DIGITS
        && text
            .bytes()
            .all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'))
}

/// Splits a line without LF into the hashed part, without its closing brace, and the stated hash.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], &str)> {
    let rest = line.strip_suffix(END.as_bytes())?;
    let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    let hash = std::str::from_utf8(hash)
        .ok()
        .filter(|hash| is_hash(hash))?;
    Some((rest.strip_suffix(HASH.as_bytes())?, hash))
}

/// Octets at the end of a line that [`split`] needs.
pub(super) const TAIL: usize = HASH.len() + DIGITS + END.len();
