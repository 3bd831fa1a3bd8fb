//! Content of a login's file: the record of a consent, or a tombstone.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::issued::now_ms;
use super::record::StoredConsent;
use crate::cluster::number::Number;

/// Lifetime of a tombstone: a backup restored later brings its consent back.
pub(super) const TOMBSTONE: Duration = Duration::from_secs(90 * 24 * 3600);

/// Capacity in octets for a record in clear.
const CLEAR: usize = 64 * 1024;

/// Opened content of a login's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// Login of the record.
    pub login: String,
    /// Sealed separately.
    #[serde(skip)]
    number: Number,
    #[serde(flatten)]
    content: Content,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Content {
    #[serde(rename = "record")]
    Consent(Box<StoredConsent>),
    /// Time of the tombstone, in milliseconds since 1970.
    #[serde(rename = "forgotten")]
    Tombstone(u64),
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
        // A buffer that grows would leave copies of the text in memory.
        let mut text = Zeroizing::new(Vec::with_capacity(CLEAR));
        serde_json::to_writer(&mut *text, self).ok()?;
        Some(text)
    }

    /// Parses the clear text that was sealed with this number.
    pub(crate) fn from_clear(number: Number, clear: &[u8]) -> Option<Self> {
        let mut kept: Self = serde_json::from_slice(clear).ok()?;
        kept.number = number;
        if let Content::Consent(record) = &mut kept.content {
            record.number = number;
        }
        Some(kept)
    }
}
