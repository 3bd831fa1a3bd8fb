//! Format of the first versions: files named by a hash of the login, without a number. They are read
//! and converted once. The text that identifies the key stays in this format, so that an older
//! version accepts the key after a roll-back.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::file::{self, StateError};
use super::record::StoredConsent;
use crate::cluster::keys::{Seal, SealedText};
use crate::secret::Secret;
use crate::text::hex;

const FORMAT: u32 = 1;

/// Reason why a record cannot be opened.
pub(super) const BROKEN: &str = "it is damaged, or sealed with another key or for another login";

/// Text that every start opens, to check the key.
const WORD: &str = "authrelay";

pub(super) struct FirstFormat(Seal);

/// Content of a file.
#[derive(Serialize, Deserialize)]
struct Envelope {
    v: u32,
    /// Login of the record: for people, and checked by the seal.
    login: String,
    #[serde(flatten)]
    sealed: SealedText,
}

impl FirstFormat {
    pub(super) fn new(key: &Secret) -> Option<Self> {
        Seal::new(key, b"token store 1").map(Self)
    }

    /// Opens the text that the key has sealed, or seals it if there is none.
    ///
    /// # Errors
    ///
    /// Another key has sealed it, or it is damaged.
    pub(super) fn check_key(&self, tokens: &Path) -> Result<(), StateError> {
        if self.has_sealed(tokens)? {
            return Ok(());
        }
        let path = word(tokens);
        match self.seal(WORD.as_bytes(), WORD) {
            Some(text) => file::replace(&path, text.as_bytes()),
            None => Err(StateError::new(&path, "it cannot be sealed")),
        }
    }

    /// Whether there is a text that the key has sealed.
    ///
    /// # Errors
    ///
    /// Another key has sealed it, or it is damaged.
    pub(super) fn has_sealed(&self, tokens: &Path) -> Result<bool, StateError> {
        let path = word(tokens);
        let Some(text) = file::read(&path)? else {
            return Ok(false);
        };
        if self.open(&text, WORD).is_some() {
            return Ok(true);
        }
        Err(match serde_json::from_str::<Envelope>(&text) {
            Ok(_) => StateError::new(
                tokens.parent().unwrap_or(tokens),
                "its tokens are sealed with another key: restore the old one as state.key, or move the directory away and authorize the accounts again",
            ),
            Err(_) => StateError::new(
                &path,
                "it is damaged: remove this file, which only serves to recognize the key",
            ),
        })
    }

    /// Returns the logins with a file of this format.
    pub(super) fn logins(&self, tokens: &Path) -> Vec<String> {
        let login = |at: PathBuf| {
            let text = file::read(&at).ok().flatten()?;
            let envelope: Envelope = serde_json::from_str(&text).ok()?;
            (path(tokens, &envelope.login) == at).then_some(envelope.login)
        };
        file::names(tokens).into_iter().filter_map(login).collect()
    }

    /// Reads the record of a login, with its new number.
    ///
    /// # Errors
    ///
    /// [`StateError`] if it exists and does not open.
    pub(super) fn read(
        &self,
        tokens: &Path,
        login: &str,
    ) -> Result<Option<StoredConsent>, StateError> {
        let path = path(tokens, login);
        let Some(text) = file::read(&path)? else {
            return Ok(None);
        };
        let record = self
            .open(&text, login)
            .and_then(|clear| serde_json::from_slice::<StoredConsent>(&clear).ok())
            .ok_or_else(|| StateError::new(&path, BROKEN))?;
        Ok(Some(record.numbered(None)))
    }

    /// Deletes the file of a login that was converted.
    pub(super) fn remove(&self, tokens: &Path, login: &str) -> Result<(), StateError> {
        let path = path(tokens, login);
        let _ = std::fs::remove_file(path.with_extension("lock"));
        file::remove(&path).map(drop)
    }

    pub(super) fn seal(&self, clear: &[u8], login: &str) -> Option<String> {
        let envelope = Envelope {
            v: FORMAT,
            login: login.to_owned(),
            sealed: self.0.seal(clear, associated(login))?,
        };
        serde_json::to_string(&envelope).ok()
    }

    fn open(&self, text: &str, login: &str) -> Option<Zeroizing<Vec<u8>>> {
        let envelope: Envelope = serde_json::from_str(text).ok()?;
        if envelope.v != FORMAT || envelope.login != login {
            return None;
        }
        self.0.open(&envelope.sealed, associated(login))
    }
}

/// Path of the text that every start opens.
fn word(tokens: &Path) -> PathBuf {
    tokens.join("check.json")
}

fn path(tokens: &Path, login: &str) -> PathBuf {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, login.as_bytes());
    let mut name = hex(digest.as_ref());
    name.truncate(32);
    tokens.join(name).with_extension("json")
}

fn associated(login: &str) -> Vec<u8> {
    format!("authrelay {FORMAT}\0{login}").into_bytes()
}
