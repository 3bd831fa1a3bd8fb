//! Comparison of two records with one name: which of them counts.

use super::number::Number;

/// Part of a record that the comparison needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Number of the record: the greater of two counts.
    pub number: Number,
    /// Whether it is marked as ended.
    pub ended: bool,
    /// Digest that distinguishes two records of one number, of which the store's counts.
    pub digest: u64,
}

/// Decision about a relay's own record and the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconciled {
    /// Put the own record.
    Put,
    /// Adopt the stored one.
    Adopt,
    /// Both are the same.
    Same,
}

/// Decides which record counts: the greater number, of equal ones the store's. An absent record
/// never means a deleted one.
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
