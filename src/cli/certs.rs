//! `certs`: creates a local CA and a server certificate. The CA's key is not kept, so another
//! server certificate means another CA to trust.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::setup::{Exit, print, print_error};
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

pub(super) fn run(options: &Options) -> Exit {
    let names = if options.names.is_empty() {
        loopback_names()
    } else {
        options.names.clone()
    };
    let issued =
        Authority::new("authrelay local CA").and_then(|ca| Ok((ca.pem(), ca.issue(&names)?)));
    let (ca, issued) = match issued {
        Ok(issued) => issued,
        Err(error) => {
            print_error(format_args!(
                "no certificate for {}: {error}",
                names.join(", ")
            ));
            return Exit::Usage;
        }
    };
    let files = [
        ("ca.pem", ca.as_str(), false),
        ("server.pem", &issued.chain, false),
        ("server.key", &issued.key, true),
    ];
    let directory = &options.directory;
    if let Some((name, ..)) = files
        .iter()
        .find(|(name, ..)| !options.force && directory.join(name).exists())
    {
        print_error(format_args!(
            "{}: is there already; --force replaces it",
            directory.join(name).display()
        ));
        return Exit::State;
    }
    if let Err(error) = std::fs::create_dir_all(directory) {
        print_error(format_args!("{}: {error}", directory.display()));
        return Exit::State;
    }
    let mut report = format!("for {}\n", names.join(", "));
    for (name, pem, is_private) in files {
        let path = directory.join(name);
        if let Err(error) = write(&path, pem, is_private) {
            print_error(format_args!("{}: {error}", path.display()));
            return Exit::State;
        }
        report.push_str(&format!("{}\n", path.display()));
    }
    report.push_str("valid for 825 days; check and the log warn from 14 days before the end\n");
    report.push_str("clients must trust ca.pem; listeners name server.pem and server.key\n");
    print(report)
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
