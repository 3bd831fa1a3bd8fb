//! `audit verify`: checks the hash chain of audit records.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;

use super::setup::{Exit, print, print_error};
use crate::audit::{is_hash, verify};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check the hash chain of audit records: edits, gaps, reordering, truncation
    Verify(Options),
}

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The files, the oldest first
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The hash of the record before the first one, where older files are gone
    #[arg(long, value_name = "HASH", value_parser = hash)]
    after: Option<String>,
    /// The hash that the last record must have: without it a truncation cannot be seen
    #[arg(long, value_name = "HASH", value_parser = hash)]
    head: Option<String>,
}

fn hash(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    match is_hash(&text) {
        true => Ok(text),
        false => Err("a hash has 64 hexadecimal digits"),
    }
}

pub(super) fn run(command: &Command) -> Exit {
    let Command::Verify(options) = command;
    let mut files = Vec::new();
    for path in &options.files {
        match File::open(path) {
            Ok(file) => files.push((path.display().to_string(), BufReader::new(file))),
            Err(error) => return cannot_read(&path.display().to_string(), &error),
        }
    }
    let found = match verify(files, options.after.as_deref(), options.head.as_deref()) {
        Ok(found) => found,
        Err((file, error)) => return cannot_read(&file, &error),
    };
    found.broken.iter().for_each(print_error);
    if !found.broken.is_empty() {
        return Exit::Failed;
    }
    let records = found.records;
    let s = if records == 1 { "" } else { "s" };
    let head = found.head.as_deref().unwrap_or("none");
    print(format!("good: {records} record{s}, head {head}\n"))
}

fn cannot_read(file: &str, error: &io::Error) -> Exit {
    print_error(format_args!("{file}: cannot be read: {error}"));
    Exit::State
}
