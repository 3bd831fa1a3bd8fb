//! What the file points at: secrets in the environment, in files or printed by commands, and
//! certificates with their keys. A problem says which source failed and never what came out of it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use base64::Engine as _;
use jsonwebtoken::EncodingKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::field::Field;
use super::{Identity, Secrets, SigningKey};
use crate::secret::Secret;

/// Octets of a secret that are read.
const SECRET_CAP: u64 = 64 * 1024;

/// How long a command may take to print a secret.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the file's relative paths begin, and whether its sources are read at all.
#[derive(Debug)]
pub(super) struct Sources {
    directory: PathBuf,
    secrets: Secrets,
}

impl Sources {
    /// Of the configuration at `path`.
    pub(super) fn new(path: &Path, secrets: Secrets) -> Self {
        Self {
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            secrets,
        }
    }

    /// Whether sources are read.
    pub(super) fn secrets(&self) -> Secrets {
        self.secrets
    }

    /// A string, or one of `{env: NAME}`, `{file: PATH}`, `{command: [PROGRAM, ARG…]}`; empty
    /// where sources are not read.
    pub(super) fn secret(&self, field: &Field<'_>) -> Option<Secret> {
        let secret = if field.is_section() {
            let mut section = field.section()?;
            let (env, file, command) = (
                section.take("env"),
                section.take("file"),
                section.take("command"),
            );
            section.finish();
            match (env, file, command) {
                (Some(env), None, None) => {
                    let name = env.word()?;
                    self.read(&env, || from_environment(name))?
                }
                (None, Some(file), None) => {
                    let path = self.path(&file)?;
                    self.read(&file, || from_file(&path))?
                }
                (None, None, Some(command)) => {
                    let words: Option<Vec<_>> = command.list().iter().map(Field::text).collect();
                    let words = words?;
                    let Some((program, arguments)) = words.split_first() else {
                        return command.wrong("must name a program and its arguments");
                    };
                    self.read(&command, || from_command(program, arguments))?
                }
                _ => return field.wrong("must have exactly one of env, file and command"),
            }
        } else {
            Some(Secret::from(field.text()?))
        };
        match secret {
            Some(secret) if secret.is_empty() => field.wrong("is an empty secret"),
            Some(secret) => Some(secret),
            None => Some(Secret::default()),
        }
    }

    /// `Some(None)` where sources are not read.
    fn read(
        &self,
        field: &Field<'_>,
        source: impl FnOnce() -> Result<Secret, String>,
    ) -> Option<Option<Secret>> {
        match self.secrets {
            Secrets::Skip => Some(None),
            Secrets::Read => match source() {
                Ok(secret) => Some(Some(secret)),
                Err(why) => field.wrong(why),
            },
        }
    }

    /// The path of a secret given as `{file: PATH}`, which need not be there yet; `None` where the
    /// secret is given otherwise.
    pub(super) fn generated(&self, field: &Field<'_>) -> Option<Option<PathBuf>> {
        if !field.is_section() {
            return None;
        }
        let mut section = field.section()?;
        let file = section.take("file")?;
        for other in ["env", "command"] {
            if section.take(other).is_some() {
                return None;
            }
        }
        section.finish();
        Some(self.path(&file))
    }

    /// A path of our own choice beside the configuration.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.directory.join(path)
    }

    /// A path, made absolute or relative to the working directory.
    pub(super) fn path(&self, field: &Field<'_>) -> Option<PathBuf> {
        // Without the `.` of `./state`, which would show in every message.
        let path = self.directory.join(field.word()?);
        Some(path.components().collect())
    }

    /// The certificates of a PEM file; none where sources are not read.
    pub(super) fn certificates(&self, field: &Field<'_>) -> Option<Vec<CertificateDer<'static>>> {
        let path = self.path(field)?;
        if self.secrets == Secrets::Skip {
            return Some(Vec::new());
        }
        let pem = match std::fs::read(&path) {
            Ok(pem) => pem,
            Err(error) => {
                return field.wrong(format_args!("cannot read {}: {error}", path.display()));
            }
        };
        match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
            Ok(chain) if !chain.is_empty() => Some(chain),
            Ok(_) => field.wrong(format_args!(
                "{} holds no certificate in PEM",
                path.display()
            )),
            Err(error) => field.wrong(format_args!("{}: {error}", path.display())),
        }
    }

    /// A certificate chain and the key that belongs to it.
    pub(super) fn identity(&self, certificate: &Field<'_>, key: &Field<'_>) -> Option<Identity> {
        // Both are read before either is missed.
        let (chain, private) = (self.certificates(certificate), self.private_key(key));
        let identity = Identity {
            chain: chain?,
            key: private?,
        };
        if self.secrets == Secrets::Skip {
            return Some(identity);
        }
        match crate::net::tls::server(&identity) {
            Ok(_) => Some(identity),
            Err(rustls::Error::InconsistentKeys(_)) => {
                key.wrong("is not the key of the certificate beside it")
            }
            Err(error) => certificate.wrong(format_args!("cannot be used: {error}")),
        }
    }

    /// `{certificate: PATH, key: PATH, passphrase: SECRET}`: an RSA key that signs assertions.
    pub(super) fn signing_key(&self, field: &Field<'_>) -> Option<SigningKey> {
        let mut section = field.section()?;
        let certificate = section.require("certificate", "the path of the certificate in PEM");
        let key = section.require("key", "the path of its private key in PEM");
        let passphrase = section.take("passphrase").map(|field| self.secret(&field));
        section.finish();
        let (certificate, key) = (certificate?, key?);
        let (chain, pem) = (self.certificates(&certificate), self.pem(&key));
        let passphrase = match passphrase {
            Some(passphrase) => Some(passphrase?),
            None => None,
        };
        let (chain, mut pem) = (chain?, pem?);
        if self.secrets == Secrets::Skip {
            return Some(SigningKey {
                thumbprint: String::new(),
                key: EncodingKey::from_rsa_der(&[]),
            });
        }
        if pem.expose().contains("BEGIN ENCRYPTED PRIVATE KEY") {
            let Some(passphrase) = passphrase else {
                return key.wrong("is encrypted; write its passphrase beside it");
            };
            match decrypted(pem.expose(), &passphrase) {
                Some(clear) => pem = clear,
                None => return key.wrong("cannot be decrypted with this passphrase"),
            }
        }
        let private = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes());
        let encoding = EncodingKey::from_rsa_pem(pem.expose().as_bytes());
        let (Ok(private), Ok(encoding)) = (private, encoding) else {
            return key.wrong("is no RSA private key in PEM");
        };
        let thumbprint = chain.first().map(|leaf| {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
        });
        let identity = Identity {
            chain,
            key: private,
        };
        if crate::net::tls::server(&identity).is_err() {
            return key.wrong("is not the key of the certificate beside it");
        }
        Some(SigningKey {
            thumbprint: thumbprint.unwrap_or_default(),
            key: encoding,
        })
    }

    /// A private key in PEM; empty where sources are not read.
    fn private_key(&self, field: &Field<'_>) -> Option<PrivateKeyDer<'static>> {
        let pem = self.pem(field)?;
        if self.secrets == Secrets::Skip {
            return Some(PrivateKeyDer::Pkcs8(Vec::new().into()));
        }
        match PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()) {
            Ok(key) => Some(key),
            Err(_) => {
                field.wrong("holds no private key in PEM that can be read without a passphrase")
            }
        }
    }

    /// A file's text; empty where sources are not read.
    fn pem(&self, field: &Field<'_>) -> Option<Secret> {
        let path = self.path(field)?;
        match self.secrets {
            Secrets::Skip => Some(Secret::default()),
            Secrets::Read => match std::fs::read_to_string(&path) {
                Ok(pem) => Some(Secret::from(pem)),
                Err(error) => field.wrong(format_args!("cannot read {}: {error}", path.display())),
            },
        }
    }
}

/// PKCS #8 (RFC 5958 §3), as `openssl pkcs8 -topk8` writes it.
fn decrypted(pem: &str, passphrase: &Secret) -> Option<Secret> {
    let (_, encrypted) = pkcs8::SecretDocument::from_pem(pem).ok()?;
    let info = pkcs8::EncryptedPrivateKeyInfoRef::try_from(encrypted.as_bytes()).ok()?;
    let clear = info.decrypt(passphrase.expose()).ok()?;
    let pem = clear.to_pem("PRIVATE KEY", pkcs8::LineEnding::LF).ok()?;
    Some(Secret::from(pem.as_str()))
}

fn from_environment(name: &str) -> Result<Secret, String> {
    match std::env::var(name) {
        Ok(value) => Ok(Secret::from(value)),
        Err(std::env::VarError::NotPresent) => {
            Err(format!("the environment variable {name} is not set"))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("the environment variable {name} is not UTF-8"))
        }
    }
}

fn from_file(path: &Path) -> Result<Secret, String> {
    let failed = |error| format!("cannot read {}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(failed)?;
    one_line(file, &path.display().to_string()).map_err(|why| format!("cannot read {why}"))
}

fn from_command(program: &str, arguments: &[&str]) -> Result<Secret, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        let name = program.to_owned();
        std::thread::spawn(move || sender.send(one_line(stdout, &name)));
    }
    let read = receiver.recv_timeout(COMMAND_TIMEOUT);
    if read.is_err() {
        let _ = child.kill();
    }
    let status = child
        .wait()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    match read {
        Err(_) => Err(format!("{program} printed nothing within 10 seconds")),
        Ok(_) if !status.success() => Err(format!("{program} failed: {status}")),
        Ok(read) => read.map_err(|why| format!("cannot read what it printed: {why}")),
    }
}

/// All of it, less one trailing line end.
fn one_line(source: impl std::io::Read, name: &str) -> Result<Secret, String> {
    let mut text = zeroize::Zeroizing::new(String::new());
    source
        .take(SECRET_CAP + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("{name}: {error}"))?;
    if text.len() as u64 > SECRET_CAP {
        return Err(format!("{name}: more than 64 KiB"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::from(line.strip_suffix('\r').unwrap_or(line)))
}
