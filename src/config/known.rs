//! Values that other sections refer to by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::field::{Field, either};

/// Values by name. An invalid one is `None`, so that references to it are not reported too.
#[derive(Debug)]
pub(super) struct Known<T> {
    all: BTreeMap<String, Option<Arc<T>>>,
    /// Name of the kind of value, for problems.
    what: &'static str,
    /// Remedy if there is no value of a name.
    remedy: &'static str,
}

impl<T> Known<T> {
    pub(super) fn new(what: &'static str, remedy: &'static str) -> Self {
        Self {
            all: BTreeMap::new(),
            what,
            remedy,
        }
    }

    /// Adds a value; `None` if it is invalid, which was reported.
    pub(super) fn insert(&mut self, name: String, value: Option<T>) {
        self.all.insert(name, value.map(Arc::new));
    }

    /// Returns the valid values by name.
    pub(super) fn valid(&self) -> BTreeMap<String, Arc<T>> {
        let valid =
            |(name, value): (&String, &Option<Arc<T>>)| Some((name.clone(), value.clone()?));
        self.all.iter().filter_map(valid).collect()
    }

    /// Finds the value that a field names.
    pub(super) fn named(&self, field: &Field, name: &str) -> Option<Arc<T>> {
        if let Some(value) = self.all.get(name) {
            return value.clone();
        }
        let valid = self.valid();
        let names: Vec<_> = valid.keys().map(String::as_str).collect();
        let write = match names.is_empty() {
            true => String::new(),
            false => format!("write {}, or ", either(&names)),
        };
        let (what, remedy) = (self.what, self.remedy);
        field.reject(format_args!("there is no such {what}; {write}{remedy}"))
    }
}
