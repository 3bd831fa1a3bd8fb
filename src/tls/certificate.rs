//! Certificates, keys and the authorities of clients, in PEM files that may be replaced while they
//! are in use: an [`ServerCertificate`] remembers where it came from, and can be read again.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use crate::expiry;
use crate::platform;
use crate::secret::Secret;
use crate::text;

/// Octets of a PEM file: a bundle of all public authorities has a quarter of a megabyte.
const PEM_CAP: u64 = 4 * 1024 * 1024;

/// A certificate chain and its private key, read and found to belong together.
#[derive(Debug)]
pub struct ServerCertificate {
    /// Certificate chain, the leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Private key of the leaf.
    pub key: PrivateKeyDer<'static>,
    /// Authorities of which clients must present a certificate; `None`: clients need none.
    pub client_ca: Option<Vec<CertificateDer<'static>>>,
    /// Where all that was read.
    pub files: CertificateFiles,
    /// State of the files just before they were read.
    pub stamp: FileStamp,
}

/// Files from which a [`ServerCertificate`] is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// File with the certificate chain.
    pub certificate: PathBuf,
    /// File with the private key.
    pub key: PathBuf,
    /// File with the authorities of clients.
    pub client_ca: Option<PathBuf>,
}

/// Stamp that tells one content of files from another without reading them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileStamp(Vec<Option<platform::FileStamp>>);

/// Problem with one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileProblem {
    /// The chain cannot be used.
    Certificate(String),
    /// The key, or that it is another certificate's.
    Key(String),
    /// The authorities of clients cannot be used.
    ClientCa(String),
}

impl ServerCertificate {
    /// The TLS configuration of a listener with this certificate.
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

    /// Where the certificate's validity ends, in seconds since 1970.
    pub fn end(&self) -> Option<i64> {
        self.chain
            .first()
            .and_then(|leaf| expiry::of_certificate(leaf))
    }
}

impl CertificateFiles {
    /// Takes the stamp of the files as they are now.
    pub fn stamp(&self) -> FileStamp {
        let seen = |path: &PathBuf| platform::FileStamp::of(path);
        let files = [&self.certificate, &self.key].into_iter();
        FileStamp(files.chain(&self.client_ca).map(seen).collect())
    }

    /// Reads them, as the configuration did.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them, in one line.
    pub fn read(&self) -> Result<ServerCertificate, String> {
        self.checked().map_err(|flaws| {
            let texts = flaws.iter().map(|flaw| match flaw {
                FileProblem::Certificate(why) => located(&self.certificate, why),
                FileProblem::Key(why) => located(&self.key, why),
                FileProblem::ClientCa(why) => {
                    located(self.client_ca.as_deref().unwrap_or(Path::new("")), why)
                }
            });
            texts.collect::<Vec<_>>().join("; ")
        })
    }

    /// Reads them all before the first that is bad counts.
    pub fn checked(&self) -> Result<ServerCertificate, Vec<FileProblem>> {
        let stamp = self.stamp();
        let chain = certificates(&self.certificate).map_err(FileProblem::Certificate);
        let key = private_key(&self.key).map_err(FileProblem::Key);
        let client_ca = self.client_ca.as_deref().map(certificates).transpose();
        let client_ca = client_ca.map_err(FileProblem::ClientCa);
        let (chain, key, client_ca) = match (chain, key, client_ca) {
            (Ok(chain), Ok(key), Ok(client_ca)) => (chain, key, client_ca),
            (chain, key, client_ca) => {
                let flaws = [chain.err(), key.err(), client_ca.err()];
                return Err(flaws.into_iter().flatten().collect());
            }
        };
        let identity = ServerCertificate {
            chain,
            key,
            client_ca,
            files: self.clone(),
            stamp,
        };
        // The authorities first, so that the rest can only be the certificate's.
        let authorities = identity.client_ca.as_deref();
        if let Some(Err(error)) = authorities.map(super::config::client_verifier) {
            let why = format!("holds no usable authority: {error}");
            return Err(vec![FileProblem::ClientCa(why)]);
        }
        match identity.config() {
            Ok(_) => Ok(identity),
            Err(rustls::Error::InconsistentKeys(_)) => Err(vec![FileProblem::Key(
                "is not the key of the certificate beside it".into(),
            )]),
            Err(error) => Err(vec![FileProblem::Certificate(format!(
                "cannot be used: {error}"
            ))]),
        }
    }
}

/// The path before what is wrong, unless that names it.
fn located(path: &Path, why: &str) -> String {
    let path = path.display().to_string();
    match why.contains(&path) {
        true => why.to_owned(),
        false => format!("{path} {why}"),
    }
}

/// The certificates of a PEM file, at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = octets(path)?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(format!("{} holds no certificate in PEM", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The private key of a PEM file.
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
    // What is no text says so where it is read.
    Ok(match text::decode(&octets) {
        Some(text) => Zeroizing::new(text.as_bytes().to_vec()),
        None => octets,
    })
}
