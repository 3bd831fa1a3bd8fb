//! Reading a file: everything it says, or every problem.

use super::model::{Checked, Config};
use super::problem::Problem;
use super::provider::Provider;
use super::secrets::Secrets;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::sources::Sources;

/// Finds every problem of the file at `path`, without a network.
///
/// # Errors
///
/// Every problem, in the order of the file. Never empty.
pub fn check(path: &Path, secrets: Secrets) -> Result<Checked, Vec<Problem>> {
    super::read::load(path, Sources::new(path, secrets).for_check()).map(Checked::of)
}

/// Checks a text in place of the file at `path`.
///
/// # Errors
///
/// Every problem, in the order of the text. Never empty.
pub fn check_text(text: &str, path: &Path, secrets: Secrets) -> Result<Checked, Vec<Problem>> {
    super::read::parse(text, path, Sources::new(path, secrets).for_check()).map(Checked::of)
}

/// The JSON Schema of `proxy.yaml`, for editors.
pub fn schema() -> serde_json::Value {
    super::reference::schema()
}

/// Mail services that need no configuration, by name.
pub fn presets() -> BTreeMap<String, Arc<Provider>> {
    super::read::presets()
}

/// Writes the reference tables of the README.
pub fn markdown() -> String {
    super::reference::markdown()
}

impl Config {
    /// Reads the file at `path` and everything it points at.
    ///
    /// # Errors
    ///
    /// Every problem, in the order of the file. Never empty.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        super::read::load(path, Sources::new(path, Secrets::Read))
    }

    /// Reads a text in place of the file at `path`.
    ///
    /// # Errors
    ///
    /// Every problem, in the order of the text. Never empty.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<Problem>> {
        super::read::parse(text, path, Sources::new(path, Secrets::Read))
    }

    /// Reads a text as [`Config::parse`] does, without the secrets that it points to: good for
    /// inspection, not for serving.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub fn parse_without_secrets(text: &str, path: &Path) -> Result<Self, Vec<Problem>> {
        super::read::parse(text, path, Sources::new(path, Secrets::Skip))
    }
}

impl Checked {
    fn of(config: Config) -> Self {
        Self {
            listeners: config.listeners.len(),
            registrations: config.registrations.len(),
            accounts: config.accounts.len(),
            warnings: config.warnings,
        }
    }
}
