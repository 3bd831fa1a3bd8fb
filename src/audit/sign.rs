//! Signed heads: Ed25519 signatures (RFC 8032) over the state of the chain.
//!
//! An attacker who can write the file can rebuild the whole chain, hashes included. A head is a
//! record that only the holder of the key can make: its `signature` covers its `time`, LF, and its
//! `prev`, which is the hash of the previous record. Everything before a head is as it was when the
//! head was signed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use super::record::{AuditRecord, Event};

/// Interval between signed heads.
const INTERVAL: Duration = Duration::from_secs(3600);

/// Octets before an Ed25519 public key in a SubjectPublicKeyInfo (RFC 8410 §4).
const PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Signs the heads of the chain.
pub(super) struct Signer {
    key: Arc<Ed25519KeyPair>,
    next: Instant,
}

impl Signer {
    /// Creates a signer whose first head is due in an hour.
    pub(super) fn new(key: Arc<Ed25519KeyPair>) -> Self {
        Self {
            key,
            next: Instant::now() + INTERVAL,
        }
    }

    /// Time at which the next head is due.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// Signs a head after the record with hash `prev`; the next one is due an hour later.
    pub(super) fn sign(&mut self, prev: &str) -> AuditRecord {
        self.next = Instant::now() + INTERVAL;
        let mut record = AuditRecord::new(Event::Head);
        let signature = self.key.sign(&signed(&record.time, prev));
        record.signature = Some(STANDARD.encode(signature));
        record
    }
}

/// Public key that verifies signed heads.
#[derive(Debug, Clone)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in PEM, as written by `openssl pkey -pubout`.
    ///
    /// # Errors
    ///
    /// The input is not a public key in PEM, or not an Ed25519 key.
    pub fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|_| "is not a public key in PEM (BEGIN PUBLIC KEY)")?;
        match key.strip_prefix(&PREFIX) {
            Some(key) if key.len() == 32 => Ok(Self(key.to_vec())),
            _ => Err("is not an Ed25519 public key"),
        }
    }

    /// Whether `signature` (base64) is valid for this time and hash.
    pub(super) fn verifies(&self, time: &str, prev: &str, signature: &str) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        STANDARD
            .decode(signature)
            .is_ok_and(|signature| key.verify(&signed(time, prev), &signature).is_ok())
    }
}

fn signed(time: &str, prev: &str) -> Vec<u8> {
    format!("{time}\n{prev}").into_bytes()
}
