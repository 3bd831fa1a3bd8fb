//! Comparison of two records with one name: which of them counts.

use super::number::Number;

/// A record, as far as deciding needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Number of the record: the greater of two counts.
    pub number: Number,
    /// Marked as ended.
    pub ended: bool,
    /// Tells two records of one number apart: of these the store's is the truth.
    pub digest: u64,
}

/// Decision about a relay's own record and the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciled {
    /// Put its own.
    Put,
    /// Adopt the stored one.
    Adopt,
    /// They are the same.
    Same,
}

/// The greater number is the truth, of equal ones the store's; absent never means deleted.
pub fn reconcile(own: Option<Mark>, stored: Option<Mark>) -> Reconciled {
    match (own, stored) {
        (None, None) => Reconciled::Same,
        (Some(_), None) => Reconciled::Put,
        (None, Some(_)) => Reconciled::Adopt,
        (Some(own), Some(stored)) if own.number > stored.number => Reconciled::Put,
        (Some(own), Some(stored)) if own == stored => Reconciled::Same,
        (Some(_), Some(_)) => Reconciled::Adopt,
    }
}
