//! Certificates and keys in PEM files.

use std::path::Path;

use base64::Engine as _;
use jsonwebtoken::EncodingKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::field::Field;
use super::keys::CertificateKeys;
use super::registration::SigningKey;
use crate::expiry;
use crate::secret::Secret;
use crate::tls::{self, CertificateFiles, FileProblem, FileStamp, ServerCertificate};

/// Reads a server's certificate chain, its key, and the authorities of clients. All are empty if
/// sources are not read. `field` has the keys `certificate`, `key` and `client_ca`.
pub(super) fn server_certificate(
    field: &Field,
    files: CertificateFiles,
) -> Option<ServerCertificate> {
    if !field.sources().are_read() {
        return Some(ServerCertificate {
            chain: Vec::new(),
            key: PrivateKeyDer::Pkcs8(Vec::new().into()),
            client_ca: files.client_ca.is_some().then(Vec::new),
            files,
            stamp: FileStamp::default(),
        });
    }
    let paths = [&files.certificate, &files.key].into_iter();
    for path in paths.chain(&files.client_ca) {
        field.sources().note(path);
    }
    match files.checked() {
        Ok(identity) => {
            if let Some(end) = identity.end() {
                warn_of_end(&field.at("certificate"), "certificate", end);
            }
            Some(identity)
        }
        Err(flaws) => {
            for flaw in flaws {
                match flaw {
                    FileProblem::Certificate(why) => field.at("certificate").problem(why),
                    FileProblem::Key(why) => field.at("key").problem(why),
                    FileProblem::ClientCa(why) => field.at("client_ca").problem(why),
                }
            }
            None
        }
    }
}

/// Reads an RSA key for assertions, with its certificate.
pub(super) fn signing_key(field: &Field, keys: CertificateKeys) -> Option<SigningKey> {
    if !field.sources().are_read() {
        return Some(SigningKey {
            thumbprint: String::new(),
            certificate: Vec::new(),
            key: EncodingKey::from_rsa_der(&[]),
            expires: None,
        });
    }
    field.sources().note(&keys.certificate);
    field.sources().note(&keys.key);
    let key = field.at("key");
    let read = |path: &Path| tls::contents(path).map_or_else(|why| key.reject(why), Some);
    let chain = tls::certificates(&keys.certificate);
    let chain = chain.map_or_else(|why| field.at("certificate").reject(why), Some);
    let (mut pem, chain) = (read(&keys.key)?, chain?);
    if pem.expose().contains("BEGIN ENCRYPTED PRIVATE KEY") {
        let Some(passphrase) = keys.passphrase else {
            return key.reject("is encrypted; write its passphrase as passphrase");
        };
        match decrypted(pem.expose(), &passphrase) {
            Some(clear) => pem = clear,
            None => return key.reject("cannot be decrypted with this passphrase"),
        }
    }
    let private = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes());
    let encoding = EncodingKey::from_rsa_pem(pem.expose().as_bytes());
    let (Ok(private), Ok(encoding)) = (private, encoding) else {
        return key.reject("is no RSA private key in PEM");
    };
    let leaf = chain.first();
    let thumbprint = leaf.map(|leaf| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
    });
    let expires = leaf.and_then(|leaf| expiry::of_certificate(leaf));
    let certificate = leaf.map(|leaf| leaf.to_vec()).unwrap_or_default();
    if !tls::belong_together(chain, private) {
        return key.reject("is not the key of that certificate");
    }
    if let Some(end) = expires {
        warn_of_end(&field.at("certificate"), "certificate", end);
    }
    Some(SigningKey {
        thumbprint: thumbprint.unwrap_or_default(),
        certificate,
        key: encoding,
        expires,
    })
}

/// Warns about a credential that expires soon.
pub(super) fn warn_of_end(field: &Field, what: &str, end: i64) {
    match expiry::near(end, expiry::now()) {
        Some(..0) => field.warn(format_args!("the {what} has expired; make a new one")),
        Some(days) => field.warn(format_args!(
            "the {what} expires in {days} days; make a new one"
        )),
        None => {}
    }
}

/// Decrypts PKCS #8 (RFC 5958 §3), as written by `openssl pkcs8 -topk8`.
fn decrypted(pem: &str, passphrase: &Secret) -> Option<Secret> {
    let (_, encrypted) = pkcs8::SecretDocument::from_pem(pem).ok()?;
    let info = pkcs8::EncryptedPrivateKeyInfoRef::try_from(encrypted.as_bytes()).ok()?;
    let clear = info.decrypt(passphrase.expose()).ok()?;
    let pem = clear.to_pem("PRIVATE KEY", pkcs8::LineEnding::LF).ok()?;
    Some(Secret::from(pem.as_str()))
}
