//! The log: one line per record on stderr or in a file, as text for people or JSON for machines.
//!
//! `log.level` applies only to authrelay's own records. Libraries log from `warn` on, since their
//! traces contain bytes, which may be credentials.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::{Registry, fmt, registry, reload};

use crate::config::{Log, LogFormat};
use crate::platform;

/// Older log files kept, unless `log.keep` is set.
const KEEP: usize = 7;

/// Changes the level of a running log.
pub type Levels = reload::Handle<Targets, Registry>;

fn targets(level: Level) -> Targets {
    Targets::new()
        .with_default(LevelFilter::from_level(level.min(Level::WARN)))
        .with_target("authrelay", level)
}

/// Creates a subscriber that writes records to `writer` as `log` requires, and what changes its level.
pub fn subscriber<W>(
    log: &Log,
    ansi: bool,
    writer: W,
) -> (Box<dyn tracing::Subscriber + Send + Sync>, Levels)
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(targets(log.level));
    let lines = fmt::layer().with_writer(writer).with_target(false);
    let subscriber: Box<dyn tracing::Subscriber + Send + Sync> = match log.format {
        LogFormat::Text => Box::new(registry().with(lines.with_ansi(ansi).with_filter(filter))),
        LogFormat::Json => {
            Box::new(registry().with(lines.json().flatten_event(true).with_filter(filter)))
        }
    };
    (subscriber, handle)
}

/// The log of the process: its level can be changed and its file reopened.
#[derive(Debug, Clone)]
pub struct Started {
    levels: Levels,
    file: Option<Arc<LogFile>>,
}

impl Started {
    /// Sets the level.
    pub fn set(&self, level: Level) {
        // An error means that the log no longer exists.
        let _ = self.levels.reload(targets(level));
    }

    /// Continues in a new file at the same path, after logrotate's rename.
    pub fn reopen(&self) {
        if let Some(file) = &self.file
            && let Err(error) = file.reopen()
        {
            tracing::error!(%error, "log.file cannot be opened anew; the old one is written");
        }
    }
}

/// Starts the log of the process.
///
/// # Errors
///
/// `log.file` cannot be opened.
pub fn start(log: &Log) -> io::Result<Started> {
    let keep = log.keep.unwrap_or(KEEP);
    let open = |path: &PathBuf| LogFile::open(path, log.rotate, keep).map(Arc::new);
    let file = log.file.as_ref().map(open).transpose()?;
    let (subscriber, levels) = match &file {
        Some(file) => subscriber(log, false, file.clone()),
        None => subscriber(log, io::stderr().is_terminal(), io::stderr),
    };
    // An error means that a test has already set one.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(Started { levels, file })
}

/// File of the log (`log.file`), with its rotation.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    /// Size at which to rotate (`log.rotate`); `keep` is the number of older files.
    rotate: Option<u64>,
    keep: usize,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
}

impl LogFile {
    fn open(path: &Path, rotate: Option<u64>, keep: usize) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            rotate,
            keep,
            open: Mutex::new(open(path)?),
        })
    }

    fn reopen(&self) -> io::Result<()> {
        *self.open.lock() = open(&self.path)?;
        Ok(())
    }

    /// Renames `FILE.1` to `FILE.2` and so on, and FILE to `FILE.1`; the last one is overwritten.
    fn shift(&self) -> io::Result<()> {
        let numbered = |number: usize| self.path.with_added_extension(number.to_string());
        for number in (1..self.keep).rev() {
            match std::fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(1))
    }
}

fn open(path: &Path) -> io::Result<Open> {
    if let (false, Some(folder)) = (path.exists(), path.parent()) {
        // If this fails, opening the file reports why.
        let _ = platform::create_private_folder(folder);
    }
    let file = platform::open_private(OpenOptions::new().append(true).create(true), path);
    let file = file.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("log.file: {}: {error}", path.display()),
        )
    })?;
    let size = file.metadata()?.len();
    Ok(Open { file, size })
}

impl io::Write for &LogFile {
    /// Writes one record as a whole, never into two files.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let mut open = self.open.lock();
        let size = record.len() as u64;
        if let Some(most) = self.rotate
            && open.size > 0
            && open.size.saturating_add(size) > most
        {
            self.shift()?;
            *open = self::open(&self.path)?;
        }
        open.file.write_all(record)?;
        open.size = open.size.saturating_add(size);
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_full_file_is_shifted_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.log");
        let mut file = &LogFile::open(&path, Some(10), 2).unwrap();
        for record in [
            "first\n",
            "second\n",
            "third\n",
            "4\n",
            "a record of its own\n",
        ] {
            file.write_all(record.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("relay.log"), "a record of its own\n");
        assert_eq!(read("relay.log.1"), "third\n4\n");
        assert_eq!(read("relay.log.2"), "second\n");
        assert!(!folder.path().join("relay.log.3").exists());
        std::fs::rename(&path, folder.path().join("elsewhere")).unwrap();
        file.reopen().unwrap();
        file.write_all(b"x\n").unwrap();
        assert_eq!(read("relay.log"), "x\n");
        assert!(LogFile::open(&folder.path().join("none/relay.log"), None, 1).is_ok());
    }
}
