//! Certificates, keys and client authorities in PEM files that may be replaced while in use. A
//! [`ServerCertificate`] keeps its files and can be read again.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustls::ServerConfig;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::expiry;
use crate::platform;
use crate::secret::Secret;
use crate::text;

/// Largest PEM file, in octets; a bundle of all public authorities has 250 KiB.
const PEM_CAP: u64 = 4 * 1024 * 1024;

/// End of one section and beginning of the next without a line end between them.
const JOINED: &str = "----------BEGIN ";

/// A certificate chain and its private key, checked to belong together.
#[derive(Debug)]
pub struct ServerCertificate {
    /// Certificate chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Private key of the leaf.
    pub key: PrivateKeyDer<'static>,
    /// Authorities for client certificates. `None`: clients need no certificate.
    pub client_ca: Option<Vec<CertificateDer<'static>>>,
    /// Files that all this was read from.
    pub files: CertificateFiles,
    /// State of the files just before they were read.
    pub stamps: FileStamps,
}

/// Files from which a [`ServerCertificate`] is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// File with the certificate chain.
    pub certificate: PathBuf,
    /// File with the private key.
    pub key: PathBuf,
    /// File with the authorities for client certificates.
    pub client_ca: Option<PathBuf>,
}

/// Stamps that detect changed files without reading them; `None` for a file that is not there.
pub type FileStamps = Vec<Option<platform::FileStamp>>;

/// Problem with one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileProblem {
    /// Key of the file in the configuration: `certificate`, `key` or `client_ca`.
    pub key: &'static str,
    /// Reason why the file cannot be used.
    pub why: String,
}

impl ServerCertificate {
    /// Builds the TLS configuration of a listener with this certificate.
    ///
    /// # Errors
    ///
    /// The certificate, its key or the authorities cannot be used, or the machine has no
    /// randomness.
    pub fn config(&self) -> Result<ServerConfig, rustls::Error> {
        super::config::server(
            self.chain.clone(),
            self.key.clone_key(),
            self.client_ca.as_deref(),
        )
    }

    /// Beginning of the certificate's validity, in seconds since 1970.
    pub fn beginning(&self) -> Option<i64> {
        self.chain
            .first()
            .and_then(|leaf| expiry::beginning_of_certificate(leaf))
    }

    /// Expiry of the certificate, in seconds since 1970.
    pub fn end(&self) -> Option<i64> {
        self.chain
            .first()
            .and_then(|leaf| expiry::of_certificate(leaf))
    }
}

impl CertificateFiles {
    /// Takes the stamps of the current files.
    pub fn stamps(&self) -> FileStamps {
        let seen = |path: &PathBuf| platform::FileStamp::of(path);
        let files = [&self.certificate, &self.key].into_iter();
        files.chain(&self.client_ca).map(seen).collect()
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// All problems in one line, each with its file.
    pub fn read(&self) -> Result<ServerCertificate, String> {
        self.checked().map_err(|problems| {
            let texts = problems.iter().map(|problem| {
                let path = match problem.key {
                    "certificate" => &self.certificate,
                    "key" => &self.key,
                    _ => self.client_ca.as_ref().unwrap_or(&self.certificate),
                };
                located(path, &problem.why)
            });
            texts.collect::<Vec<_>>().join("; ")
        })
    }

    /// Reads all files before reporting problems.
    pub fn checked(&self) -> Result<ServerCertificate, Vec<FileProblem>> {
        let stamps = self.stamps();
        let of = |key| move |why| FileProblem { key, why };
        let chain = certificates(&self.certificate).map_err(of("certificate"));
        let key = private_key(&self.key).map_err(of("key"));
        let client_ca = self.client_ca.as_deref().map(certificates).transpose();
        let client_ca = client_ca.map_err(of("client_ca"));
        let (chain, key, client_ca) = match (chain, key, client_ca) {
            (Ok(chain), Ok(key), Ok(client_ca)) => (chain, key, client_ca),
            (chain, key, client_ca) => {
                let problems = [chain.err(), key.err(), client_ca.err()];
                return Err(problems.into_iter().flatten().collect());
            }
        };
        let identity = ServerCertificate {
            chain,
            key,
            client_ca,
            files: self.clone(),
            stamps,
        };
        // The authorities are checked first, so that later errors concern the certificate.
        let authorities = identity.client_ca.as_deref();
        if let Some(Err(error)) = authorities.map(super::config::client_verifier) {
            let why = format!("holds no usable authority: {error}");
            return Err(vec![of("client_ca")(why)]);
        }
        let problem = match identity.config() {
            Ok(_) => return Ok(identity),
            Err(rustls::Error::InconsistentKeys(_)) => {
                of("key")("is not the key of that certificate".into())
            }
            Err(error) => of("certificate")(format!("cannot be used: {error}")),
        };
        Err(vec![problem])
    }
}

/// Prefixes a problem with its path, unless it names the path itself.
fn located(path: &Path, why: &str) -> String {
    let path = path.display().to_string();
    match why.contains(&path) {
        true => why.to_owned(),
        false => format!("{path} {why}"),
    }
}

/// Reads the certificates of a PEM file; at least one is required.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = octets(path)?;
    let path = path.display();
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| format!("{path} {}", broken(&error)))?;
    if chain.is_empty() {
        return Err(format!("{path} holds no certificate in PEM"));
    }
    match chain.iter().position(|der| !is_whole(der)) {
        Some(index) => Err(format!(
            "{path} holds a certificate that is damaged: number {}",
            index + 1
        )),
        None => Ok(chain),
    }
}

/// Describes an error of the PEM parser.
fn broken(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "has a BEGIN line without its END line: it is cut off"
        }
        pem::Error::IllegalSectionStart { .. } => "has a BEGIN line that is malformed",
        pem::Error::Base64Decode(_) => "has something between BEGIN and END that is not base64",
        _ => "is not readable PEM",
    }
}

/// Whether a certificate is one DER sequence (X.690 §8.1.3). Peers take nothing else.
fn is_whole(der: &[u8]) -> bool {
    let Some((&[0x30, first], rest)) = der.split_first_chunk::<2>() else {
        return false;
    };
    let (length, content) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => match rest.split_at_checked(usize::from(first & 0x7f)) {
            Some((octets, content)) => {
                let add = |length: usize, octet: &u8| length << 8 | usize::from(*octet);
                (octets.iter().fold(0, add), content)
            }
            None => return false,
        },
        _ => return false,
    };
    length > 0 && content.len() == length
}

/// Reads the private key of a PEM file.
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = octets(path)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| "holds no private key in PEM that can be read without a passphrase".into())
}

/// Reads a PEM file as text.
pub fn contents(path: &Path) -> Result<Secret, String> {
    let pem = octets(path)?;
    std::str::from_utf8(&pem)
        .map(Secret::from)
        .map_err(|_| format!("{} is not UTF-8", path.display()))
}

fn octets(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut octets = Zeroizing::new(Vec::new());
    file.take(PEM_CAP + 1)
        .read_to_end(&mut octets)
        .map_err(failed)?;
    if octets.len() as u64 > PEM_CAP {
        return Err(format!("{} is larger than 4 MiB", path.display()));
    }
    // The PEM parser reports content that is not text.
    let Some(text) = text::decode(&octets) else {
        return Ok(octets);
    };
    // Files that were put one behind the other, the first without a line end: the parser would skip
    // what begins in the middle of a line.
    let text = match text.contains(JOINED) {
        true => Zeroizing::new(text.replace(JOINED, "-----\n-----BEGIN ")),
        false => text,
    };
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["relay.test".to_owned()]);
        certificate.unwrap().self_signed(&key).unwrap().pem()
    }

    fn read(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain");
        std::fs::write(&path, text).unwrap();
        let place = path.display().to_string();
        certificates(&path).map_err(|why| why.replace(&place, "chain"))
    }

    #[test]
    fn files_put_one_behind_the_other_are_read_as_two() {
        let (one, other) = (pem(), pem());
        let both = read(&format!("{one}{other}")).unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(read(&format!("{}{other}", one.trim_end())).unwrap(), both);
    }

    #[test]
    fn what_is_broken_is_said_in_words() {
        let good = pem();
        let short = "-----BEGIN CERTIFICATE-----\nMAMBAQ==\n-----END CERTIFICATE-----\n";
        let cut = good.get(..good.len() - 30).unwrap();
        for (text, why) in [
            (String::new(), "holds no certificate in PEM"),
            (
                cut.to_owned(),
                "has a BEGIN line without its END line: it is cut off",
            ),
            (
                good.replacen("MII", "M!I", 1),
                "has something between BEGIN and END that is not base64",
            ),
            (
                format!("{good}{short}"),
                "holds a certificate that is damaged: number 2",
            ),
        ] {
            assert_eq!(read(&text), Err(format!("chain {why}")));
        }
    }

    #[test]
    fn a_certificate_is_one_sequence() {
        assert!(is_whole(&[0x30, 2, 5, 0]));
        let long = [&[0x30, 0x82, 1, 0][..], &[0; 256]].concat();
        assert!(is_whole(&long));
        for der in [
            &[][..],
            &[0x30],
            &[0x30, 0],
            &[0x31, 2, 5, 0],
            &[0x30, 3, 5, 0],
            &[0x30, 1, 5, 0],
            &[0x30, 0x80, 5, 0],
            &[0x30, 0x82, 1],
            &[0x30, 0xff, 5, 0],
            long.get(..255).unwrap(),
        ] {
            assert!(!is_whole(der), "{der:?}");
        }
    }
}
