//! Signed heads: an Ed25519 signature (RFC 8032) over where the chain stands.
//!
//! Who can write the file can also make a new chain of it, hashes and all. A head is a record that
//! only the holder of the key can make: its `signature` is over its `time`, a line end (LF), and its
//! `prev`, which is the hash of the record before. Everything up to a head is as it was when the
//! head was signed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;

use super::record::{AuditRecord, Event};

/// How often a head is signed.
const INTERVAL: Duration = Duration::from_secs(3600);

/// What stands before an Ed25519 public key in a SubjectPublicKeyInfo (RFC 8410 §4).
const PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Signs heads.
pub(super) struct Signer {
    key: Arc<Ed25519KeyPair>,
    next: Instant,
}

impl Signer {
    /// The first head is due an hour from now.
    pub(super) fn new(key: Arc<Ed25519KeyPair>) -> Self {
        Self {
            key,
            next: Instant::now() + INTERVAL,
        }
    }

    /// When the next head is due.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// A head that follows the record with the hash `prev`; the next one is due an hour later.
    pub(super) fn sign(&mut self, prev: &str) -> AuditRecord {
        self.next = Instant::now() + INTERVAL;
        let mut record = AuditRecord::new(Event::Head);
        let signature = self.key.sign(&signed(&record.time, prev));
        record.signature = Some(STANDARD.encode(signature));
        record
    }
}

/// Verifies heads.
#[derive(Debug, Clone)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in PEM, as `openssl pkey -pubout` writes it.
    ///
    /// # Errors
    ///
    /// It is none, or of another algorithm than Ed25519.
    pub fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|_| "is no public key in PEM (BEGIN PUBLIC KEY)")?;
        match key.strip_prefix(&PREFIX) {
            Some(key) if key.len() == 32 => Ok(Self(key.to_vec())),
            _ => Err("is no Ed25519 public key"),
        }
    }

    /// Whether `signature` (base64) is over this time and this hash.
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
