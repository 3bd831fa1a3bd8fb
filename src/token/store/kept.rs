//! Content of a login's file: the record of a consent, or a tombstone.

use super::clock::now_ms;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::record::StoredConsent;
use crate::cluster::number::Number;

/// Lifetime of a tombstone: a backup restored later brings its consent back.
pub(super) const TOMBSTONE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Capacity in octets for a record in clear.
const CLEAR: usize = 64 * 1024;

/// Opened content of a login's file.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Login of the record.
    pub login: String,
    number: Number,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Consent(Box<StoredConsent>),
    /// Time of the tombstone, in milliseconds since 1970.
    Tombstone(u64),
}

#[derive(Serialize, Deserialize)]
struct Clear {
    login: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record: Option<StoredConsent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forgotten: Option<u64>,
}

impl Kept {
    /// Creates the content of a consent; without a number it is numbered by the time of the consent.
    pub fn of_record(login: &str, record: &StoredConsent) -> Self {
        let record = record.numbered(None);
        Self {
            login: login.to_owned(),
            number: record.number,
            content: Content::Consent(Box::new(record)),
        }
    }

    /// Creates the tombstone that `forget` leaves.
    pub fn tombstone(login: &str, number: Number) -> Self {
        Self {
            login: login.to_owned(),
            number,
            content: Content::Tombstone(now_ms()),
        }
    }

    /// Returns the number that orders the records of a login.
    pub fn number(&self) -> Number {
        self.number
    }

    /// Returns the consent; `None` for a tombstone.
    pub fn record(&self) -> Option<&StoredConsent> {
        match &self.content {
            Content::Consent(record) => Some(record),
            Content::Tombstone(_) => None,
        }
    }

    /// Returns the consent; `None` for a tombstone.
    pub fn into_record(self) -> Option<StoredConsent> {
        match self.content {
            Content::Consent(record) => Some(*record),
            Content::Tombstone(_) => None,
        }
    }

    /// Whether it is a tombstone that has expired.
    pub(super) fn is_spent(&self) -> bool {
        let age = |since: u64| Duration::from_millis(now_ms().saturating_sub(since));
        matches!(self.content, Content::Tombstone(since) if age(since) > TOMBSTONE)
    }

    /// Writes the clear text to be sealed.
    pub(crate) fn clear(&self) -> Option<Zeroizing<Vec<u8>>> {
        let clear = Clear {
            login: self.login.clone(),
            record: self.record().cloned(),
            forgotten: match self.content {
                Content::Consent(_) => None,
                Content::Tombstone(since) => Some(since),
            },
        };
        // A buffer that grows would leave copies of the text in memory.
        let mut text = Zeroizing::new(Vec::with_capacity(CLEAR));
        serde_json::to_writer(&mut *text, &clear).ok()?;
        Some(text)
    }

    /// Parses the clear text that was sealed with this number.
    pub(crate) fn from_clear(number: Number, clear: &[u8]) -> Option<Self> {
        let clear: Clear = serde_json::from_slice(clear).ok()?;
        let content = match (clear.record, clear.forgotten) {
            (Some(mut record), None) => {
                record.number = number;
                Content::Consent(Box::new(record))
            }
            (None, Some(since)) => Content::Tombstone(since),
            _ => return None,
        };
        Some(Self {
            login: clear.login,
            number,
            content,
        })
    }
}
