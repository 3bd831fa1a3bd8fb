//! Format of the first versions: files named by a hash of the login, without a number. They are read
//! and converted once. The text that identifies the key stays in this format, so that an older
//! version accepts the key after a roll-back.

use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::file::{self, StateError};
use super::record::StoredConsent;
use crate::cluster::number::Number;
use crate::secret::Secret;

const FORMAT: u32 = 1;

/// Reason why a record cannot be opened.
pub(super) const BROKEN: &str = "it is damaged, or sealed with another key or for another login";

/// Text that every start opens, to check the key.
const WORD: &str = "authrelay";

pub(super) struct FirstFormat(LessSafeKey);

/// Content of a file.
#[derive(Serialize, Deserialize)]
struct Envelope {
    v: u32,
    /// Login of the record: for people, and checked by the seal.
    login: String,
    nonce: String,
    sealed: String,
}

impl FirstFormat {
    pub(super) fn new(key: &Secret) -> Option<Self> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"authrelay");
        let prk = salt.extract(key.expose().trim().as_bytes());
        let okm = prk.expand(&[b"token store 1"], &AES_256_GCM).ok()?;
        Some(Self(LessSafeKey::new(UnboundKey::from(okm))))
    }

    /// Opens the text that the key has sealed, or seals it if there is none.
    ///
    /// # Errors
    ///
    /// Another key has sealed it.
    pub(super) fn check_key(&self, tokens: &Path) -> Result<(), StateError> {
        let path = tokens.join("check.json");
        match file::read(&path)? {
            Some(text) if self.open(&text, WORD).is_some() => Ok(()),
            Some(_) => Err(StateError::new(
                tokens.parent().unwrap_or(tokens),
                "its tokens are sealed with another key: give back the old one as state.key, or move the directory away and authorize the accounts again",
            )),
            None => match self.seal(WORD.as_bytes(), WORD) {
                Some(text) => file::replace(&path, text.as_bytes()),
                None => Err(StateError::new(&path, "it cannot be sealed")),
            },
        }
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
        let mut record = self
            .open(&text, login)
            .and_then(|clear| serde_json::from_slice::<StoredConsent>(&clear).ok())
            .ok_or_else(|| StateError::new(&path, BROKEN))?;
        let consented = record.consented.saturating_mul(1000);
        record.number = Number::of_act(consented, None);
        Ok(Some(record))
    }

    /// Deletes the file of a login that was converted.
    pub(super) fn remove(&self, tokens: &Path, login: &str) -> Result<(), StateError> {
        let path = path(tokens, login);
        let _ = std::fs::remove_file(path.with_extension("lock"));
        file::remove(&path).map(drop)
    }

    pub(super) fn seal(&self, clear: &[u8], login: &str) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        // With room for the tag: a buffer that grows would leave a copy of the text in memory.
        let mut sealed = Vec::with_capacity(clear.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(clear);
        let aad = Aad::from(associated(login));
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .ok()?;
        let envelope = Envelope {
            v: FORMAT,
            login: login.to_owned(),
            nonce: STANDARD.encode(nonce),
            sealed: STANDARD.encode(sealed),
        };
        serde_json::to_string(&envelope).ok()
    }

    fn open(&self, text: &str, login: &str) -> Option<Zeroizing<Vec<u8>>> {
        let envelope: Envelope = serde_json::from_str(text).ok()?;
        if envelope.v != FORMAT || envelope.login != login {
            return None;
        }
        let nonce = STANDARD.decode(envelope.nonce).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let mut sealed = Zeroizing::new(STANDARD.decode(envelope.sealed).ok()?);
        let aad = Aad::from(associated(login));
        let length = self.0.open_in_place(nonce, aad, &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

fn path(tokens: &Path, login: &str) -> PathBuf {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, login.as_bytes());
    let octets = digest.as_ref().iter().take(16);
    let name: String = octets.map(|octet| format!("{octet:02x}")).collect();
    tokens.join(name).with_extension("json")
}

fn associated(login: &str) -> Vec<u8> {
    format!("authrelay {FORMAT}\0{login}").into_bytes()
}
