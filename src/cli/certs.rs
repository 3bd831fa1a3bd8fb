//! `certs`: creates a local CA and a server certificate. The CA's key is not kept, so another
//! server certificate means another CA to trust.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::setup::{Exit, print};
use crate::certs::{Authority, loopback_names};
use crate::platform;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Where to write ca.pem, server.pem and server.key
    #[arg(long, value_name = "DIRECTORY", default_value = "certs")]
    directory: PathBuf,
    /// Host name or address that clients use; may be repeated [default: localhost, 127.0.0.1, ::1]
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(options: &Options) -> Result<Exit, Exit> {
    let names = if options.names.is_empty() {
        loopback_names()
    } else {
        options.names.clone()
    };
    let list = names.join(", ");
    let issued =
        Authority::new("authrelay local CA").and_then(|ca| Ok((ca.pem(), ca.issue(&names)?)));
    let (ca, issued) = issued
        .map_err(|error| Exit::Usage.with(format_args!("no certificate for {list}: {error}")))?;
    let files = [
        ("ca.pem", ca.as_str(), false),
        ("server.pem", &issued.chain, false),
        ("server.key", &issued.key, true),
    ];
    let directory = &options.directory;
    let mut paths = files.iter().map(|(name, ..)| directory.join(name));
    if let Some(path) = paths.find(|path| !options.force && path.exists()) {
        return Err(Exit::State.with(format_args!(
            "{}: is there already; --force replaces it",
            path.display()
        )));
    }
    let failed = |path: &Path, error: io::Error| {
        Exit::State.with(format_args!("{}: {error}", path.display()))
    };
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    let mut report = format!("for {list}\n");
    for (name, pem, is_private) in files {
        let path = directory.join(name);
        write(&path, pem, is_private).map_err(|error| failed(&path, error))?;
        report.push_str(&format!("{}\n", path.display()));
    }
    report.push_str("valid for 825 days; check and the log warn from 14 days before the end\n");
    report.push_str("clients must trust ca.pem; listeners name server.pem and server.key\n");
    Ok(print(report))
}

/// Writes a new file each time, so that a key never inherits the permissions of the file it
/// replaces.
fn write(path: &Path, text: &str, is_private: bool) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut file = match is_private {
        true => platform::open_private(&options, path)?,
        false => platform::open_public(&options, path)?,
    };
    file.write_all(text.as_bytes())
}
