//! Passwords, client secrets and tokens.
//!
//! A [`Secret`] cannot be printed: it has no `Display`, and its `Debug` shows nothing in any build
//! profile. Its bytes are overwritten when the last clone is dropped; clones share one copy in
//! memory. Code that needs the value calls [`Secret::expose`], which is easy to search for.

use std::fmt;
use std::sync::Arc;

use secrecy::zeroize::Zeroize as _;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// A text that must never appear in a log, a metric, an audit record or an error message.
#[derive(Clone, Default)]
pub struct Secret(Arc<SecretString>);

impl Secret {
    /// The text, for the one function that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether the secret is empty.
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl From<String> for Secret {
    fn from(mut text: String) -> Self {
        // Avoids spare capacity: shrinking would allocate again and leave a copy in memory.
        if text.capacity() == text.len() {
            return Self(Arc::new(SecretString::from(text)));
        }
        let secret = Self::from(text.as_str());
        text.zeroize();
        secret
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Arc::new(SecretString::from(text)))
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// Compares in time that depends only on the lengths.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose()
            .as_bytes()
            .ct_eq(other.expose().as_bytes())
            .into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::from("correct horse");
        assert_eq!(format!("{secret:?} {secret:#?}"), "[secret] [secret]");
    }

    #[test]
    fn equality_is_that_of_the_text() {
        assert_eq!(Secret::from("a"), Secret::from("a"));
        assert_ne!(Secret::from("a"), Secret::from("b"));
        assert_ne!(Secret::from("a"), Secret::from("ab"));
    }
}
