//! A sign-in in progress. The relay seals it into a cookie of the browser and stores nothing
//! itself, so the number of sign-ins has no limit.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq as _;

/// Longest duration of a sign-in.
pub const LIFETIME: Duration = Duration::from_secs(600);

/// Longest sealed sign-in, in octets.
const SEALED_CAP: usize = 2048;

/// Length of the nonce before the sealed text, in octets.
const NONCE: usize = 12;

/// LoadMode of the seal, so that texts sealed for another purpose are rejected.
const PURPOSE: &[u8] = b"authrelay: a sign-in by OpenID Connect";

/// Sign-in of one browser, from its redirect to the identity provider until its return.
#[derive(Debug, Serialize, Deserialize)]
pub struct SignIn {
    /// Parameter `state` of the redirect.
    pub(super) state: String,
    /// Claim `nonce` of the ID token.
    pub(super) nonce: String,
    /// PKCE code verifier (RFC 7636), sent only to the token endpoint.
    pub(super) verifier: String,
    /// End of validity, in seconds since 1970.
    pub(super) ends: u64,
}

impl SignIn {
    /// Whether the sign-in has this `state` and has not expired.
    pub fn is_of(&self, state: &str, now: SystemTime) -> bool {
        let is_same = bool::from(self.state.as_bytes().ct_eq(state.as_bytes()));
        is_same && seconds(now) < self.ends
    }
}

/// Converts a time to seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Key of this process that seals sign-ins in progress.
pub struct Seal(RandomizedNonceKey);

impl Seal {
    /// Generates a random key.
    ///
    /// # Errors
    ///
    /// The machine has no randomness.
    pub fn new() -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key)?;
        RandomizedNonceKey::new(&AES_256_GCM, &key).map(Self)
    }

    /// Seals a sign-in as the value of a cookie.
    pub fn seal(&self, sign_in: &SignIn) -> Option<String> {
        let mut text = serde_json::to_vec(sign_in).ok()?;
        let aad = Aad::from(PURPOSE);
        let nonce = self.0.seal_in_place_append_tag(aad, &mut text).ok()?;
        let sealed = [nonce.as_ref().as_slice(), &text].concat();
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a cookie; `None` if this process did not seal it.
    pub fn open(&self, cookie: &str) -> Option<SignIn> {
        if cookie.len() > SEALED_CAP {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (nonce, text) = sealed.split_at_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = text.to_vec();
        let text = self
            .0
            .open_in_place(nonce, Aad::from(PURPOSE), &mut text)
            .ok()?;
        serde_json::from_slice(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_sealed_opens() {
        let seal = Seal::new().unwrap();
        let sign_in = || SignIn {
            state: "s".into(),
            nonce: "n".into(),
            verifier: "v".into(),
            ends: 600,
        };
        let cookie = seal.seal(&sign_in()).unwrap();
        assert_ne!(cookie, seal.seal(&sign_in()).unwrap());
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let opened = seal.open(&cookie).unwrap();
        assert!(opened.is_of("s", at(599)));
        assert!(!opened.is_of("s", at(600)));
        assert!(!opened.is_of("t", at(1)) && !opened.is_of("", at(1)));
        assert!(Seal::new().unwrap().open(&cookie).is_none());
        let mut other = cookie.clone().into_bytes();
        let last = other.last_mut().unwrap();
        *last = if *last == b'A' { b'B' } else { b'A' };
        assert!(seal.open(std::str::from_utf8(&other).unwrap()).is_none());
        for text in ["", "A", "????", &"A".repeat(5000)] {
            assert!(seal.open(text).is_none(), "{text}");
        }
    }
}
