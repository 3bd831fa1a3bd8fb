//! Entry points: read or check a file or text, and describe `proxy.yaml`.

use super::model::{Checked, Config};
use super::problem::Problem;
use super::provider::Provider;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::sources::{Secrets, Sources};

/// Checks the file at `path` without network access.
///
/// # Errors
///
/// Every problem, in the order of the file. Never empty.
pub fn check(path: &Path, secrets: Secrets) -> Result<Checked, Vec<Problem>> {
    super::document::load(path, Sources::new(path, secrets).for_check()).map(Checked::of)
}

/// Checks a text in place of the file at `path`.
///
/// # Errors
///
/// Every problem, in the order of the text. Never empty.
pub fn check_text(text: &str, path: &Path, secrets: Secrets) -> Result<Checked, Vec<Problem>> {
    super::document::parse(text, path, Sources::new(path, secrets).for_check()).map(Checked::of)
}

/// Builds the JSON Schema of `proxy.yaml`, for editors.
pub fn schema() -> serde_json::Value {
    super::reference::schema()
}

/// Returns the built-in providers, by name.
pub fn presets() -> BTreeMap<String, Arc<Provider>> {
    super::providers::presets()
}

/// Builds the reference tables of the README.
pub fn markdown() -> String {
    super::reference::markdown()
}

impl Config {
    /// Reads the file at `path` and all files it refers to.
    ///
    /// # Errors
    ///
    /// Every problem, in the order of the file. Never empty.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        super::document::load(path, Sources::new(path, Secrets::Read))
    }

    /// Reads a text in place of the file at `path`.
    ///
    /// # Errors
    ///
    /// Every problem, in the order of the text. Never empty.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<Problem>> {
        super::document::parse(text, path, Sources::new(path, Secrets::Read))
    }

    /// Reads a text as [`Config::parse`] does, without the secrets it refers to. The result is for
    /// inspection, not for serving.
    ///
    /// # Errors
    ///
    /// Those of [`Config::parse`].
    pub fn parse_without_secrets(text: &str, path: &Path) -> Result<Self, Vec<Problem>> {
        super::document::parse(text, path, Sources::new(path, Secrets::Skip))
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
