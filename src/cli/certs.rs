//! `certs`: creates a local CA and a server certificate. The CA's key is not kept, so another
//! server certificate means another CA to trust.

use std::path::PathBuf;

use super::files::{NewFile, is_there, write_all};
use super::setup::{Exit, print};
use crate::certs::{Authority, is_server_name, loopback_names};

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
    if let Some(name) = names.iter().find(|name| !is_server_name(name)) {
        return Err(Exit::Usage.with(format_args!(
            "--name: {} is neither a host name, as in mail.example.com or *.example.com, nor an address, as in 192.0.2.1 or ::1",
            name.escape_debug()
        )));
    }
    let list = names.join(", ");
    let issued =
        Authority::new("authrelay local CA").and_then(|ca| Ok((ca.pem(), ca.issue(&names)?)));
    let (ca, issued) = issued
        .map_err(|error| Exit::Usage.with(format_args!("no certificate for {list}: {error}")))?;
    let directory = &options.directory;
    let file = |name: &str, text, is_private| NewFile {
        path: directory.join(name),
        text,
        is_private,
    };
    let files = [
        file("ca.pem", &ca, false),
        file("server.pem", &issued.chain, false),
        file("server.key", &issued.key, true),
    ];
    let mut paths = files.iter().map(|file| &file.path);
    if let Some(path) = paths.find(|path| !options.force && is_there(path)) {
        return Err(Exit::State.with(format_args!(
            "{}: exists already; --force replaces it",
            path.display()
        )));
    }
    std::fs::create_dir_all(directory)
        .map_err(|error| Exit::State.with(format_args!("{}: {error}", directory.display())))?;
    write_all(&files, options.force).map_err(|why| Exit::State.with(why))?;
    let mut report = format!("for {list}\n");
    for file in &files {
        report.push_str(&format!("{}\n", file.path.display()));
    }
    report.push_str("valid for 825 days; check and the log warn from 14 days before the end\n");
    report.push_str("clients must trust ca.pem; listeners name server.pem and server.key\n");
    Ok(print(report))
}
