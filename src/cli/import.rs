//! `import FILE`: converts another proxy's file to a `proxy.yaml`. Cleartext refresh tokens are
//! moved into the store and sealed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::setup::{Exit, print, print_error};
use crate::config::{Config, LoadMode, Logins};
use crate::import::{Imported, TokenFile};
use crate::text;
use crate::token::store::{Owner, Store, StoredConsent};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// An emailproxy.config, a davmail.properties or a sasl-xoauth2.conf
    file: PathBuf,

    /// The folder of sasl-xoauth2's token files: their refresh tokens are moved into ./state,
    /// sealed
    #[arg(long, value_name = "FOLDER")]
    tokens: Option<PathBuf>,
}

/// Largest token file, in octets.
const TOKEN_FILE_CAP: u64 = 64 * 1024;

pub(super) fn run(options: &Options) -> Result<Exit, Exit> {
    let path: &Path = &options.file;
    let text = read(path).map_err(|error| Exit::State.with(format_args!("{error:#}")))?;
    let tokens = options.tokens.as_deref().map(token_files).transpose();
    let tokens = tokens.map_err(|error| {
        Exit::State.with(format_args!("the token files cannot be read: {error:#}"))
    })?;
    let imported = crate::import::import(&text, &tokens.unwrap_or_default())
        .map_err(|why| Exit::Config.with(format_args!("{}: {why}", path.display())))?;
    imported.notes.iter().for_each(print_error);
    let failed = |why: &dyn std::fmt::Display| {
        Exit::State.with(format_args!("the refresh tokens cannot be moved: {why:#}"))
    };
    let config = Config::parse(
        &imported.yaml,
        Path::new("proxy.yaml"),
        LoadMode::CheckWithoutSecrets,
    );
    let config = match config {
        Ok(config) => config,
        Err(problems) => {
            // A value that was odd there is refused here.
            for problem in &problems {
                print_error(format_args!("correct this in proxy.yaml: {problem}"));
            }
            let printed = print(imported.yaml);
            return match imported.consents.is_empty() {
                true => Ok(printed),
                false => Err(failed(&"correct the original file, and import it again")),
            };
        }
    };
    move_consents(&imported, &config).map_err(|error| failed(&error))?;
    Ok(print(imported.yaml))
}

/// Reads a text file.
fn read(path: &Path) -> anyhow::Result<zeroize::Zeroizing<String>> {
    let named = || format!("{}: cannot be read", path.display());
    let octets = zeroize::Zeroizing::new(std::fs::read(path).with_context(named)?);
    text::decode(&octets)
        .or_else(|| crate::import::decode(&octets).map(Into::into))
        .context("it is not UTF-8")
        .with_context(named)
}

/// Reads every file of the folder, with its name.
fn token_files(folder: &Path) -> anyhow::Result<Vec<TokenFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let named = || path.display().to_string();
        let about = std::fs::metadata(&path).with_context(named)?;
        if !about.is_file() || about.len() > TOKEN_FILE_CAP || name.starts_with('.') {
            continue;
        }
        let octets = zeroize::Zeroizing::new(std::fs::read(&path).with_context(named)?);
        // A file that is no text is no token file: empty text is left out with a note.
        let text = text::decode(&octets).map(|text| text.to_string());
        files.push((name.into_owned(), text.unwrap_or_default()));
    }
    files.sort();
    Ok(files)
}

/// Seals the refresh tokens in the state directory that the configuration would have here. Existing
/// consents stay.
fn move_consents(imported: &Imported, config: &Config) -> anyhow::Result<()> {
    if imported.consents.is_empty() {
        return Ok(());
    }
    let store = Store::open(&config.state)?;
    let logins = Logins::new(&config.accounts);
    for consent in &imported.consents {
        let Some(account) = logins.find(&consent.login) else {
            continue;
        };
        if store.read(&consent.login)?.is_some() {
            print_error(format_args!(
                "{}: a consent exists already and was kept",
                consent.login
            ));
            continue;
        }
        let owner = Owner::of(&account.registration);
        let token = consent.refresh_token.clone();
        let record = StoredConsent::new(&owner, token, None, Vec::new());
        store.write(&consent.login, &record)?;
        print_error(format_args!(
            "{}: its refresh token was moved into {}, sealed",
            consent.login,
            config.state.directory.display()
        ));
    }
    Ok(())
}
