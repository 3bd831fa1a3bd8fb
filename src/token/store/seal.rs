//! Sealing: AES-256-GCM under a key derived from whatever the operator gave (HKDF-SHA256), a
//! random nonce each time, what the file is for as associated data.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::secret::Secret;

pub(super) struct Sealer(LessSafeKey);

/// What a file looks like.
#[derive(Serialize, Deserialize)]
struct Envelope {
    v: u32,
    /// Whose it is: for people, and checked by the seal.
    login: String,
    nonce: String,
    sealed: String,
}

impl Sealer {
    pub(super) fn new(key: &Secret) -> Option<Self> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"authrelay");
        let prk = salt.extract(key.expose().trim().as_bytes());
        let okm = prk.expand(&[b"token store 1"], &AES_256_GCM).ok()?;
        Some(Self(LessSafeKey::new(UnboundKey::from(okm))))
    }

    pub(super) fn seal(&self, clear: &[u8], login: &str, version: u32) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        // The tag has room in it: a text that grows would leave itself in memory.
        let mut sealed = Vec::with_capacity(clear.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(clear);
        let aad = Aad::from(associated(login, version));
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .ok()?;
        let envelope = Envelope {
            v: version,
            login: login.to_owned(),
            nonce: STANDARD.encode(nonce),
            sealed: STANDARD.encode(sealed),
        };
        serde_json::to_string(&envelope).ok()
    }

    pub(super) fn open(
        &self,
        text: &str,
        login: &str,
        version: u32,
    ) -> Option<zeroize::Zeroizing<Vec<u8>>> {
        let envelope: Envelope = serde_json::from_str(text).ok()?;
        if envelope.v != version || envelope.login != login {
            return None;
        }
        let nonce = STANDARD.decode(envelope.nonce).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let mut sealed = zeroize::Zeroizing::new(STANDARD.decode(envelope.sealed).ok()?);
        let aad = Aad::from(associated(login, version));
        let length = self.0.open_in_place(nonce, aad, &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

/// The login whose record a file says that it is.
pub(super) fn login_of(text: &str) -> Option<String> {
    let envelope: Envelope = serde_json::from_str(text).ok()?;
    Some(envelope.login)
}

fn associated(login: &str, version: u32) -> Vec<u8> {
    format!("authrelay {version}\0{login}").into_bytes()
}
