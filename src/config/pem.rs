//! Certificates and keys in PEM files.

use std::sync::Arc;

use base64::Engine as _;
use jsonwebtoken::EncodingKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::field::Field;
use super::registration::{CertificateKeys, SigningKey};
use crate::expiry;
use crate::secret::Secret;
use crate::tls::{self, CertificateFiles, ServerCertificate};

/// Reads a server's certificate chain, its key, and the authorities of clients. All are empty if
/// sources are not read. `field` has the keys `certificate`, `key` and `client_ca`.
pub(super) fn server_certificate(
    field: &Field,
    files: CertificateFiles,
) -> Option<Arc<ServerCertificate>> {
    if !field.sources().are_read() {
        return Some(Arc::new(ServerCertificate {
            chain: Vec::new(),
            key: PrivateKeyDer::Pkcs8(Vec::new().into()),
            client_ca: files.client_ca.is_some().then(Vec::new),
            files,
            stamps: Vec::new(),
        }));
    }
    let paths = [&files.certificate, &files.key].into_iter();
    for path in paths.chain(&files.client_ca) {
        field.sources().note(path);
    }
    match files.checked() {
        Ok(identity) => {
            let at = field.at("certificate");
            if identity.beginning() > Some(expiry::now()) {
                at.warn("the certificate is not valid yet: clients refuse it, unless this machine's clock is wrong");
            }
            if let Some(end) = identity.end() {
                warn_of_end(&at, "certificate", end);
            }
            Some(Arc::new(identity))
        }
        Err(problems) => {
            for problem in problems {
                field.at(problem.key).problem(problem.why);
            }
            None
        }
    }
}

impl CertificateKeys {
    /// Reads the RSA key that signs assertions, with its certificate.
    pub(super) fn build(self, field: &Field) -> Option<SigningKey> {
        if !field.sources().are_read() {
            return Some(SigningKey {
                thumbprint: String::new(),
                certificate: Vec::new(),
                key: EncodingKey::from_rsa_der(&[]),
                expires: None,
            });
        }
        field.sources().note(&self.certificate);
        field.sources().note(&self.key);
        let at = field.at("key");
        let pem = at.accept(tls::contents(&self.key));
        let chain = tls::certificates(&self.certificate);
        let chain = field.at("certificate").accept(chain);
        let (mut pem, chain) = (pem?, chain?);
        if pem.expose().contains("BEGIN ENCRYPTED PRIVATE KEY") {
            let Some(passphrase) = self.passphrase else {
                return at.reject("is encrypted; write its passphrase as passphrase");
            };
            let clear = decrypted(pem.expose(), &passphrase);
            pem = at.accept(clear.ok_or("cannot be decrypted with this passphrase"))?;
        }
        let private = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes());
        let encoding = EncodingKey::from_rsa_pem(pem.expose().as_bytes());
        let (Ok(private), Ok(key)) = (private, encoding) else {
            return at.reject("is not an RSA private key in PEM");
        };
        let certificate = chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default();
        if !tls::belong_together(chain, private) {
            return at.reject("is not the key of that certificate");
        }
        let expires = expiry::of_certificate(&certificate);
        if let Some(end) = expires {
            warn_of_end(&field.at("certificate"), "certificate", end);
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate);
        Some(SigningKey {
            thumbprint: base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest),
            certificate,
            key,
            expires,
        })
    }
}

/// Warns about a credential that expires soon.
pub(super) fn warn_of_end(field: &Field, what: &str, end: i64) {
    match expiry::near(end, expiry::now()) {
        Some(..0) => field.warn(format_args!("the {what} has expired; make a new one")),
        Some(days) => field.warn(format_args!(
            "the {what} expires {}; make a new one",
            expiry::in_days(days)
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
