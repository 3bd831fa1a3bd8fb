//! `audit verify` checks the hash chain of audit records; `audit export` converts them for a SIEM.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use super::setup::{Exit, print, print_error};
use crate::audit::{Line, PublicKey, export, is_hash, read_line, verify};
use crate::text::{self, counted};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Check the hash chain of audit records: edits, gaps, reordering, truncation
    Verify(VerifyOptions),
    /// Print audit records as OCSF (class 3002, JSON lines) or CEF
    Export(ExportOptions),
}

#[derive(Debug, clap::Args)]
pub(super) struct VerifyOptions {
    /// The files, the oldest first
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The hash of the record before the first one, where older files are gone
    #[arg(long, value_name = "HASH", value_parser = hash)]
    after: Option<String>,
    /// The hash that the last record must have: without it a truncation cannot be seen
    #[arg(long, value_name = "HASH", value_parser = hash)]
    head: Option<String>,
    /// The public key (PEM) of audit.sign: every signed head must be of its holder, and one there
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExportOptions {
    /// Format to print the records in
    #[arg(long)]
    format: Format,
    /// The files, in the order in which they are printed; - is stdin
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// OCSF 1.5.0, class Authentication, one JSON object a line
    Ocsf,
    /// ArcSight's Common Event Format
    Cef,
}

fn hash(text: &str) -> Result<String, &'static str> {
    let text = text.to_ascii_lowercase();
    match is_hash(&text) {
        true => Ok(text),
        false => Err("a hash has 64 hexadecimal digits"),
    }
}

pub(super) fn run(command: &Command) -> Result<Exit, Exit> {
    match command {
        Command::Verify(options) => run_verify(options),
        Command::Export(options) => run_export(options),
    }
}

fn run_verify(options: &VerifyOptions) -> Result<Exit, Exit> {
    let files = options.files.iter().map(|path| open(path));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    let key = options.public_key.as_deref().map(public_key).transpose()?;
    let (after, head) = (options.after.as_deref(), options.head.as_deref());
    let found = verify(files, after, head, key.as_ref())
        .map_err(|(file, error)| cannot_read(&file, &error))?;
    found.broken.iter().for_each(print_error);
    if !found.broken.is_empty() {
        return Err(Exit::Failed);
    }
    let records = counted(found.records, "record");
    let head = found.head.as_deref().unwrap_or("none");
    let signed = match (&key, &found.signed) {
        (Some(_), Some(time)) => format!(
            ", signed head of {time}, {} behind it",
            counted(found.unsigned, "record")
        ),
        _ => String::new(),
    };
    Ok(print(format!("good: {records}, head {head}{signed}\n")))
}

fn public_key(path: &Path) -> Result<PublicKey, Exit> {
    let name = path.display().to_string();
    let octets = std::fs::read(path).map_err(|error| cannot_read(&name, &error))?;
    let text = text::decode(&octets);
    let pem = text.as_ref().map_or(&octets[..], |text| text.as_bytes());
    PublicKey::from_pem(pem).map_err(|why| Exit::Usage.with(format_args!("{name}: {why}")))
}

fn run_export(options: &ExportOptions) -> Result<Exit, Exit> {
    let mut exit = Exit::Done;
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    for path in &options.files {
        let (name, mut file) = open(path)?;
        // Consumers of a stream need each record at once.
        let is_stream = path == Path::new("-");
        let mut line = Vec::new();
        for number in 1_u64.. {
            let record = match read_line(&mut file, &mut line) {
                Ok(Line::End) => break,
                Ok(Line::Whole) => export::record(&line),
                Ok(Line::TooLong) => Err("is not an audit record"),
                Err(error) => return Err(cannot_read(&name, &error)),
            };
            let record = match record {
                Ok(record) => record,
                Err(why) => {
                    print_error(format_args!("{name}:{number}: {why}"));
                    exit = Exit::Failed;
                    continue;
                }
            };
            let line = match options.format {
                Format::Ocsf => export::ocsf(&record).to_string(),
                Format::Cef => export::cef(&record),
            };
            let printed = writeln!(stdout, "{line}").and_then(|()| match is_stream {
                true => stdout.flush(),
                false => Ok(()),
            });
            match printed {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(exit),
                Err(error) => return Err(cannot_read("stdout", &error)),
                Ok(()) => {}
            }
        }
    }
    match stdout.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(cannot_read("stdout", &error))
        }
        _ => Ok(exit),
    }
}

type Lines = Box<dyn BufRead>;

/// Opens a file, or stdin for `-`. Returns its name and lines.
fn open(path: &Path) -> Result<(String, Lines), Exit> {
    let name = path.display().to_string();
    if path == Path::new("-") {
        return Ok((name, Box::new(BufReader::new(io::stdin()))));
    }
    match File::open(path) {
        Ok(file) => Ok((name, Box::new(BufReader::new(file)))),
        Err(error) => Err(cannot_read(&name, &error)),
    }
}

fn cannot_read(file: &str, error: &io::Error) -> Exit {
    let what = match file {
        "stdout" => "cannot be written",
        _ => "cannot be read",
    };
    Exit::State.with(format_args!("{file}: {what}: {error}"))
}
