//! Reads secrets from the environment, files and commands. A problem names the source, and never
//! quotes its content.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::field::Field;
use super::key::{Key, Value, section, words};
use super::kind::Kind;
use super::value::Program;
use crate::program;
use crate::secret::Secret;
use crate::text;

/// Longest secret, in octets.
const SECRET_CAP: u64 = 64 * 1024;

/// Shortest sealing key or administrators' token, in octets.
const LEAST: usize = 16;

/// Longest time for a command to print a secret.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

section! {
    /// Source of a secret.
    struct Source {
        /// A variable of the environment
        env: Key<String>,
        /// A file, relative to this one
        file: Key<PathBuf>,
        /// A program that prints it, and its arguments
        command: Key<Program>,
    }
}

/// Reads a string, or one of `{env: NAME}`, `{file: PATH}`, `{command: [PROGRAM, ARG…]}`. Empty if
/// sources are not read.
impl Value for Secret {
    fn read(field: &Field) -> Option<Self> {
        let secret = match field.is_section() {
            true => from_source(field, Source::read(field)?)?,
            false => {
                if field.is_cut_short() {
                    field.warn("ends before \" #\", which begins a comment in YAML: quote the value if that belongs to it");
                }
                Self::from(field.text()?)
            }
        };
        if secret.is_empty() && (!field.is_section() || field.sources().are_read()) {
            return field.reject("is an empty secret");
        }
        warn_of_wrapping(field, secret.expose());
        Some(secret)
    }

    fn kind() -> Kind {
        Kind {
            table: None,
            ..Kind::text("secret").or(Source::kind()).named("secret")
        }
    }
}

fn from_source(field: &Field, source: Source) -> Option<Secret> {
    let is_read = field.sources().are_read();
    let (at, text) = match (source.env, source.file, source.command) {
        (Key::Given(name), Key::Absent, Key::Absent) => {
            ("env", is_read.then(|| from_environment(&name)))
        }
        (Key::Absent, Key::Given(path), Key::Absent) => {
            field.sources().note(&path);
            ("file", is_read.then(|| from_file(&path)))
        }
        (Key::Absent, Key::Absent, Key::Given(command)) => {
            ("command", is_read.then(|| from_command(&command)))
        }
        (Key::Broken, ..) | (_, Key::Broken, _) | (.., Key::Broken) => return None,
        _ => return field.reject("must have exactly one of env, file and command"),
    };
    let Some(text) = text else {
        return Some(Secret::default());
    };
    let text = field.at(at).accept(text)?;
    if text.is_marked {
        field.warn("begins with a byte order mark, which is left out: save the file without one");
    }
    Some(text.secret)
}

struct SourceText {
    secret: Secret,
    /// Whether the source began with a byte order mark.
    is_marked: bool,
}

/// Warns about quotes, white space and marks that editors, shells and templates leave around a
/// secret.
fn warn_of_wrapping(field: &Field, secret: &str) {
    let is_quoted =
        |quote| secret.len() > 1 && secret.starts_with(quote) && secret.ends_with(quote);
    if secret.starts_with('\u{feff}') {
        field.warn("begins with a byte order mark, which becomes a part of the secret: save the file without one");
    } else if is_quoted('"') || is_quoted('\'') {
        field.warn("is in quotes, which become a part of the secret: leave them out");
    } else if secret.ends_with(char::is_whitespace) || secret.starts_with(char::is_whitespace) {
        field.warn("begins or ends with white space, which becomes a part of the secret");
    }
}

/// A secret of this relay, from `state.key`, `admin.token` and `admin.viewer_token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GeneratedSecret {
    /// A file, created at the first start.
    File(PathBuf),
    /// A value from the file itself, the environment or a command.
    Given(Secret),
}

impl Value for GeneratedSecret {
    fn read(field: &Field) -> Option<Self> {
        let is_file = field.has_key("file") && !field.has_key("env") && !field.has_key("command");
        let generated = match is_file {
            true => Self::File(Source::read(field)?.file.required()?),
            false => Self::Given(Secret::read(field)?),
        };
        let is_read = field.sources().are_read();
        let length = match &generated {
            Self::File(path) if is_read && path.exists() => match from_file(path) {
                Ok(text) => Some(text.secret.expose().len()),
                Err(why) if field.sources().tries_writing() => return field.at("file").reject(why),
                Err(_) => None,
            },
            Self::Given(secret) if is_read || !secret.is_empty() => Some(secret.expose().len()),
            Self::File(_) | Self::Given(_) => None,
        };
        match length {
            Some(..LEAST) => field.reject(format_args!(
                "has fewer than {LEAST} octets: make one with `openssl rand -base64 32`, or name a file that is absent"
            )),
            _ => Some(generated),
        }
    }

    fn kind() -> Kind {
        Secret::kind()
    }
}

/// Client secret of a registration.
#[derive(Debug, Clone)]
pub(super) enum ClientSecret {
    /// `{client: password}`: the password that the client presents.
    ClientPassword,
    Given(Secret),
}

impl Value for ClientSecret {
    fn read(field: &Field) -> Option<Self> {
        if field.has_key("client") {
            let ClientWord::Password = ClientPassword::read(field)?.client;
            return Some(Self::ClientPassword);
        }
        let secret = Secret::read(field)?;
        if is_guid(secret.expose()) {
            field.warn("looks like the secret's id: Entra shows Value and Secret ID side by side, and the value belongs here");
        }
        Some(Self::Given(secret))
    }

    fn kind() -> Kind {
        Kind {
            table: None,
            ..Secret::kind()
                .or(ClientPassword::kind())
                .named("secret, `{client: password}`")
        }
    }
}

section! {
    /// Source that stands for what the client presents.
    struct ClientPassword {
        /// The secret is what the client presents
        client: ClientWord => "password",
    }
}

words! {
    /// Word for the secret that the client presents.
    enum ClientWord {
        /// The password of the client.
        Password = "password",
    }
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && text
            .bytes()
            .all(|octet| octet.is_ascii_hexdigit() || octet == b'-')
}

fn from_environment(name: &str) -> Result<SourceText, String> {
    let value = std::env::var(name).map_err(|error| match error {
        std::env::VarError::NotPresent => format!("the environment variable {name} is not set"),
        std::env::VarError::NotUnicode(_) => {
            format!("the environment variable {name} is not UTF-8")
        }
    })?;
    Ok(SourceText {
        secret: Secret::from(text::without_line_end(&value)),
        is_marked: false,
    })
}

fn from_file(path: &Path) -> Result<SourceText, String> {
    let failed = |error| format!("cannot read {}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(failed)?;
    one_line(file, &path.display().to_string()).map_err(|why| format!("cannot read {why}"))
}

/// The secret in a file, where there is one.
pub(super) fn content(path: &Path) -> Option<Secret> {
    from_file(path).ok().map(|text| text.secret)
}

/// Runs a command and reads the secret it prints within [`COMMAND_TIMEOUT`].
fn from_command(command: &Program) -> Result<SourceText, String> {
    let name = command.program.display().to_string();
    let output = program::run(&command.program, &command.arguments, COMMAND_TIMEOUT);
    match output {
        Ok(output) => one_line(output.as_slice(), &name)
            .map_err(|why| format!("cannot read what it printed: {why}")),
        Err(program::Failed::Run(error)) => Err(format!("cannot run {name}: {error}")),
        Err(error) => Err(format!("{name} {error}")),
    }
}

/// Reads a source to its end and removes one trailing line end.
fn one_line(source: impl std::io::Read, name: &str) -> Result<SourceText, String> {
    let mut octets = zeroize::Zeroizing::new(Vec::new());
    source
        .take(SECRET_CAP + 1)
        .read_to_end(&mut octets)
        .map_err(|error| format!("{name}: {error}"))?;
    if octets.len() as u64 > SECRET_CAP {
        return Err(format!("{name}: more than 64 KiB"));
    }
    let text = text::decode(&octets).ok_or_else(|| format!("{name}: is not UTF-8"))?;
    Ok(SourceText {
        secret: Secret::from(text::without_line_end(&text)),
        is_marked: text::is_marked(&octets),
    })
}
