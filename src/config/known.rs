//! Values that other sections refer to by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::field::{Field, either};

/// Valid values by name, and the names of invalid ones, so that references to those are not
/// reported too.
#[derive(Debug)]
pub(super) struct Known<T> {
    pub(super) valid: BTreeMap<String, Arc<T>>,
    broken: BTreeSet<String>,
    /// Name of the kind of value, for problems.
    what: &'static str,
    /// Remedy if there is no value of a name.
    remedy: &'static str,
}

impl<T> Known<T> {
    pub(super) fn new(what: &'static str, remedy: &'static str) -> Self {
        Self {
            valid: BTreeMap::new(),
            broken: BTreeSet::new(),
            what,
            remedy,
        }
    }

    /// Adds a value; `None` if it is invalid, which was reported.
    pub(super) fn insert(&mut self, name: String, value: Option<T>) {
        match value {
            Some(value) => {
                self.valid.insert(name, Arc::new(value));
            }
            None => {
                self.broken.insert(name);
            }
        }
    }

    /// Finds the value that a field names.
    pub(super) fn named(&self, field: &Field, name: &str) -> Option<Arc<T>> {
        if let Some(value) = self.valid.get(name) {
            return Some(value.clone());
        }
        if !self.broken.contains(name) {
            let names: Vec<_> = self.valid.keys().map(String::as_str).collect();
            let write = match names.is_empty() {
                true => String::new(),
                false => format!("write {}, or ", either(&names)),
            };
            let (what, remedy) = (self.what, self.remedy);
            field.problem(format_args!("there is no such {what}; {write}{remedy}"));
        }
        None
    }
}
