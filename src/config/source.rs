//! What the file points at: secrets in the environment, in files or printed by commands, and
//! certificates with their keys. A problem says which source failed and never what came out of it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use jsonwebtoken::EncodingKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::field::Field;
use super::identity::{self, Flaw};
use super::{Identity, IdentityFiles, Secrets, SigningKey, Stamp};
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
                    let program = self.program(program);
                    self.read(&command, || from_command(&program, arguments))?
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

    /// A program: a name is looked for in PATH, a path is relative to the configuration.
    pub(super) fn program(&self, program: &str) -> PathBuf {
        match program.contains('/') {
            true => self.directory.join(program),
            false => PathBuf::from(program),
        }
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
        match self.secrets {
            Secrets::Skip => Some(Vec::new()),
            Secrets::Read => {
                identity::certificates(&path).map_or_else(|why| field.wrong(why), Some)
            }
        }
    }

    /// A certificate chain, the key that belongs to it, and the authorities of clients; empty
    /// where sources are not read.
    pub(super) fn identity(
        &self,
        certificate: &Field<'_>,
        key: &Field<'_>,
        client_ca: Option<&Field<'_>>,
    ) -> Option<Identity> {
        let paths = (self.path(certificate), self.path(key));
        let authorities = match client_ca {
            Some(field) => Some(self.path(field)?),
            None => None,
        };
        let files = IdentityFiles {
            certificate: paths.0?,
            key: paths.1?,
            client_ca: authorities,
        };
        if self.secrets == Secrets::Skip {
            return Some(Identity {
                chain: Vec::new(),
                key: PrivateKeyDer::Pkcs8(Vec::new().into()),
                client_ca: files.client_ca.is_some().then(Vec::new),
                files,
                stamp: Stamp::default(),
            });
        }
        match files.checked() {
            Ok(identity) => Some(identity),
            Err(flaws) => {
                for flaw in flaws {
                    match flaw {
                        Flaw::Certificate(why) => certificate.problem(why),
                        Flaw::Key(why) => key.problem(why),
                        Flaw::ClientCa(why) => client_ca.unwrap_or(certificate).problem(why),
                    }
                }
                None
            }
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
        if !crate::net::tls::belong_together(chain, private) {
            return key.wrong("is not the key of the certificate beside it");
        }
        Some(SigningKey {
            thumbprint: thumbprint.unwrap_or_default(),
            key: encoding,
        })
    }

    /// A file's text; empty where sources are not read.
    fn pem(&self, field: &Field<'_>) -> Option<Secret> {
        let path = self.path(field)?;
        match self.secrets {
            Secrets::Skip => Some(Secret::default()),
            Secrets::Read => identity::contents(&path).map_or_else(|why| field.wrong(why), Some),
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

/// Within [`COMMAND_TIMEOUT`], whether it keeps its output open or only itself alive.
fn from_command(program: &Path, arguments: &[&str]) -> Result<Secret, String> {
    let end = Instant::now() + COMMAND_TIMEOUT;
    let name = program.display().to_string();
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run {name}: {error}"))?;
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        let name = name.clone();
        std::thread::spawn(move || sender.send(one_line(stdout, &name)));
    }
    let read = receiver.recv_timeout(COMMAND_TIMEOUT);
    let status = match &read {
        Ok(_) => exit(&mut child, end),
        Err(_) => Ok(None),
    };
    if !matches!(status, Ok(Some(_))) {
        let _ = child.kill();
        let _ = child.wait();
    }
    match (read, status) {
        (_, Err(error)) => Err(format!("cannot run {name}: {error}")),
        (Err(_), _) => Err(format!("{name} printed nothing within 10 seconds")),
        (Ok(_), Ok(None)) => Err(format!("{name} did not end within 10 seconds")),
        (Ok(_), Ok(Some(status))) if !status.success() => Err(format!("{name} failed: {status}")),
        (Ok(read), _) => read.map_err(|why| format!("cannot read what it printed: {why}")),
    }
}

/// How a program ended; `None`: it has not until `end`.
fn exit(child: &mut Child, end: Instant) -> std::io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= end {
            return Ok(None);
        }
        // It has closed its output: it is about to end.
        std::thread::sleep(Duration::from_millis(5));
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
