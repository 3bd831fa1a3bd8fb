//! Keys derived from `state.key` (HKDF-SHA256, RFC 5869): for names, which reveal nothing, and for
//! the seal of records. Relays with the same `state.key` derive the same keys.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::number::Number;
use crate::secret::Secret;
use crate::text::hex;

/// Version of the record format; records of a greater one are left alone.
pub const FORMAT: u32 = 2;

/// Length of a name in hexadecimal digits; 128 bits do not collide.
const NAME: usize = 32;

/// Names and seal of one `state.key`.
pub struct Keys {
    names: hmac::Key,
    seal: Seal,
}

/// AES-256-GCM under a key of its own, which is derived from `state.key`.
pub struct Seal(LessSafeKey);

/// A sealed text with its nonce, both in base64.
#[derive(Serialize, Deserialize)]
pub struct SealedText {
    nonce: String,
    sealed: String,
}

impl Seal {
    /// Derives the key for a purpose; `None` if `state.key` cannot be used.
    pub fn new(key: &Secret, purpose: &[u8]) -> Option<Self> {
        let prk = extracted(key);
        let purpose = [purpose];
        let okm = prk.expand(&purpose, &AES_256_GCM).ok()?;
        Some(Self(LessSafeKey::new(UnboundKey::from(okm))))
    }

    /// Seals a text with what is associated; `None` without random numbers.
    pub fn seal(&self, clear: &[u8], associated: Vec<u8>) -> Option<SealedText> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        // The tag has room in it: a text that grows would leave itself in memory.
        let mut sealed = Vec::with_capacity(clear.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(clear);
        let aad = Aad::from(associated);
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .ok()?;
        Some(SealedText {
            nonce: STANDARD.encode(nonce),
            sealed: STANDARD.encode(sealed),
        })
    }

    /// Opens a text that was sealed with the same associated octets.
    pub fn open(&self, text: &SealedText, associated: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
        let nonce = STANDARD.decode(&text.nonce).ok()?;
        let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
        let mut sealed = Zeroizing::new(STANDARD.decode(&text.sealed).ok()?);
        let aad = Aad::from(associated);
        let length = self.0.open_in_place(nonce, aad, &mut sealed).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

/// Extracts the pseudorandom key from which all others are derived.
fn extracted(key: &Secret) -> hkdf::Prk {
    let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"authrelay");
    salt.extract(key.expose().trim().as_bytes())
}

/// A sealed record as it stands in a file or in the shared store.
#[derive(Serialize, Deserialize)]
struct Envelope {
    v: u32,
    name: String,
    #[serde(flatten)]
    number: Number,
    #[serde(flatten)]
    sealed: SealedText,
}

/// Reason why a record does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// A later version of the program has written it.
    Newer,
    /// The record is damaged, sealed with another key, or stored under another name.
    Broken,
}

impl Keys {
    /// Derives the keys; `None` if `state.key` cannot be used.
    pub fn new(key: &Secret) -> Option<Self> {
        let names = extracted(key);
        let names = names.expand(&[b"names 2"], hmac::HMAC_SHA256).ok()?;
        Some(Self {
            names: hmac::Key::from(names),
            seal: Seal::new(key, b"records 2")?,
        })
    }

    /// Computes a name in hexadecimal digits; `kind` separates names of different things.
    pub fn name(&self, kind: &str, parts: &[&str]) -> String {
        let mut name = hex(&self.digest(kind, parts));
        name.truncate(NAME);
        name
    }

    /// Computes the keyed hash (HMAC-SHA256) in its full length.
    pub fn digest(&self, kind: &str, parts: &[&str]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.names);
        context.update(kind.as_bytes());
        for part in parts {
            // Lengths first: no two lists look the same.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// Seals a record for its name and number; `None` without random numbers.
    pub fn seal(&self, name: &str, number: Number, clear: &[u8]) -> Option<String> {
        let envelope = Envelope {
            v: FORMAT,
            name: name.to_owned(),
            number,
            sealed: self.seal.seal(clear, associated(name, number))?,
        };
        serde_json::to_string(&envelope).ok()
    }

    /// Opens a record of that name.
    ///
    /// # Errors
    ///
    /// The reason why it does not open, as [`Closed`].
    pub fn open(&self, name: &str, text: &str) -> Result<(Number, Zeroizing<Vec<u8>>), Closed> {
        if version(text).is_some_and(|version| version > FORMAT) {
            return Err(Closed::Newer);
        }
        self.opened(name, text).ok_or(Closed::Broken)
    }

    fn opened(&self, name: &str, text: &str) -> Option<(Number, Zeroizing<Vec<u8>>)> {
        let envelope: Envelope = serde_json::from_str(text).ok()?;
        if envelope.v != FORMAT || envelope.name != name {
            return None;
        }
        let associated = associated(name, envelope.number);
        let clear = self.seal.open(&envelope.sealed, associated)?;
        Some((envelope.number, clear))
    }
}

/// Returns the format that a record claims to have.
pub fn version(text: &str) -> Option<u32> {
    #[derive(Deserialize)]
    struct Version {
        v: u32,
    }
    serde_json::from_str(text)
        .ok()
        .map(|version: Version| version.v)
}

/// Returns the number that a record claims to have; the seal is not checked.
pub fn claimed(text: &str) -> Option<Number> {
    serde_json::from_str(text).ok()
}

fn associated(name: &str, number: Number) -> Vec<u8> {
    let Number {
        consent,
        generation,
    } = number;
    format!("authrelay {FORMAT}\0{name}\0{consent}\0{generation}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(key: &str) -> Keys {
        Keys::new(&Secret::from(key)).unwrap()
    }

    #[test]
    fn names_and_seals_are_those_of_the_key_and_of_nothing_else() {
        let (one, same, other) = (keys("key one"), keys("key one\n"), keys("key two"));
        let name = one.name("consent", &["a@b"]);
        assert_eq!(name, same.name("consent", &["a@b"]));
        assert_eq!(name.len(), 32);
        assert_ne!(name, other.name("consent", &["a@b"]));
        assert_ne!(name, one.name("token", &["a@b"]));
        assert_ne!(one.name("t", &["a", "b"]), one.name("t", &["ab"]));
        let number = Number::of_act(5, None).redeemed();
        let text = one.seal(&name, number, b"clear").unwrap();
        let (read, clear) = same.open(&name, &text).unwrap();
        assert_eq!((read, clear.as_slice()), (number, b"clear".as_slice()));
        assert_eq!(claimed(&text), Some(number));
        assert_eq!(other.open(&name, &text).unwrap_err(), Closed::Broken);
        assert_eq!(one.open("else", &text).unwrap_err(), Closed::Broken);
        let raised = text.replace("\"generation\":1", "\"generation\":2");
        assert_ne!(raised, text);
        assert_eq!(one.open(&name, &raised).unwrap_err(), Closed::Broken);
        let newer = text.replace("\"v\":2", "\"v\":3");
        assert_eq!(one.open(&name, &newer).unwrap_err(), Closed::Newer);
    }
}
